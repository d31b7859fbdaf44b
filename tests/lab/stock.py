# SPDX-License-Identifier: ISC
"""A standard peer: strongSwan as packaged by Debian, with swanctl and its own userspace ESP
(kernel-libipsec) or the kernel's, without encsync; and a program that sends and receives protocol
240.

    minnie = Stock(node, left="192.168.1.101")      or with kernel=True, the default on Debian
    minnie.configure("mickey", right="192.168.1.100", local="auth = psk", remote="auth = psk",
                     secrets='ike-mickey { secret = "..." }')
    minnie.initiate("mickey")
    minnie.send(payload); minnie.received()
"""

from __future__ import annotations

import itertools
import json
import textwrap
from pathlib import Path

from lab import PYTHON, Node, wait_for

ROOT = Path(__file__).resolve().parents[2]
CHARON = Path("/usr/lib/ipsec/charon")
PLUGINS = Path("/usr/lib/ipsec/plugins")
NEEDED = (CHARON, PLUGINS / "libstrongswan-kernel-libipsec.so", Path("/usr/sbin/swanctl"))

# The settings from docs/ipsec.md, and those that a lab needs in addition.
CHARON_CONF = """
charon {{
    load = random nonce openssl kdf pem pkcs1 pkcs8 pubkey x509 constraints {libipsec} \
kernel-netlink socket-default vici
    plugins {{
        vici {{
            socket = unix://{dir}/vici
        }}
    }}
    filelog {{ stderr {{ default = 1 }} }}
}}
swanctl {{ load = random openssl pem pkcs1 pkcs8 pubkey x509 }}
"""
SWANCTL_CONF = """
connections {{
    {name} {{
        version = 2
        local_addrs = {left}
        remote_addrs = {right}
        proposals = {ike}
        encap = yes
        mobike = no
        {more}
        local {{
            id = {left_id}
            {local}
        }}
        remote {{
            id = {right_id}
            {remote}
        }}
        children {{
            {name} {{
                local_ts = {local_ts}
                remote_ts = {remote_ts}
                esp_proposals = {esp}
                mode = {mode}
            }}
        }}
    }}
}}
"""
IKE = "aes256gcm16-prfsha384-curve25519"
ESP = "aes256gcm16-curve25519"  # its userspace ESP has no 64-bit sequence numbers
KERNEL_ESP = "aes256gcm16-curve25519-esn"

PFSYNC = """
import json, socket, sys, threading
own, peer, device = sys.argv[1:4]
six = ":" in own
raw = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, 240)
raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
if six:
    raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
    raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
else:
    raw.setsockopt(socket.SOL_IP, socket.IP_TTL, 255)
    raw.setsockopt(socket.SOL_IP, 12, 1)  # IP_RECVTTL
    raw.setsockopt(socket.SOL_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO: don't fragment
raw.bind((own, 0))
def receive():
    while True:
        packet, more, _, sender = raw.recvmsg(65536, 256)
        print(json.dumps({"ttl": int.from_bytes(more[0][2], sys.byteorder), "from": sender[0],
                          "payload": packet[0 if six else 20:].hex()}), flush=True)
threading.Thread(target=receive, daemon=True).start()
for line in sys.stdin:
    raw.sendto(bytes.fromhex(line), (peer, 0))
"""


def documented(title: str) -> str:
    """A file shown in docs/ipsec.md, below <!-- title -->."""
    lines = iter((ROOT / "docs/ipsec.md").read_text().splitlines())
    assert f"<!-- {title} -->" in lines  # the lines below it now
    block = itertools.takewhile(lambda line: line.startswith("    "), lines)
    return textwrap.dedent("\n".join(block)) + "\n"


class Stock:
    """One strongSwan on a node. kernel: ESP by the kernel, with plain policies; otherwise by the
    device ipsec0."""

    def __init__(self, node: Node, left: str, kernel: bool = False):
        self.node, self.left, self.kernel = node, left, kernel
        self.dir = node.dir / "swanctl"
        self.config = self.dir / "swanctl.conf"
        for folder in ("private", "pubkey", "x509", "x509ca"):
            (self.dir / folder).mkdir(parents=True)
        self.dir.chmod(0o755)
        (self.dir / "strongswan.conf").write_text(
            ("" if kernel else documented("strongswan.conf")) +
            CHARON_CONF.format(dir=self.dir, libipsec="" if kernel else "kernel-libipsec"))
        self._env = {"STRONGSWAN_CONF": str(self.dir / "strongswan.conf"),
                     "SWANCTL_DIR": str(self.dir)}
        # Packets from the tunnel have source addresses of another device.
        node.sysctl({"net/ipv4/conf/all/rp_filter": 0, "net/ipv4/conf/default/rp_filter": 0})
        self._pfsync = None
        self._start()

    def _start(self) -> None:
        # A /run of its own: charon needs /run/charon.pid to itself.
        script = f"mount -t tmpfs tmpfs /run && exec {CHARON}"
        self.charon = self.node.start("unshare", "-m", "sh", "-ec", script, name="charon",
                                      env=self._env)
        wait_for((self.dir / "vici").exists, 40, f"{self.node.name}'s charon to answer")

    def restart(self) -> None:
        """As after a crash: it closes nothing, and knows nothing. It is to be configured again."""
        self.charon.kill()
        (self.dir / "vici").unlink(missing_ok=True)
        self._start()

    def swanctl(self, *words: str, check: bool = True, timeout: float = 40):
        return self.node.run("swanctl", *words, "--uri", f"unix://{self.dir}/vici", check=check,
                             env=self._env, timeout=timeout)

    def configure(self, name: str, right: str, local: str, remote: str, secrets: str = "",
                  left_id: str | None = None, right_id: str | None = None, ike: str = IKE,
                  esp: str | None = None, local_ts: str | None = None,
                  remote_ts: str | None = None, mode: str = "tunnel", more: str = "") -> None:
        bits = 128 if ":" in self.left else 32
        text = SWANCTL_CONF.format(
            name=name, left=self.left, right=right, local=local, remote=remote,
            left_id=left_id or self.node.name, right_id=right_id or name, ike=ike,
            esp=esp or (KERNEL_ESP if self.kernel else ESP), mode=mode,
            local_ts=local_ts or f"{self.left}/{bits}[240]",
            remote_ts=remote_ts or f"{right}/{bits}[240]", more=more)
        if secrets:
            text += f"secrets {{\n{secrets}\n}}\n"
        self.config.write_text(text)
        self.swanctl("--load-all", "--noprompt")

    def initiate(self, name: str, check: bool = True) -> bool:
        done = self.swanctl("--initiate", "--child", name, "--timeout", "20", check=check)
        return done.returncode == 0

    def rekey(self, what: str, name: str) -> None:
        """what: "child" or "ike"."""
        self.swanctl("--rekey", f"--{what}", name)

    def sas(self) -> str:
        return self.swanctl("--list-sas").stdout

    # -- protocol 240, through the tunnel --

    def talk(self, peer: str) -> None:
        # Without a device, a policy selects the packets.
        self._pfsync = self.node.start(PYTHON, "-c", PFSYNC, self.left, peer,
                                       "" if self.kernel else "ipsec0", name="pfsync", stdin=True)

    def send(self, payload: bytes) -> None:
        assert self._pfsync is not None
        self._pfsync.say(payload.hex())

    def received(self) -> list[dict]:
        """ttl, from, and payload (hexadecimal) of each packet."""
        assert self._pfsync is not None
        whole = self._pfsync.output().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]
