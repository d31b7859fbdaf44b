# SPDX-License-Identifier: ISC
"""Golden packets of version 6, from OpenBSD's sys/net/if_pfsync.h (r1.65) and pfvar.h (r1.543)."""

import ipaddress
import struct

from common import (ESP, GRE, ICMP, ICMP6, IN, NONE, OUT, SCTP, TCP, UDP, Vectors, address, bus,
                    clr, flow, ident, name, peer, sockaddr, upd_c)

CLR, OINS, INS_ACK, OUPD, UPD_C, UPD_REQ, DEL, DEL_C = 0, 1, 2, 3, 4, 5, 6, 7
BUS, OTDB, EOF, INS, UPD, TDB = 10, 11, 12, 13, 14, 15
NAMES = {CLR: "clr", INS_ACK: "ins_ack", UPD_C: "upd_c", UPD_REQ: "upd_req", DEL: "del",
         DEL_C: "del_c", BUS: "bus", INS: "ins", UPD: "upd", TDB: "tdb"}
AF = {4: 2, 6: 24}  # OpenBSD's AF_INET and AF_INET6


def packet(*sections, version=6, length=None, trailer=b"", pfcksum=bytes(16)):
    body = b"".join(sections)
    header = struct.pack(">BBH", version, 0, 20 + len(body) if length is None else length)
    header += pfcksum
    return header + body + trailer


def section(action, *messages, stride=None, count=None):
    size = len(messages[0]) if messages else 0
    assert all(len(m) == size for m in messages)
    return struct.pack(">BBH", action, size // 4 if stride is None else stride // 4,
                       len(messages) if count is None else count) + b"".join(messages)


def key(src, sport, dst, dport, direction, af, junk):
    """Direction in: source first. Direction out: source second."""
    ends = [(src, sport), (dst, dport)]
    if direction == OUT:
        ends.reverse()
    return (address(ends[0][0], junk) + address(ends[1][0], junk)
            + struct.pack(">HHHBB", ends[0][1], ends[1][1], 0, af, 0))


def state(id=0x1122334455667788, creatorid=0x0a0b0c0d, ifname=b"all", proto=TCP, direction=IN,
          orig=("10.0.0.2", 40000, "192.0.2.1", 443), translated=None, src=None, dst=None,
          age=77, expire=86400, timeout=2, flags=0, counters=(0, 0, 0, 0), key_af=None, af=None,
          stack_af=None, junk=b"\0", rule=NONE, anchor=NONE, rtableid=(-1, -1), max_mss=0, log=0,
          sync_flags=0, tail=b"", set_prio=b"\0\0"):
    translated = translated or orig
    real_af = AF[ipaddress.ip_address(orig[0]).version]
    af = real_af if af is None else af
    key_af = real_af if key_af is None else key_af
    stack_af = key_af if stack_af is None else stack_af
    wire, stack = (orig, translated) if direction == IN else (translated, orig)
    m = struct.pack(">Q", id) + ifname.ljust(16, b"\0")
    m += key(*wire, direction, key_af, junk) + key(*stack, direction, stack_af, junk)
    m += (src or peer(4)) + (dst or peer(4)) + bytes(16)
    m += struct.pack(">IIIII", rule, anchor, NONE, age, expire)
    m += struct.pack(">QQQQ", *counters)
    m += struct.pack(">I", creatorid)
    m += struct.pack(">iiH", *rtableid, max_mss)
    m += struct.pack(">BBBBBB", af, proto, direction, log, 0, timeout)
    m += struct.pack(">BBBBH", sync_flags, 0, 0, 0, flags) + set_prio
    assert len(m) == 264
    return m + tail


def tail(mark=0, timeout=0, zone=0, live=True, status=0):
    return struct.pack(">IIHBB", mark, timeout, zone, 1 if live else 0, status)


def more(labels=b"", helper=b"", lifetime=0, expectations=0, orig=(0, 0, 0), reply=(0, 0, 0),
         reply_zone=None):
    return struct.pack(">16s16sIBBH6I", labels, helper, lifetime, expectations,
                       reply_zone is not None, reply_zone or 0, *orig, *reply)


