# SPDX-License-Identifier: ISC
"""Cables: plain pfsync on one interface. What is accepted in clear is exactly what is configured.

    mickey (encsync, type=cable) cable ------ cable donald (a pf firewall: raw packets)
                                 other ------ cable daisy  (the same addresses, another cable)
"""

from __future__ import annotations

import json
import signal
import socket
import struct

import pytest

import conntrack
import mallory
import sync
from lab import PYTHON, Lab, Node, wait_for
from pair import SERVER
from pf_end import GROUP, PfEnd

pytestmark = pytest.mark.daemon

MICKEY, DONALD, STRANGER = "172.16.0.1", "172.16.0.2", "172.16.0.3"
MICKEY6, DONALD6 = "fd00:16::1", "fd00:16::2"
LINK_LOCAL, LINK_LOCAL_PEER = "fe80::16:1", "fe80::16:2"
CREATOR = 0x0A0B0C0D


class Cable:
    def __init__(self, lab: Lab, multicast: bool = False):
        self.mickey, self.donald, self.daisy = (lab.node(n) for n in ("mickey", "donald", "daisy"))
        lab.cable(self.mickey, "cable", self.donald, "cable")
        lab.cable(self.mickey, "other", self.daisy, "cable")
        self.mickey.ip(f"addr add {MICKEY}/24 dev cable", "addr add 172.17.0.1/24 dev other")
        for node in (self.donald, self.daisy):
            node.ip(f"addr add {DONALD}/24 dev cable")
        self.multicast = multicast
        self.to = GROUP if multicast else MICKEY
        self.encsync = sync.Encsync(self.mickey, {"donald": DONALD}, left=MICKEY, each={
            "donald": {"type": "cable", "syncdev": "cable", "wire": "openbsd",
                       "multicast": "yes" if multicast else "no"}})
        self.encsync.init_keys()
        self.ends = {node: PfEnd(node, "cable", DONALD) for node in (self.donald, self.daisy)}

    def up(self) -> None:
        wait_for(lambda: self.encsync.peer("donald")["state"] == "up", 20, "donald to be up")

    def send(self, number: int, end: Node | None = None, **changes) -> None:
        """donald inserts a state, in a packet that differs from a valid one by `changes`."""
        self.ends[end or self.donald].send(packet(number, **{"to": self.to, **changes}))

    def planted(self) -> set[int]:
        return {flow.orig.sport - 10000 for flow in conntrack.table(self.mickey)
                if flow.orig.src.startswith("10.66.")}

    def received(self) -> list[dict]:
        return self.ends[self.donald].received()

    def sent(self) -> int:
        """Packets, through donald's interface."""
        return self.donald.link("cable")["stats64"]["tx"]["packets"]

    def refused(self) -> int:
        return self.encsync.refused().get("not_through_tunnel_in", 0)


def packet(number: int, to: str, source: str = DONALD, ttl: int = 255, offset: int = 0x4000,
           options: bytes = b"", seqdiff: int = 0) -> bytes:
    state = bytearray(mallory.full_state(number, CREATOR))
    struct.pack_into("!I", state, 104 + 16, seqdiff)  # of its first peer block
    payload = mallory.pfsync(mallory.ACTION_INS, bytes(state))
    return struct.pack("!BBHHHBBH4s4s", 0x45 + len(options) // 4, 0x10, 0, 7, offset, ttl, 240, 0,
                       socket.inet_aton(source), socket.inet_aton(to)) + options + payload


def decoded(cable: Cable) -> str:
    text = "\n".join(received["payload"] for received in cable.received())
    return cable.mickey.run(*cable.encsync.argv("decode", "--hex", "--json"), input=text + "\n",
                            check=False).stdout


