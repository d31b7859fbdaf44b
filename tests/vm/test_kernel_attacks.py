# SPDX-License-Identifier: ISC
"""The attacks of tests/lab/attacks on nodes whose ESP is the kernel's, and on a kernel that has VLANs
and tunnels."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab/attacks"))

import conntrack  # noqa: E402
import forged  # noqa: E402
import sync  # noqa: E402
from hostile_switch import ESP_AT, HostileSwitch, with_esp  # noqa: E402
from lab import PYTHON, wait_for  # noqa: E402
from mallory import FORGED_INSIDE  # noqa: E402
from pair import SERVER, SYNC, FirewallPair  # noqa: E402
from test_switch import BARE, taken  # noqa: E402

PATIENCE = 90


@pytest.fixture(scope="module")
def pair(lab):
    # Else the first tunnel of a kind leaves an interface behind in each namespace.
    Path("/proc/sys/net/core/fb_tunnels_only_for_init_net").write_text("2\n")
    pair = FirewallPair(lab, donald=True)
    for node, interface in ((pair.mickey, "sync"), (pair.minnie, "sync"), (pair.mallory, "eth0")):
        node.ip(f"addr add {forged.SIX[node.name]}/64 dev {interface} nodad")
    return pair


@pytest.fixture(scope="module")
def instances(pair):
    # Frames that are held are to be of the SAs that are there, also if the host stalls the guest.
    all_three = sync.equip(pair, setup={"ipsec": "kernel"},
                           conn={"ppk": "no", "dpdtimeout": "60s"})
    for instance in all_three:
        instance.start()
    sync.wait_in_step(*all_three, timeout=PATIENCE)
    return all_three


def nothing_planted(instance) -> None:
    assert not [f for f in conntrack.table(instance.node) if f.involves(FORGED_INSIDE)]
    assert '"10.66.' not in instance.states_text()


# ---- protocol 240 in clear -------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(lab, pair):
    """A host without encsync's ruleset."""
    node = lab.node("bare")
    lab.plug(node, "sync", pair.sync_switch, f"{BARE}/24")
    node.ip(f"addr add {forged.SIX['bare']}/64 dev sync nodad")
    return node


def begin(node, *words: str):
    process = node.start(PYTHON, forged.__file__, *words, name=words[0])
    wait_for(process.output, PATIENCE, f"{words[0]} to begin", 0.5)
    return process


def open_tunnels(node, own: str) -> None:
    """To minnie, in whose name everything comes."""
    node.sysctl({f"net/ipv4/conf/{each}/rp_filter": 0 for each in ("all", "default")})
    lines = forged.TUNNELS.format(sync="sync", mac=forged.TUNNEL_MAC, own=own, other=SYNC["minnie"],
                                  own6=forged.SIX[node.name], other6=forged.SIX["minnie"])
    names = re.findall(r"name (\S+)|link add (?!link)(\S+)", lines)
    node.ip(*lines.split("\n")[1:-1], *(f"link set {a or b} up" for a, b in names))


def test_no_vlan_and_no_tunnel_gets_protocol_240_in(pair, instances, bare):
    """Nor do fragments and extension headers in one. Each is counted where it is taken out."""
    mickey = instances[0]
    counted = mickey.refused()
    addresses = {"mickey": SYNC["mickey"], "bare": BARE}
    receivers = {}
    for node in (bare, pair.mickey):
        open_tunnels(node, addresses[node.name])
        receivers[node.name] = begin(node, "receive")
        forger = forged.Forger(pair.mallory.mac("eth0"), node.mac("sync"), SYNC["minnie"],
                               addresses[node.name], forged.SIX["minnie"], forged.SIX[node.name])
        made = forger.tricks() | forger.tunnelled(101)
        vlan = {name: forger.in_vlan(frames) for name, frames in forger.tricks(201).items()
                if name != "priority tag"}
        frames = [frame for each in (made, vlan) for sent in each.values() for frame in sent]
        pair.mallory.run(PYTHON, forged.__file__, "send",
                         input="\n".join(frame.hex() for frame in frames), timeout=PATIENCE)
    everything = {*range(1, 16), *range(101, 112), *range(201, 216)} - {207}
    wait_for(lambda: taken(receivers["bare"]) == everything, PATIENCE,  # control
             f"the unprotected host to get {everything}", 0.5)

    def dropped() -> int:
        now = mickey.refused()
        return sum(now[name] - counted.get(name, 0) for name in now if "not_through_tunnel" in name)

    wait_for(lambda: dropped() >= len(everything), PATIENCE, "each of them to be counted", 0.5)
    assert not taken(receivers["mickey"]) & everything  # what came through the tunnel is there, too
    for receiver in receivers.values():
        receiver.kill()
    nothing_planted(mickey)