def tdb(spi=0x1000, dst="192.0.2.9", rpl=17, count=123456789012, sproto=ESP, rdomain=0, af=None):
    to = sockaddr(dst, AF[4] if af is None else af, AF[6])
    return (struct.pack(">I", spi) + to
            + struct.pack(">QQBBH", rpl, count, sproto, 0, rdomain))


def said(action, stride, *lines):
    return [f"section {NAMES.get(action, action)} stride {stride} count {len(lines)}",
            *(f"  {line}" for line in lines)]


VECTORS = Vectors()
vector = VECTORS.add


def ours():
    C, S, N = "10.0.0.2", "192.0.2.1", "203.0.113.5"
    both, sloppy = "seen_reply assured", "seen_reply assured sloppy"
    plain = (C, 40000, S, 443)
    back = (S, 443, C, 40000)
    ins = state(flags=2)
    vector("ours-ins-tcp", packet(section(INS, ins)),
           *said(INS, 264, flow(plain, back, flags=sloppy)))
    vector("ours-ins-tcp-syn",
           packet(section(INS, state(flags=2, src=peer(2), dst=peer(0), timeout=0, age=0,
                                     expire=120))),
           *said(INS, 264, flow(plain, back, 2, 0, flags="sloppy", timeout=120, age=0)))
    vector("ours-ins-tcp-snat",
           packet(section(INS, state(flags=2, direction=OUT,
                                     translated=(N, 61000, S, 443)))),
           *said(INS, 264, flow(plain, (S, 443, N, 61000), flags=sloppy)))
    vector("ours-ins-tcp-dnat",
           packet(section(INS, state(flags=2, orig=(C, 40000, N, 80),
                                     translated=(C, 40000, S, 8080)))),
           *said(INS, 264, flow((C, 40000, N, 80), (S, 8080, C, 40000), flags=sloppy)))
    vector("ours-ins-tcp-both-nat",
           packet(section(INS, state(flags=2, orig=(C, 40000, N, 80),
                                     translated=("10.9.9.9", 555, S, 8080)))),
           *said(INS, 264, flow((C, 40000, N, 80), (S, 8080, "10.9.9.9", 555), flags=sloppy)))
    vector("ours-ins-udp6",
           packet(section(INS, state(proto=UDP, orig=("2001:db8::1", 5000, "2001:db8::53", 53),
                                     src=peer(2), dst=peer(2), timeout=8, expire=60))),
           *said(INS, 264, flow(("2001:db8::1", 5000, "2001:db8::53", 53),
                                ("2001:db8::53", 53, "2001:db8::1", 5000), 2, 2, proto=UDP,
                                flags=both, timeout=60)))
    # ICMP: the id stands with the source, the type with the destination.
    vector("ours-ins-icmp-snat",
           packet(section(INS, state(proto=ICMP, direction=OUT, orig=(C, 0x1234, S, 8),
                                     translated=(N, 0x4321, S, 8), src=peer(1), dst=peer(1),
                                     timeout=10, expire=10))),
           *said(INS, 264, flow((C, 0x1234, S, 8 << 8), (S, 0x4321, N, 0), 1, 1, proto=ICMP,
                                flags="seen_reply", timeout=10)))
    vector("ours-ins-icmp6",
           packet(section(INS, state(proto=ICMP6, orig=("fe80::1", 7, "fe80::2", 128),
                                     src=peer(1), dst=peer(0), timeout=9, expire=20))),
           *said(INS, 264, flow(("fe80::1", 7, "fe80::2", 128 << 8),
                                ("fe80::2", 7, "fe80::1", 129 << 8), 1, 0, proto=ICMP6,
                                timeout=20)))
    vector("ours-ins-gre",
           packet(section(INS, state(proto=GRE, orig=(C, 1, S, 2), src=peer(1), dst=peer(1),
                                     timeout=12, expire=30))),
           *said(INS, 264, flow((C, 1, S, 2), (S, 2, C, 1), 1, 1, proto=GRE, flags="seen_reply",
                                timeout=30)))
    vector("ours-ins-esp",
           packet(section(INS, state(proto=ESP, orig=(C, 0, S, 0), src=peer(2), dst=peer(2),
                                     timeout=13, expire=60))),
           *said(INS, 264, flow((C, 0, S, 0), (S, 0, C, 0), 2, 2, proto=ESP, flags=both,
                                timeout=60)))
    vector("ours-ins-sctp",
           packet(section(INS, state(proto=SCTP, orig=(C, 1, S, 2), src=peer(1), dst=peer(0),
                                     timeout=11, expire=60))),
           *said(INS, 264, flow((C, 1, S, 2), (S, 2, C, 1), 1, 0, proto=SCTP, timeout=60)))
    vector("ours-ins-tail",
           packet(section(INS, state(flags=2, tail=tail(0xdeadbeef, 86400, 9, True, 3)))),
           *said(INS, 276, flow(plain, back, flags=both, mark=0xdeadbeef, zone=9,
                                rest="tail live")))
    vector("ours-ins-more",
           packet(section(INS, state(flags=2, tail=tail(0, 86400, 0, True, 3)
                                     + more(b"\x08" + bytes(14) + b"\x80", b"ftp", 72000, 2,
                                            (1000, 0, 2), (2000, 0xffffffff, 3))))),
           *said(INS, 340, flow(plain, back, flags=both,
                                rest="tail live labels [3 127] helper [ftp] lifetime 72000"
                                " expectations 2 from 1000 on 2 instead of 0"
                                " from 2000 on 3 instead of 4294967295")))
    vector("ours-ins-original-zone",
           packet(section(INS, state(flags=2, tail=tail(0, 86400, 10, True, 3)
                                     + more(reply_zone=0)))),
           *said(INS, 340, flow(plain, back, flags=both, zone=10,
                                rest="tail live labels [] helper [] lifetime 0 expectations 0"
                                " reply zone 0")))
    vector("ours-ins-reply-zone",
           packet(section(INS, state(flags=2, tail=tail(0, 86400, 0, True, 3)
                                     + more(reply_zone=10)))),
           *said(INS, 340, flow(plain, back, flags=both,
                                rest="tail live labels [] helper [] lifetime 0 expectations 0"
                                " reply zone 10")))
    # SCTP's verification tags stand where FreeBSD has them.
    tagged = [peer(4, scrub=struct.pack(">HBBI", 0, 0, 1, tag)) for tag in (0x11223344, 0x55667788)]
    vector("ours-ins-sctp-tags",
           packet(section(INS, state(proto=SCTP, orig=(C, 1, S, 2), src=tagged[0], dst=tagged[1],
                                     timeout=13, expire=60, tail=tail(0, 60, 0, True, 3)))),
           *said(INS, 276, flow((C, 1, S, 2), (S, 2, C, 1), proto=SCTP, flags=both, timeout=60,
                                rest="tail live tags 11223344 55667788")))
    vector("ours-upd-tail-copy",
           packet(section(UPD, state(flags=2 | 16, tail=tail(1, 86400, 0, False, 9)))),
           *said(UPD, 276, flow(plain, back, flags="seen_reply sloppy", mark=1,
                                rest="tail copy wants_ack")))
    vector("ours-del", packet(section(DEL, ins)),
           *said(DEL, 264, flow(plain, back, flags=sloppy)))
    # All kinds in one packet, two deletions in one section; of BUS, pf reads the first alone.
    vector("ours-mixed",
           packet(section(INS_ACK, ident()),
                  section(UPD_C, upd_c(src=peer(7), timeout=3)),
                  section(DEL_C, ident(1), ident(2, 3)),
                  section(UPD_REQ, ident(0, 0)),
                  section(CLR, clr(), clr(b"em0")),
                  section(BUS, bus(1)), section(BUS, bus(2, endtime=300)),
                  section(TDB, tdb())),
           *said(INS_ACK, 12, name()),
           *said(UPD_C, 84, name() + " states 7:4 timeout 3"),
           *said(DEL_C, 12, name(1), name(2, 3)),
           *said(UPD_REQ, 12, name(0, 0)),
           *said(CLR, 20, "clr [] 0a0b0c0d", "clr [em0] 0a0b0c0d"),
           *said(BUS, 12, "start 0a0b0c0d 0"), *said(BUS, 12, "end 0a0b0c0d 300"),
           *said(TDB, 52, "tdb 192.0.2.9 spi 00001000 rpl 17 bytes 123456789012 proto 50"
                 " rdomain 0"))
    vector("ours-empty", packet())