@pytest.mark.parametrize("multicast", [False, True], ids=["unicast", "multicast"])
def test_states_go_both_ways(fresh, multicast):
    cable = Cable(fresh, multicast)
    cable.encsync.start()
    cable.up()
    cable.send(7)
    wait_for(lambda: cable.planted() == {7}, 10, "donald's state to be in mickey's kernel")
    conntrack.insert(cable.mickey, "10.0.0.30", SERVER[0], 2000, 443)
    wait_for(lambda: '"10.0.0.30"' in decoded(cable), 10, "mickey's flow to reach donald")
    for received in cable.received():
        assert (received["from"], received["to"]) == (MICKEY, GROUP if multicast else DONALD)
        assert received["ttl"] == 255 and received["flags"] & 0x40
    # What is let pass in clear is said, in four places.
    said = f"cable, pfsync in clear from {DONALD} to {cable.to}"
    assert f"peer donald: a cable on {said}; nothing protects it" in cable.encsync.log()
    assert f"cable donald on {said}" in cable.encsync.command("status").stdout
    assert f"cable donald on {said}" in cable.encsync.command("policy", "show").stdout
    assert cable.encsync.status()["policy"]["cables"] == [f"donald on {said}"]
    assert cable.encsync.spis() == set()
    assert "taken for a pf firewall" not in cable.encsync.log()  # it is configured as one
    # What a takeover here could not continue is said, too.
    assert "moves TCP sequence numbers" not in cable.encsync.log()
    cable.send(8, seqdiff=0x12345678)
    wait_for(lambda: "donald: its pf moves TCP sequence numbers" in cable.encsync.log(), 10,
             "mickey to name a modulated state")
    assert cable.planted() == {7, 8}
    cable.encsync.stop()


FORGED = {
    "from another address": {"source": STRANGER},
    "with another TTL": {"ttl": 254},
    "to another address": {"to": "172.17.0.1"},
    "as a first fragment": {"offset": 0x2000},
    "as a later fragment": {"offset": 0x0003},
}


@pytest.mark.parametrize("multicast", [False, True], ids=["unicast", "multicast"])
def test_nothing_else_is_accepted(fresh, multicast):
    cable = Cable(fresh, multicast)
    cable.encsync.start()
    cable.up()
    for number, (what, changes) in enumerate(FORGED.items(), 100):
        before = cable.refused()
        cable.send(number, **changes)
        wait_for(lambda: cable.refused() > before, 5, f"a packet {what} to be refused")
    before = cable.refused()
    cable.send(200, cable.daisy)
    wait_for(lambda: cable.refused() > before, 5, "a packet from another cable to be refused")
    # What the ruleset lets pass is checked again.
    cable.send(201, options=bytes((1, 1, 1, 0)))
    wait_for(lambda: cable.encsync.refused().get("ip_options", 0) > 0, 5,
             "a packet with IP options to be refused")
    cable.send(202, to=MICKEY if multicast else GROUP)
    cable.send(7)
    wait_for(lambda: cable.planted() == {7}, 10, "the valid one alone to be accepted")


@pytest.mark.parametrize("multicast", [False, True], ids=["unicast", "multicast"])
def test_only_from_its_mac_address(fresh, multicast):
    cable = Cable(fresh, multicast)
    own, other = cable.donald.mac("cable"), "02:00:00:00:00:99"
    cable.encsync.each["donald"]["mac"] = own.upper()
    cable.encsync.write_config()
    cable.encsync.start()
    cable.up()
    cable.send(1)
    wait_for(lambda: cable.planted() == {1}, 10, "a state from donald's own MAC address")
    assert "wrong_mac" not in cable.encsync.refused()
    said = f"cable, pfsync in clear from {DONALD} ({own}) to {cable.to}"
    assert f"peer donald: a cable on {said}; nothing protects it" in cable.encsync.log()
    assert f"cable donald on {said}" in cable.encsync.command("status").stdout
    assert cable.encsync.peer("donald")["speakers"] == [f"{DONALD} ({own})"]
    shown = cable.encsync.command("policy", "show").stdout
    assert f"cable donald on {said}" in shown
    assert f'iifname "cable" ether saddr {own} ip saddr {DONALD}' in shown
    # The same packets, from another card.
    cable.donald.ip(f"link set cable address {other}")
    for number in (2, 3):
        cable.send(number)
        wait_for(lambda: cable.encsync.refused().get("wrong_mac") == number - 1, 5,
                 "a packet from another MAC address to be refused")
    assert cable.refused() == 0
    cable.donald.ip(f"link set cable address {own}")
    cable.send(4)
    wait_for(lambda: cable.planted() == {1, 4}, 10, "those from donald's own alone to be accepted")
    # Without the option any may be the source; and it can be changed while encsyncd runs.
    del cable.encsync.each["donald"]["mac"]
    cable.encsync.reload()
    cable.up()
    cable.donald.ip(f"link set cable address {other}")
    cable.send(5)
    wait_for(lambda: 5 in cable.planted(), 10, "a state from another MAC address")


