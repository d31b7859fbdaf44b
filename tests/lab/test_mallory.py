# SPDX-License-Identifier: ISC
"""What mallory sees and forges. The analyser's result counts only if it finds what is there: so it
is tested with clear frames, and with a recording of conntrackd, which does not encrypt."""

from __future__ import annotations

import socket
import struct

import pytest

import conntrack
import conntrackd
from lab import PYTHON, wait_for
from mallory import FORGED_INSIDE, PROGRAM, Mallory, analyse, forgery, frames, ipv4, pfsync, secrets
from pair import CLIENT, SERVER, FirewallPair
from traffic import Sessions

MAC = "02:00:00:00:00:66"
FLOW = conntrack.Flow("tcp", conntrack.Half("10.0.0.10", "203.0.113.10", 40000, 443),
                      conntrack.Half("203.0.113.10", "203.0.113.1", 443, 51234), "", True, 0, 0)


def frame(packet: bytes, source: str = "02:00:00:00:00:01", kind: int = 0x0800) -> bytes:
    return bytes(6) + bytes.fromhex(source.replace(":", "")) + struct.pack("!H", kind) + packet


def udp(sport: int, dport: int, body: bytes) -> bytes:
    header = struct.pack("!HHHH", sport, dport, 8 + len(body), 0)
    return ipv4("192.168.1.100", "192.168.1.101", header + body, protocol=17)


def pcap(*packets: bytes) -> bytes:
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
    for packet in packets:
        out += struct.pack("<IIII", 0, 0, len(packet), len(packet)) + packet
    return out


def ip6(protocol: int, payload: bytes) -> bytes:
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 255) + bytes(32) + payload


def unheard(port: int) -> bytes:
    """The ICMP error about a datagram to this port."""
    quoted = udp(port, port, b"\xc1\x02\x03\x04" + b"\x55" * 28)
    return frame(ipv4("192.168.1.101", "192.168.1.100", b"\x03\x03" + bytes(6) + quoted,
                      protocol=1))


CLEAR = pfsync(7, bytes(12))
ROWS = [
    # name, frame, counter of the frame
    ("IKE on 500", frame(udp(500, 500, b"\x01" * 28)), "ike"),
    ("IKE on 4500", frame(udp(4500, 4500, bytes(4) + b"\x01" * 28)), "ike"),
    ("NAT keep-alive", frame(udp(4500, 4500, b"\xff")), "ike"),
    ("ESP in UDP", frame(udp(4500, 4500, b"\xc1\x02\x03\x04\x00\x00\x00\x01" + b"\x55" * 40)),
     "esp"),
    ("ESP", frame(ipv4("192.168.1.100", "192.168.1.101", b"\x55" * 40, protocol=50)), "esp"),
    ("ESP over IPv6", frame(ip6(50, b"\x55" * 40), kind=0x86DD), "esp"),
    ("pairing", frame(ipv4("192.168.1.100", "192.168.1.101", struct.pack("!HH", 40000, 4540)
                           + bytes(16), protocol=6)), "pairing"),
    ("clear pfsync", frame(ipv4("192.168.1.101", "192.168.1.100", CLEAR)), "clear_pfsync"),
    ("clear pfsync over IPv6", frame(ip6(240, CLEAR), kind=0x86DD), "clear_pfsync"),
    ("IKE that nobody hears", unheard(500), "unheard"),
    ("ESP that nobody hears", unheard(4500), "unheard"),
    ("ARP", frame(bytes(28), kind=0x0806), "arp"),
    ("VRRP", frame(ipv4("192.168.1.101", "224.0.0.18", bytes(8), protocol=112)), "vrrp"),
    ("mallory's own", frame(ipv4("192.168.1.101", "192.168.1.100", CLEAR), source=MAC), "own"),
    ("a forgery sent back", frame(ipv4("192.168.1.100", "192.168.1.101", b"\x03\x02" + bytes(6)
                                       + ipv4("192.168.1.101", "192.168.1.100", CLEAR),
                                       protocol=1)), "echoes"),
]


