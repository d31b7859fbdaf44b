# SPDX-License-Identifier: ISC
"""The tunnel's speed: `bench.py --only tunnel`.

    mickey ---- bridge ---- minnie          10.77.0.1  ->  10.77.0.2

Two comparisons, in each of which both systems take turns, since the machine's speed varies:

- The engine alone against `openssl speed` with the same cipher and size, on one core.
- Packets a second through the drawn network, none lost, against strongSwan's own userspace ESP
  (kernel-libipsec): its charon at both ends, a CHILD_SA between 10.78.1.1 and 10.78.2.1, plain UDP
  into it. Both senders keep a limited number of packets in flight (a window); strongSwan gets the
  window that suits it best.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from statistics import median

import topology  # noqa: F401  first: it adds the lab's library to the path
from lab import Lab, LabError, Node, wait_for
from pair import bin_dir

ROUNDS = 3
CIPHER, BYTES = "aes-256-gcm", 1400
OUTER = {"mickey": "10.77.0.1", "minnie": "10.77.0.2"}
INNER = {"mickey": "10.78.1.1", "minnie": "10.78.2.1"}
PACKETS, WINDOW, REKEYS = 1_000_000, 2048, 8
THEIR_PACKETS, THEIR_WINDOWS = 60_000, (32, 64, 128, 256)
CHARON = Path("/usr/lib/ipsec/charon")
NEEDED = ("/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so", "/usr/sbin/swanctl")

CHARON_CONF = """
charon {{
    load = random nonce openssl kdf pem kernel-libipsec kernel-netlink socket-default vici
    install_virtual_ip = no
    replay_window = 1024
    plugins {{ vici {{ socket = unix://{dir}/vici }} }}
    filelog {{ stderr {{ default = 1 }} }}
}}
swanctl {{ load = random openssl pem }}
"""

# One of each pair starts; the key is for the benchmark only, and public.
SWANCTL_CONF = """
connections {{ peer {{
    version = 2
    local_addrs = {left}
    remote_addrs = {right}
    proposals = aes256gcm16-prfsha384-curve25519
    local {{
        auth = psk
    }}
    remote {{
        auth = psk
    }}
    children {{ all {{
        local_ts = {inner_left}/32
        remote_ts = {inner_right}/32
        esp_proposals = aes256gcm16
    }} }}
}} }}
secrets {{ ike-peer {{
    secret = "only for this benchmark"
}} }}
"""


def openssl_bytes_per_second() -> float:
    """The better of its two modes: one long message, and whole packets with AAD and tag."""
    rates = []
    for way in ([], ["-aead"]):
        command = ["openssl", "speed", "-mr", "-seconds", "1", *way, "-evp", CIPHER]
        command += ["-bytes", str(BYTES)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rates += [float(x.rsplit(":", 1)[1]) for x in said.splitlines() if x.startswith("+F:")]
    if len(rates) != 2:
        raise LabError(f"openssl speed does not say what it measured: {said!r}")
    return max(rates)


def engine(say) -> dict:
    """Our own engine and OpenSSL's own benchmark, in turns."""
    rounds = []
    for _ in range(ROUNDS):
        theirs = openssl_bytes_per_second()
        ours = _tool("lab_seal", "1")
        rounds.append(
            {
                "openssl_packets_per_second": theirs / BYTES,
                "seals_per_second": ours["seals_per_second"],
                "opens_per_second": ours["opens_per_second"],
                "ratio": ours["seals_per_second"] * BYTES / theirs,
            }
        )
        say(
            f"sealing: {ours['seals_per_second']:,.0f}/s, opening:"
            f" {ours['opens_per_second']:,.0f}/s, openssl: {theirs / BYTES:,.0f}/s"
        )
    return {
        "rounds": rounds,
        "seals_per_second": median(r["seals_per_second"] for r in rounds),
        "opens_per_second": median(r["opens_per_second"] for r in rounds),
        "openssl_packets_per_second": median(r["openssl_packets_per_second"] for r in rounds),
    }


def _tool(name: str, *args: str | int) -> dict:
    program = bin_dir() / name
    if not program.exists():
        raise LabError(f"{program} is not built")
    done = subprocess.run([program, *map(str, args)], capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise LabError(f"{name}: status {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def build(lab: Lab) -> tuple[Node, Node]:
    mickey, minnie = lab.node("mickey"), lab.node("minnie")
    wire = lab.switch("wire")
    for node in (mickey, minnie):
        lab.plug(node, "sync", wire, f"{OUTER[node.name]}/24")
        node.ip(f"addr add {INNER[node.name]}/32 dev lo")
    return mickey, minnie


class LibIpsec:
    """strongSwan with kernel-libipsec in both nodes, one CHILD_SA between the inner addresses."""

    def __init__(self, nodes: tuple[Node, Node]):
        self._nodes = nodes
        self._charons = []

    def __enter__(self) -> LibIpsec:
        for node, other in (self._nodes, self._nodes[::-1]):
            own = node.dir / "swanctl"
            own.mkdir()
            (own / "strongswan.conf").write_text(CHARON_CONF.format(dir=own))
            (own / "swanctl.conf").write_text(
                SWANCTL_CONF.format(
                    left=OUTER[node.name],
                    right=OUTER[other.name],
                    inner_left=INNER[node.name],
                    inner_right=INNER[other.name],
                )
            )
            # A /run of its own: charon needs /run/charon.pid to itself.
            script = f"mount -t tmpfs tmpfs /run && exec {CHARON}"
            env = {"STRONGSWAN_CONF": str(own / "strongswan.conf")}
            self._charons.append(
                node.start("unshare", "-m", "sh", "-ec", script, name="charon", env=env)
            )
            wait_for((own / "vici").exists, 20, f"{node.name}'s charon to answer")
            self._swanctl(node, "--load-all", "--noprompt")
        self._swanctl(self._nodes[0], "--initiate", "--child", "all", "--timeout", "20")
        return self

    def __exit__(self, *_exception) -> None:
        for charon in self._charons:
            charon.stop()

    @staticmethod
    def _swanctl(node: Node, *words: str) -> None:
        own = node.dir / "swanctl"
        env = {"STRONGSWAN_CONF": str(own / "strongswan.conf"), "SWANCTL_DIR": str(own)}
        node.run("swanctl", *words, "--uri", f"unix://{own}/vici", env=env)

    def packets_in_sa(self) -> int:
        """Packets counted by the receiver's SA: shows that they went through it."""
        own = self._nodes[1].dir / "swanctl"
        env = {"STRONGSWAN_CONF": str(own / "strongswan.conf"), "SWANCTL_DIR": str(own)}
        said = self._nodes[1].run(
            "swanctl", "--list-sas", "--raw", "--uri", f"unix://{own}/vici", env=env
        )
        words = said.stdout.replace("{", " ").replace("}", " ").split()
        return sum(int(w.partition("=")[2]) for w in words if w.startswith("packets-in="))


def _send(way: str, nodes: tuple[Node, Node], addresses: dict, packets: int, window: int, rekeys=0):
    source, sink = nodes
    return _tool(
        "lab_tunnel",
        *(way, source.netns, sink.netns, addresses[source.name], addresses[sink.name]),
        *(packets, window, rekeys),
    )


def _ours(nodes, say, rekeys: int) -> dict:
    result = _send("esp", nodes, OUTER, PACKETS, WINDOW, rekeys)
    say(
        f"encsync, {rekeys} rekeys: {result['packets_per_second']:,.0f} packets/s,"
        f" {result['lost']} lost"
    )
    if rekeys and result["generations"] != rekeys + 1:
        raise LabError(f"{rekeys} rekeys were asked for, but: {result}")
    return result


def _theirs(nodes, say, ipsec: LibIpsec, window: int) -> dict:
    before = ipsec.packets_in_sa()
    result = _send("plain", nodes, INNER, THEIR_PACKETS, window)
    through = ipsec.packets_in_sa() - before
    say(
        f"kernel-libipsec, window {window}: {result['packets_per_second']:,.0f} packets/s,"
        f" {result['lost']} lost"
    )
    if through < THEIR_PACKETS - result["lost"]:
        raise LabError(f"only {through} of kernel-libipsec's packets went through its SA")
    return {**result, "window": window}


def path(say) -> dict:
    for file in NEEDED:
        if not Path(file).exists():
            raise LabError(f"{file} is missing; ./run bench installs its package")
    with Lab() as lab:
        nodes = build(lab)
        # While no charon of strongSwan uses the ports.
        rekeyed = _ours(nodes, say, REKEYS)
        with LibIpsec(nodes) as ipsec:
            tries = [_theirs(nodes, say, ipsec, window) for window in THEIR_WINDOWS]
        best = max(tries, key=lambda r: (r["lost"] == 0, r["packets_per_second"]))["window"]
        rounds = []
        for number in range(ROUNDS):
            ours = _ours(nodes, say, 0)
            for node in nodes:
                shutil.rmtree(node.dir / "swanctl")
            with LibIpsec(nodes) as ipsec:
                theirs = _theirs(nodes, say, ipsec, best)
            rounds.append({"encsync": ours, "libipsec": theirs})
    return {
        "rounds": rounds,
        "under_rekeys": rekeyed,
        "libipsec_windows": tries,
        "packets_per_second": median(r["encsync"]["packets_per_second"] for r in rounds),
        "libipsec_packets_per_second": median(r["libipsec"]["packets_per_second"] for r in rounds),
        "lost": sum(r["encsync"]["lost"] for r in rounds),
        "libipsec_lost": sum(r["libipsec"]["lost"] for r in rounds),
        "ratio": median(
            r["encsync"]["packets_per_second"] / r["libipsec"]["packets_per_second"]
            for r in rounds
        ),
    }


def run(say) -> dict:
    alone, through = engine(say), path(say)
    growth = [through["under_rekeys"], *(r["encsync"] for r in through["rounds"])]
    return {
        "seal_ratio_to_openssl": round(median(r["ratio"] for r in alone["rounds"]), 3),
        "ratio_to_kernel_libipsec": round(through["ratio"], 2),
        "seals_per_second": alone["seals_per_second"],
        "opens_per_second": alone["opens_per_second"],
        "packets_per_second": through["packets_per_second"],
        "lost": through["lost"],
        "rekeys": through["under_rekeys"]["rekeys"],
        "lost_in_rekeys": through["under_rekeys"]["lost"],
        "memory_growth_bytes": {
            "packets": PACKETS * 9 // 10,
            "sender": max(r["sender_growth"] for r in growth),
            "receiver": max(r["receiver_growth"] for r in growth),
        },
        "engine": alone,
        "path": through,
    }


def rows(result: dict) -> list[list[str]]:
    memory = result["memory_growth_bytes"]
    return [
        ["tunnel", "encsync", "other", "ratio"],
        [
            "sealed, 1,400 bytes, one core (/s), openssl speed",
            f"{result['seals_per_second']:,.0f}",
            f"{result['engine']['openssl_packets_per_second']:,.0f}",
            f"{result['seal_ratio_to_openssl']:.2f}x",
        ],
        ["opened (/s)", f"{result['opens_per_second']:,.0f}", "", ""],
        [
            "through two namespaces and a bridge (/s), kernel-libipsec",
            f"{result['packets_per_second']:,.0f}",
            f"{result['path']['libipsec_packets_per_second']:,.0f}",
            f"{result['ratio_to_kernel_libipsec']:.1f}x",
        ],
        ["lost", str(result["lost"]), str(result["path"]["libipsec_lost"]), ""],
        [f"lost with {result['rekeys']} rekeys", str(result["lost_in_rekeys"]), "", ""],
        [
            f"memory grown over {memory['packets']:,} packets (bytes)",
            f"{memory['sender']:,} + {memory['receiver']:,}",
            "",
            "",
        ],
    ]