SEND_FRAME = """
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
    out.bind(("cable", 0))
    out.send(bytes.fromhex(sys.argv[1]))
"""


@pytest.mark.parametrize("multicast", [False, True], ids=["unicast", "multicast"])
def test_frames_of_a_vlan(fresh, multicast):
    """The kernel gives them to the VLAN's interface, which is not the cable's; here there is none."""
    cable = Cable(fresh, multicast)
    cable.encsync.start()
    cable.up()
    to, source = ("01:00:5e:00:00:f0" if multicast else cable.mickey.mac("cable"),
                  cable.donald.mac("cable"))

    def send(number: int, tag: str) -> None:
        payload = bytearray(packet(number, cable.to))
        payload[2:4] = len(payload).to_bytes(2)
        payload[10:12] = checksum(payload[:20])
        frame = bytes.fromhex(f"{to}{source}".replace(":", "") + tag + "0800") + payload
        cable.donald.run(PYTHON, "-c", SEND_FRAME, frame.hex())

    def not_for_us() -> int:
        shown = cable.mickey.run("ip", "-s", "-s", "-j", "link", "show", "cable").stdout
        return json.loads(shown)[0]["stats64"]["rx"].get("otherhost", 0)

    before = not_for_us()
    send(1, tag="81000005")
    wait_for(lambda: not_for_us() > before, 5, "the kernel to drop a frame of VLAN 5")
    send(2, tag="")
    wait_for(lambda: cable.planted() == {2}, 10, "the same without a tag, and nothing else")
    assert cable.refused() == 0


def checksum(header: bytes) -> bytes:
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return (total ^ 0xFFFF).to_bytes(2)


def test_a_flood_on_the_cable_is_counted_and_survived(fresh):
    """While encsyncd is busy, more packets come than the socket has room for."""
    cable = Cable(fresh)
    cable.encsync.start()
    cable.up()
    assert "dropped_in_kernel" not in cable.encsync.refused()
    cable.encsync.daemon.signal(signal.SIGSTOP)
    cable.ends[cable.donald].send(packet(1, cable.to), times=60_000)
    wait_for(lambda: cable.sent() >= 60_000, 60, "donald to have sent it")
    cable.encsync.daemon.signal(signal.SIGCONT)
    wait_for(lambda: cable.encsync.refused().get("dropped_in_kernel", 0) > 0, 60,
             "what found no room to be counted")
    received = cable.encsync.peer("donald")["rx_packets"]
    assert received + cable.encsync.refused()["dropped_in_kernel"] <= 60_000
    cable.send(2)
    wait_for(lambda: cable.planted() == {1, 2}, 30, "a state after the flood")


def test_an_interface_without_mac_addresses(fresh):
    """Known while it is there: in the live check, and to encsyncd."""
    cable = Cable(fresh)
    cable.encsync.start()
    cable.mickey.ip("tuntap add dev tun0 mode tun")
    cable.encsync.each["donald"] |= {"syncdev": "tun0", "mac": "52:54:00:12:34:56"}
    done = cable.encsync.reload(check=False)
    why = "conn donald: mac: frames on tun0 have no MAC addresses"
    assert done.returncode == 1 and why in done.stderr
    assert why in cable.encsync.command("check", "--live", check=False).stderr
    del cable.encsync.each["donald"]["mac"]
    cable.encsync.write_config()
    assert why not in cable.encsync.command("check", "--live", check=False).stderr


def test_the_door_closes_with_its_conn(fresh):
    cable = Cable(fresh)
    cable.encsync.start()
    cable.up()
    cable.send(1)
    wait_for(lambda: cable.planted() == {1}, 10, "the first state")
    cable.encsync.peers.clear()
    cable.encsync.reload()
    before = cable.refused()
    cable.send(2)
    wait_for(lambda: cable.refused() > before, 5, "a packet to be refused without the conn")
    assert cable.encsync.status()["policy"]["cables"] == []
    cable.encsync.peers["donald"] = DONALD
    cable.encsync.reload()
    cable.up()
    cable.send(3)
    wait_for(lambda: 3 in cable.planted(), 10, "a state over the cable that is back")
    assert 2 not in cable.planted()
    # And it stays as it was while encsyncd is down: nobody reads it then.
    cable.encsync.stop()
    cable.send(4)
    cable.encsync.start()
    cable.up()
    cable.send(5)
    wait_for(lambda: 5 in cable.planted(), 10, "a state after the restart")
    assert 4 not in cable.planted()