class Watch:
    """What leaves mickey in clear, and what clear packets a program there gets, while one there sends
    them, also into enc0, and another host does."""

    SAYS = {"watch": "sync 4", "receive": "4", "leave": "4"}
    FORGED = {str(number) for number in range(1000)}

    def __init__(self, pair):
        def ends(own: str, other: str) -> tuple[str, ...]:
            return SYNC[own], SYNC[other], forged.SIX[own], forged.SIX[other]

        # The emulated processor has other things to do, too.
        self.processes = [begin(pair.mickey, "watch"), begin(pair.mickey, "receive"),
                          begin(pair.mickey, "leave", "0.1", *ends("mickey", "minnie"))]
        self.flood = begin(pair.mallory, "flood", "0.1", *ends("minnie", "mickey"))
        self.skip()

    def said(self) -> dict[str, set[str]]:
        said = {}
        for process, skipped in zip(self.processes, self.skipped):
            lines = process.output().splitlines()[skipped:]
            if process.name == "receive":  # what came through the tunnel has other numbers
                lines = [line.split()[0] for line in lines if line.split()[-1] in self.FORGED]
            said[process.name] = {line for line in lines if not line.startswith("enc0")}
        return said

    def skip(self) -> None:
        self.skipped = [len(process.output().splitlines()) for process in self.processes]

    def all_see(self) -> bool:
        return all(self.SAYS[name] in said for name, said in self.said().items())

    def closed(self, what: str) -> None:
        assert not any(self.said().values()), f"{what}: {self.said()}"
        assert all(process.running for process in (*self.processes, self.flood)), what

    def end(self) -> None:
        for process in (*self.processes, self.flood):
            process.kill()


def test_the_door_stays_closed_through_all_transitions(pair, instances):
    mickey, node = instances[0], pair.mickey
    watch = Watch(pair)

    def tried() -> None:
        """From now on some were dropped, both ways."""
        def count(now: dict) -> list[int]:
            return [now.get(f"not_through_tunnel_{way}", 0) for way in ("in", "out")]

        before = count(mickey.refused())
        wait_for(lambda: all(n > was + 5 for n, was in zip(count(mickey.refused()), before)),
                 PATIENCE, "clear packets to be counted", 0.5)

    tried()
    watch.closed("running")
    # Nothing stands behind enc0: what is sent into it goes nowhere.
    node.run("ip", "xfrm", "policy", "flush")
    node.run("ip", "xfrm", "state", "flush")
    tried()
    watch.closed("states and policies flushed")
    sync.wait_in_step(*instances, timeout=PATIENCE)
    tried()
    watch.closed("new ones made")
    mickey.kill()
    watch.closed("killed")
    mickey.start()
    watch.closed("starting")
    sync.wait_in_step(*instances, timeout=PATIENCE)
    tried()
    watch.closed("started again")
    nothing_planted(mickey)
    # The ruleset is gone, and nobody is awake to put it back: other programs get clear packets, which
    # shows that all of this was awake (the control). encsyncd listens behind enc0 only.
    mickey.daemon.signal(signal.SIGSTOP)
    node.run("nft", "flush", "ruleset")
    wait_for(watch.all_see, PATIENCE, "clear packets to leave and arrive", 0.5)
    mickey.daemon.signal(signal.SIGCONT)
    wait_for(lambda: "bridge encsync" in node.run("nft", "list", "tables").stdout, PATIENCE,
             "the ruleset to be put back", 0.2)
    watch.skip()
    tried()
    watch.closed("put back")
    nothing_planted(mickey)
    watch.end()
    sync.wait_in_step(*instances, timeout=PATIENCE)


# ---- ESP -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def switch(pair, instances):
    sync.wait_in_step(*instances, timeout=PATIENCE)
    return HostileSwitch(pair.sync_switch, *((node, "sync") for node in pair.firewalls))


def has(node, port: int) -> bool:
    return any(flow.orig.sport == port for flow in conntrack.table(node))