def pf():
    """What a pf firewall says, with all that we don't say ourselves."""
    C, S, N = "10.0.0.2", "192.0.2.1", "203.0.113.5"
    windows = dict(src=peer(4, 1000, 66536, 0, 512, 0, 0x87, b"\0\1\x40\1\1\2\3\4"),
                   dst=peer(4, 2000, 68000, 0, 1024, 1460, 0x86))
    full = dict(ifname=b"em0", junk=b"\xa5", rule=3, anchor=NONE, rtableid=(0, 0), max_mss=1460,
                log=1, sync_flags=8, counters=(10, 9, 8000, 2 ** 40), flags=0x0160,
                set_prio=b"\3\4", **windows)
    both = "seen_reply assured"
    plain = flow((C, 40000, S, 443), (S, 443, C, 40000), flags=both)
    vector("pf-ins", packet(section(INS, state(**full))), *said(INS, 264, plain))
    vector("pf-ins-out", packet(section(INS, state(direction=OUT, **full))),
           *said(INS, 264, plain))
    vector("pf-ins-dnat-out",
           packet(section(INS, state(direction=OUT, translated=(C, 40000, N, 8443), **full))),
           *said(INS, 264, flow((C, 40000, S, 443), (N, 8443, C, 40000), flags=both)))
    vector("pf-ins-snat-in",
           packet(section(INS, state(translated=(N, 50000, S, 443), **full))),
           *said(INS, 264, flow((C, 40000, S, 443), (S, 443, N, 50000), flags=both)))
    vector("pf-key-af-zero", packet(section(UPD, state(key_af=0, **full))),
           *said(UPD, 264, plain))
    vector("pf-defer-nosync",
           packet(section(INS, state(src=peer(2), dst=peer(0), flags=0x18, timeout=0, expire=0))),
           *said(INS, 264, flow((C, 40000, S, 443), (S, 443, C, 40000), 2, 0, flags="no_sync",
                                timeout=0, rest="wants_ack")))
    vector("pf-synproxy",
           packet(section(INS, state(src=peer(11), dst=peer(12), timeout=0, expire=120))),
           *said(INS, 264, flow((C, 40000, S, 443), (S, 443, C, 40000), 11, 12, timeout=120)))
    vector("pf-esp-with-ports",
           packet(section(INS, state(proto=ESP, orig=(C, 5, S, 6), src=peer(1), dst=peer(0),
                                     timeout=11))),
           *said(INS, 264, flow((C, 0, S, 0), (S, 0, C, 0), 1, 0, proto=ESP)))
    vector("pf-icmp-out",
           packet(section(INS, state(proto=ICMP, direction=OUT, orig=(C, 77, S, 8),
                                     src=peer(0), dst=peer(0), timeout=10, expire=10))),
           *said(INS, 264, flow((C, 77, S, 0x800), (S, 77, C, 0), 0, 0, proto=ICMP,
                                timeout=10)))
    # A longer message is read as its known front.
    vector("pf-longer-state",
           packet(section(INS, state(tail=b"\xff" * 4), state(id=2, tail=b"\xff" * 4))),
           *said(INS, 268, plain,
                 flow((C, 40000, S, 443), (S, 443, C, 40000), id=2, flags=both)))
    vector("pf-longer-id", packet(section(DEL_C, ident() + b"\xee" * 8, ident(9) + bytes(8))),
           *said(DEL_C, 20, name(), name(9)))
    # Skipped by their length, and what follows is read: unknown, deprecated, too short.
    vector("pf-skipped",
           packet(section(200, b"\x55" * 16), section(OINS, b"\1" * 240),
                  section(INS, b"\2" * 260), section(EOF, b"\0" * 4), section(DEL_C, ident())),
           "section 200 stride 16 count 1", "  skipped",
           "section 1 stride 240 count 1", "  skipped",
           "section ins stride 260 count 1", "  refused short_message",
           "section 12 stride 4 count 1", "  skipped",
           *said(DEL_C, 12, name()))
    vector("pf-trailer", packet(section(DEL_C, ident()), trailer=b"\xff" * 9),
           *said(DEL_C, 12, name()))
    vector("pf-tdb6", packet(section(TDB, tdb(dst="2001:db8::9", rdomain=4))),
           *said(TDB, 52, "tdb 2001:db8::9 spi 00001000 rpl 17 bytes 123456789012 proto 50"
                 " rdomain 4"))
    # r1.332 leaves what stood behind the NUL.
    vector("pf-clr-dirty", packet(section(CLR, clr(b"em1\0dirty"))),
           *said(CLR, 20, "clr [em1] 0a0b0c0d"))

    # The order in which r1.332 fills a packet; what it asks and its bulk updates go alone.
    udp = dict(proto=UDP, src=peer(1), dst=peer(0), timeout=6)
    udp_flow = flow((C, 40000, S, 443), (S, 443, C, 40000), 1, 0, proto=UDP)
    states = [section(INS, state(**udp), state(id=9, **udp)), section(UPD, state(**full))]
    states_said = [*said(INS, 264, udp_flow, flow((C, 40000, S, 443), (S, 443, C, 40000), 1, 0,
                                                  proto=UDP, id=9)),
                   *said(UPD, 264, plain)]
    small = [section(INS_ACK, ident()), section(UPD_C, upd_c(), upd_c(id=2)),
             section(DEL_C, ident(3))]
    small_said = [*said(INS_ACK, 12, name()),
                  *said(UPD_C, 84, name() + " states 4:4 timeout 2",
                        name(2) + " states 4:4 timeout 2"),
                  *said(DEL_C, 12, name(3))]
    tdb_said = said(TDB, 52, "tdb 192.0.2.9 spi 00001000 rpl 16401 bytes 123456789012 proto 50"
                    " rdomain 0")
    vector("pf-order", packet(*small, *states, section(TDB, tdb(rpl=17 + 16384))),
           *small_said, *states_said, *tdb_said)
    # r1.218 puts questions and bulk status first, and says which ruleset it has.
    vector("pf-order-2015",
           packet(section(UPD_REQ, ident(5), ident(4)), section(BUS, bus(1)),
                  section(TDB, tdb(rpl=17 + 16384)), *small, *states,
                  pfcksum=bytes(range(0x40, 0x50))),
           *said(UPD_REQ, 12, name(5), name(4)), *said(BUS, 12, "start 0a0b0c0d 0"), *tdb_said,
           *small_said, *states_said)
    vector("pf-bulk-end", packet(section(BUS, bus(2))), *said(BUS, 12, "end 0a0b0c0d 0"))
    # A bulk update says states that a receiver must refuse or keep to itself.
    vector("pf-bulk-states",
           packet(section(UPD, state(timeout=21), state(flags=8), state(timeout=22))),
           *said(UPD, 264, "refused bad_timeout",
                 flow((C, 40000, S, 443), (S, 443, C, 40000), flags="seen_reply assured no_sync"),
                 "refused bad_timeout"))