def test_the_first_cable_needs_a_restart(fresh):
    """The sandbox keeps what a cable needs only if there is one."""
    cable = Cable(fresh)
    donald = cable.encsync.peers.pop("donald")
    cable.encsync.write_config()
    cable.encsync.start()
    cable.encsync.peers["donald"] = donald
    done = cable.encsync.reload(check=False)
    assert done.returncode == 1
    assert "a restart is needed for the first type=cable" in done.stderr
    cable.encsync.stop()
    cable.encsync.start()
    cable.up()


def test_a_cable_that_is_pulled(fresh):
    cable = Cable(fresh)
    cable.encsync.start()
    cable.up()
    cable.donald.ip("link set cable down")
    wait_for(lambda: cable.encsync.peer("donald")["state"] == "down", 10, "donald to be down")
    assert cable.encsync.peer("donald")["last_error"] == \
        "interface cable is down, or has no carrier"
    cable.donald.ip("link set cable up")
    cable.up()
    assert cable.encsync.peer("donald")["last_error"] == ""
    # The interface itself is replaced, as by a driver that is loaded again.
    cable.mickey.ip("link del cable")
    wait_for(lambda: cable.encsync.peer("donald")["state"] == "down", 10, "donald to be down")
    assert cable.encsync.peer("donald")["last_error"] == "interface cable is gone"
    fresh.cable(cable.mickey, "cable", cable.donald, "cable")
    cable.mickey.ip(f"addr add {MICKEY}/24 dev cable")
    cable.donald.ip(f"addr add {DONALD}/24 dev cable")
    cable.ends[cable.donald].process.kill()
    cable.ends[cable.donald] = PfEnd(cable.donald, "cable", DONALD)
    cable.up()
    cable.send(9)
    wait_for(lambda: cable.planted() == {9}, 10, "a state over the new interface")


@pytest.mark.parametrize("left, right, multicast", [
    (MICKEY, DONALD, "no"), (MICKEY, DONALD, "yes"), (MICKEY6, DONALD6, "no"),
    (f"{LINK_LOCAL}%cable", f"{LINK_LOCAL_PEER}%cable", "yes"),
], ids=["ipv4", "ipv4-multicast", "ipv6", "ipv6-multicast"])
def test_two_encsync_nodes(fresh, left, right, multicast):
    """In step, with all that encsync nodes have in addition; and a warning of what is lost."""
    nodes = [fresh.node(name) for name in ("mickey", "minnie")]
    fresh.cable(nodes[0], "cable", nodes[1], "cable")
    for node, ends in zip(nodes, ((MICKEY, MICKEY6, LINK_LOCAL),
                                  (DONALD, DONALD6, LINK_LOCAL_PEER))):
        node.ip(f"addr add {ends[0]}/24 dev cable", f"addr add {ends[1]}/64 dev cable nodad",
                f"addr add {ends[2]}/64 dev cable nodad")
    conn = {"type": "cable", "syncdev": "cable", "multicast": multicast}
    mickey = sync.Encsync(nodes[0], {"minnie": right}, left=left, each={"minnie": conn})
    minnie = sync.Encsync(nodes[1], {"mickey": left}, left=right, each={"mickey": conn})
    for each in (mickey, minnie):
        each.init_keys()
        each.start()
    sync.wait_in_step(mickey, minnie)
    conntrack.insert(nodes[0], "10.0.0.30", SERVER[0], 2000, 443)
    flow = next(flow for flow in conntrack.table(nodes[0]) if flow.orig.src == "10.0.0.30")
    wait_for(lambda: flow in conntrack.table(nodes[1]), 10, "the flow to be in minnie's kernel")
    assert "10.0.0.30" in minnie.states_text()
    assert "pfsync in clear between two encsync nodes" in mickey.command("check").stderr
    for each in (mickey, minnie):
        each.stop()