def hold(pair, switch, port: int) -> list[bytes]:
    """ESP from minnie to mickey about a new flow, of which he does not hear."""
    kept = len(switch.kept(SYNC["mickey"]))
    switch.hold("minnie", "mickey")
    conntrack.insert(pair.minnie, "10.0.0.30", SERVER[0], port, 443)
    wait_for(lambda: len(switch.kept(SYNC["mickey"])) >= kept + 3, PATIENCE, "ESP to be held", 0.5)
    frames = switch.kept(SYNC["mickey"])[kept:]
    assert not has(pair.mickey, port)
    return frames


def no_states(node) -> int:
    """ESP that the kernel had no state for."""
    shown = node.run("cat", "/proc/net/xfrm_stat").stdout
    return int(re.search(r"XfrmInNoStates\s+(\d+)", shown)[1])


def test_esp_that_is_altered_repeated_or_for_another_is_refused(pair, instances, switch):
    mickey, minnie, _ = instances
    frames = hold(pair, switch, 3000)
    frame = frames[0]
    esp, before, heard = frame[ESP_AT:], mickey.refused(), mickey.peer("minnie")["rx_packets"]

    def refused(reason: str, count: int) -> None:
        """Within seconds: encsyncd reads the kernel's counters now and then."""
        wait_for(lambda: mickey.refused().get(reason, 0) - before.get(reason, 0) >= count, PATIENCE,
                 f"{count} of {reason}", 0.5)

    altered = [bytes(b ^ (i == at) for i, b in enumerate(esp)) for at in range(8, len(esp), 7)]
    switch.send("mickey", *(with_esp(frame, each) for each in (*altered, esp + bytes(4), esp[:-4])))
    refused("esp_bad_tag", len(altered) + 2)
    # In donald's SA with mickey: another key.
    donalds = next(spi for _, way, spi in mickey.spis("donald") if way == "in")
    into_donalds = with_esp(frame, bytes.fromhex(donalds) + esp[4:], SYNC["donald"])
    refusals = mickey.peer("donald")["refused"]
    switch.send("mickey", into_donalds)
    wait_for(lambda: mickey.peer("donald")["refused"] > refusals, PATIENCE, "it to be refused", 0.5)
    # Of an SA that is not there, and back to its sender.
    missing = [no_states(node) for node in (pair.mickey, pair.minnie)]
    switch.send("mickey", *[with_esp(frame, b"\xde\xad\xbe\xef" + esp[4:])] * 3)
    swapped = frame[6:12] + frame[:6] + frame[12:26] + frame[30:34] + frame[26:30] + frame[34:]
    switch.send("minnie", with_esp(swapped, esp))
    wait_for(lambda: no_states(pair.mickey) >= missing[0] + 3
             and no_states(pair.minnie) > missing[1], PATIENCE, "no state to be found for it", 0.5)
    assert mickey.peer("minnie")["rx_packets"] == heard and not has(pair.mickey, 3000)
    switch.send("mickey", *frames)  # control: they were valid all the time
    wait_for(lambda: has(pair.mickey, 3000), PATIENCE, "the genuine packets to be taken", 0.5)
    switch.send("mickey", *frames)  # and once only
    refused("esp_replayed", len(frames))
    switch.play("minnie", "mickey", "pass")
    assert minnie.peer("mickey")["state"] == "up"


def test_an_sa_that_was_replaced_delivers_nothing(pair, instances, switch):
    mickey, minnie, _ = instances
    frames = hold(pair, switch, 3001)
    conntrack.delete(pair.minnie, "10.0.0.30", SERVER[0], 3001, 443)
    switch.play("minnie", "mickey", "pass")
    old = {frame[ESP_AT : ESP_AT + 4].hex() for frame in frames}
    minnie.command("keys", "rotate", "--what", "sa")
    wait_for(lambda: not old & {spi for _, _, spi in mickey.spis("minnie")}, PATIENCE,
             "the old SA to be gone", 0.5)
    before = no_states(pair.mickey)
    switch.send("mickey", *frames)
    wait_for(lambda: no_states(pair.mickey) >= before + len(frames), PATIENCE,
             "no state to be found for it", 0.5)
    conntrack.insert(pair.minnie, "10.0.0.30", SERVER[0], 3002, 443)  # control: by the new SA
    wait_for(lambda: has(pair.mickey, 3002), PATIENCE, "a new flow to be taken", 0.5)
    assert not has(pair.mickey, 3001)