def bad():
    def refused(label, reason, action, message):
        vector(f"bad-{label}", packet(section(action, message), section(DEL_C, ident())),
               *said(action, len(message), f"refused {reason}"), *said(DEL_C, 12, name()))

    refused("creatorid", "bad_creatorid", INS, state(creatorid=0))
    refused("ifname", "bad_ifname", INS, state(ifname=b"x" * 16))
    refused("src-state", "bad_peer_state", UPD, state(src=peer(13)))
    refused("dst-state", "bad_peer_state", UPD, state(dst=peer(255)))
    refused("timeout", "bad_timeout", UPD, state(timeout=20))
    refused("timeout-purge", "bad_timeout", INS, state(timeout=21))
    refused("direction-zero", "bad_direction", UPD, state(direction=0))
    refused("direction-three", "bad_direction", INS, state(direction=3))
    refused("af-none", "bad_family", UPD, state(key_af=0, af=0))
    refused("af-linux", "bad_family", INS, state(key_af=10, af=10))
    refused("af-freebsd", "bad_family", INS, state(key_af=28, af=28))
    refused("af-differ", "bad_family", UPD, state(key_af=2, stack_af=24))
    refused("af-half", "bad_family", UPD, state(key_af=2, stack_af=0))
    refused("af-other", "bad_family", UPD, state(key_af=2, af=24))
    refused("icmp-type", "bad_icmp_type", INS,
            state(proto=ICMP, orig=("10.0.0.2", 1, "192.0.2.1", 256)))
    for label, helper in (("long", b"x" * 16), ("letter", b"f/p"), ("rest", b"ftp\0x")):
        refused(f"helper-{label}", "bad_name", UPD,
                state(tail=tail() + more(helper=helper)))
    for label, zone, reply_zone in (("none", 0, 0), ("two", 10, 20), ("same", 10, 10)):
        refused(f"zone-{label}", "bad_zone", UPD,
                state(tail=tail(zone=zone) + more(reply_zone=reply_zone)))
    refused("upd-c-creatorid", "bad_creatorid", UPD_C, upd_c(creatorid=0))
    refused("upd-c-state", "bad_peer_state", UPD_C, upd_c(src=peer(13)))
    refused("upd-c-timeout", "bad_timeout", UPD_C, upd_c(timeout=20))
    refused("upd-c-short", "short_message", UPD_C, upd_c()[:80])
    refused("clr-ifname", "bad_ifname", CLR, clr(b"y" * 16))
    refused("clr-creatorid", "bad_creatorid", CLR, clr(creatorid=0))
    refused("bus-status", "bad_bus_status", BUS, bus(3))
    refused("tdb-family", "bad_family", TDB, tdb(af=7))
    refused("id-short", "short_message", DEL_C, ident()[:8])

    one = section(DEL_C, ident())
    vector("bad-short-header", packet()[:19], "fault short_header at 0")
    vector("bad-version", packet(one, version=5), "fault bad_version at 0")
    vector("bad-length-small", packet(one, length=19), "fault bad_length at 0")
    vector("bad-length-large", packet(one, length=37), "fault bad_length at 0")
    vector("bad-subheader", packet(one, b"\7\3\0"), *said(DEL_C, 12, name()),
           "fault short_subheader at 36")
    vector("bad-count-zero", packet(one, section(DEL_C, ident(), count=0)),
           *said(DEL_C, 12, name()), "fault zero_count at 36")
    vector("bad-stride-zero", packet(section(DEL_C, ident(), stride=0)),
           "fault zero_stride at 20")
    # The end mark of older versions: version 6 has none, and it has no length to skip it by.
    vector("bad-eof", packet(one, section(EOF, b"")), *said(DEL_C, 12, name()),
           "fault zero_stride at 36")
    vector("bad-overrun", packet(section(DEL_C, ident(), ident(2), count=3)),
           "fault section_overrun at 20")
    vector("bad-overrun-most", packet(section(DEL_C, ident(), count=65535, stride=1020)),
           "fault section_overrun at 20")
    # The bytes are there, but the length field says they are none of this packet's.
    vector("bad-beyond-length", packet(one, length=35), "fault section_overrun at 20")


def vectors():
    ours()
    pf()
    bad()
    return VECTORS