@pytest.mark.parametrize("packet, name", [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_each_kind_is_counted_as_itself(packet, name):
    seen = analyse(pcap(packet), secrets([FLOW]), MAC)
    counts = {n: getattr(seen, n) for n in ("ike", "esp", "clear_pfsync", "arp", "vrrp", "own",
                                            "echoes", "unheard", "pairing")}
    assert counts == {**dict.fromkeys(counts, 0), name: 1} and not seen.other
    assert seen.only_ipsec == (name != "clear_pfsync")


def test_the_unexpected_is_named():
    seen = analyse(pcap(frame(udp(53, 3780, b"x" * 30)), frame(bytes(40), kind=0x88CC),
                        unheard(53)), secrets([FLOW]), MAC)
    (icmp,) = [name for name in seen.other if name.startswith("ICMP 0303")]
    assert dict(seen.other) == {"UDP 53 to 3780": 1, "ethertype 0x88cc": 1, icmp: 1}
    assert not seen.only_ipsec


@pytest.mark.parametrize("half", [FLOW.orig, FLOW.reply], ids=["original", "reply"])
@pytest.mark.parametrize("layout", ["address and port", "two addresses", "padded", "text"])
def test_clear_bytes_inside_what_looks_like_esp_are_found(half, layout):
    src, dst = socket.inet_aton(half.src), socket.inet_aton(half.dst)
    inside = {
        "address and port": src + struct.pack("!H", half.sport),
        "two addresses": dst + src,
        "padded": src + bytes(12) + dst,
        "text": f"src={half.src} ".encode(),
    }[layout]
    esp = b"\xc1\x02\x03\x04\x00\x00\x00\x01" + b"\x55" * 17
    hidden = pcap(frame(udp(4500, 4500, esp + inside + b"\x55" * 9)))
    assert len(analyse(hidden, secrets([FLOW]), MAC).leaks) == 1
    assert analyse(pcap(frame(udp(4500, 4500, esp))), secrets([FLOW]), MAC).leaks == []


def test_bare_addresses_count_when_they_are_no_accident():
    body = b"\xc1\x02\x03\x04\x00\x00\x00\x01" + b"\x55" * 9 + socket.inet_aton("10.0.0.10") + b"U"
    some = [frame(udp(4500, 4500, body))] * 3
    assert analyse(pcap(*some), secrets([FLOW]), MAC).leaks == []
    assert len(analyse(pcap(*some, some[0]), secrets([FLOW]), MAC).leaks) == 4


def test_a_pfsync_header_is_found_anywhere():
    body = b"\xc1\x02\x03\x04\x00\x00\x00\x01" + CLEAR
    assert len(analyse(pcap(frame(udp(4500, 4500, body))), secrets([]), MAC).leaks) == 1


def test_a_recording_cut_short_at_every_byte():
    whole = pcap(*(row[1] for row in ROWS))
    counts = [analyse(whole[:end], secrets([FLOW]), MAC).frames for end in range(len(whole) + 1)]
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] == len(ROWS)
    for row in ROWS:  # and truncated frames
        for end in range(14, len(row[1])):
            analyse(pcap(row[1][:end]), secrets([FLOW]), MAC)


def test_forgeries_are_what_a_receiver_would_take():
    kinds = set()
    for number in range(40):
        packet = forgery(number)
        version, _, length = struct.unpack_from("!BBH", packet)
        action, words, count = struct.unpack_from("!BBH", packet, 20)
        assert (version, length, count) == (6, len(packet), 1)
        assert len(packet) == 24 + words * 4
        kinds.add(action)
    assert kinds == {0, 5, 6, 7, 10, 13, 14}


def test_a_recording_of_a_sync_in_clear_gives_the_flows_away(fresh):
    """Control: the forgeries arrive; only encsync drops them."""
    pair = FirewallPair(fresh)
    mallory = Mallory(pair)
    conntrackd.start(pair)
    for node in pair.firewalls[:2]:
        node.nft("table inet count {\n chain c {\n"
                 "type filter hook prerouting priority -450\n"
                 "ip protocol 240 ip ttl 255 counter\n }\n}")
    conntrack.insert(pair.mickey, CLIENT[0], SERVER[0], 1234, 443)
    wait_for(lambda: pair.flows(pair.minnie), 10, "conntrackd to carry the flow over")
    assert mallory.forge(200) == 200
    for node in pair.firewalls[:2]:
        wait_for(lambda: "counter packets 100 " in
                 node.run("nft", "list", "table", "inet", "count").stdout, 10, "all to arrive")
    wait_for(lambda: mallory.look(secrets([])).own >= 200, 10, "all in the recording")
    seen = mallory.look(secrets(pair.flows(pair.mickey)))
    assert seen.clear_pfsync == 0 and seen.esp == 0
    assert any("UDP" in kind and "3780" in kind for kind in seen.other)
    assert any("an address and port of a flow" in leak for leak in seen.leaks)
    assert mallory.lost() == 0


def test_a_clear_packet_between_the_firewalls_is_seen(fresh):
    pair = FirewallPair(fresh)
    mallory = Mallory(pair)
    pair.minnie.run(PYTHON, PROGRAM, "forge", "--victim", "192.168.1.100", "--as",
                    "192.168.1.101", "--count", 1)
    wait_for(lambda: len(list(frames(mallory.pcap.read_bytes()))) > 0
             and mallory.look(secrets([])).clear_pfsync, 5, "the packet in the recording")
    seen = mallory.look(secrets([]))
    assert seen.clear_pfsync == 1 and len(seen.leaks) == 1 and not seen.only_ipsec


@pytest.mark.daemon
def test_forgeries_are_refused_and_counted(pair, instances, mallory):
    conntrack.insert_many(pair.mickey, 200)
    wait_for(lambda: len(pair.flows(pair.minnie)) == 200, 10, "the flows to be on both")
    before = [conntrack.keys(pair.flows(node)) for node in pair.firewalls]
    counted = [sum(i.refused().values()) for i in instances]
    assert mallory.forge(1000) == 1000
    for instance, was in zip(instances, counted):
        wait_for(lambda: sum(instance.refused().values()) - was >= 500, 10,
                 f"{instance.name} to count 500 refused packets")
    for node, instance, was in zip(pair.firewalls, instances, before):
        flows = conntrack.table(node)
        assert not [f for f in flows if f.involves(FORGED_INSIDE)]
        assert '"10.66.' not in instance.states_text()
        assert was <= conntrack.keys(flows)  # none deleted or cleared
        assert instance.ready()


@pytest.mark.daemon
def test_mallory_sees_ike_and_esp_and_no_byte_of_a_state(pair, instances, mallory):
    sessions = Sessions(pair, size=1_000_000)
    pair.start_keepalived(pair.mickey)
    pair.wait_owner(pair.mickey)
    sessions.start()
    assert sessions.make_flows(200) == 200
    wait_for(lambda: conntrack.keys(pair.flows(pair.mickey))
             == conntrack.keys(pair.flows(pair.minnie)), 10, "the flows to be on both")
    flows = pair.flows(pair.mickey)
    sessions.stop()
    assert len(flows) >= 200
    assert mallory.lost() == 0
    seen = mallory.look(secrets(flows))
    assert seen.leaks == [] and seen.clear_pfsync == 0 and not seen.other
    assert seen.esp > 0 and seen.ike > 0
