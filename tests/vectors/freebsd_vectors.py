# SPDX-License-Identifier: ISC
"""Golden packets of version 5, from FreeBSD's sys/net/if_pfsync.h and pfvar.h (13, 14 and 15).

A full state comes in three sizes: 1301, 1400 and 1500. All that a release sends is of one size.
"""

import ipaddress
import struct

from common import (DCCP, ESP, GRE, ICMP, ICMP6, IN, NONE, OUT, SCTP, TCP, UDP, Vectors, address,
                    bus, clr, flow, ident, name, peer, sockaddr, upd_c)

CLR, INS_ACK, UPD_C, UPD_REQ, DEL, DEL_C, INS_F, DEL_F, BUS, TDB, EOF = (
    0, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12)
INS = {1301: 1, 1400: 13, 1500: 15}
UPD = {1301: 3, 1400: 14, 1500: 16}
SIZE = {1301: 242, 1400: 277, 1500: 360}
NAMES = {CLR: "clr", INS_ACK: "ins_ack", UPD_C: "upd_c", UPD_REQ: "upd_req", DEL: "del",
         DEL_C: "del_c", BUS: "bus", TDB: "tdb", EOF: "eof",
         **{n: "ins" for n in INS.values()}, **{n: "upd" for n in UPD.values()}}
AF = {4: 2, 6: 28}  # FreeBSD's AF_INET and AF_INET6
SCRUBBED = b"\0\0\0\1"  # the block is there; a timestamp offset or SCTP's tag follows
C, S, N = "10.0.0.2", "192.0.2.1", "203.0.113.5"
PLAIN, BACK = (C, 40000, S, 443), (S, 443, C, 40000)
BOTH = "seen_reply assured"


def section(action, *messages, count=None):
    return struct.pack(">BBH", action, 0,
                       len(messages) if count is None else count) + b"".join(messages)


END = section(EOF, b"")
END_SAID = ["section eof stride 0 count 1", "  end"]


def bare(*sections, version=5, length=None, trailer=b"", pfcksum=bytes(16)):
    body = b"".join(sections)
    header = struct.pack(">BBH", version, 0, 20 + len(body) if length is None else length)
    return header + pfcksum + body + trailer


def packet(*sections, **more):
    """As every FreeBSD sends it: with the end mark."""
    return bare(*sections, END, **more)


def key(src, sport, dst, dport, direction, junk):
    """Direction in: source first. Direction out: source second."""
    ends = [(src, sport), (dst, dport)]
    if direction == OUT:
        ends.reverse()
    return (address(ends[0][0], junk) + address(ends[1][0], junk)
            + struct.pack(">HH", ends[0][1], ends[1][1]))


def state(size, id=0x1122334455667788, creatorid=0x0a0b0c0d, ifname=b"all", proto=TCP,
          direction=IN, orig=PLAIN, translated=None, src=None, dst=None, age=77, expire=86400,
          timeout=2, flags=0, counters=(0, 0, 0, 0), af=None, stack_af=None, stack_proto=None,
          junk=b"\0", rule=NONE, anchor=NONE, rt_addr=bytes(16), log=0, sync_flags=0, queues=0,
          rtableid=-1, min_ttl=0, set_tos=0, max_mss=0, set_prio=b"\0\0", rt=0, rt_af=0,
          rt_ifname=b"", orig_ifname=b"all", tagname=b""):
    translated = translated or orig
    af = AF[ipaddress.ip_address(orig[0]).version] if af is None else af
    stack_af = af if stack_af is None else stack_af
    stack_proto = proto if stack_proto is None else stack_proto
    wire, stack = (orig, translated) if direction == IN else (translated, orig)
    m = struct.pack(">Q", id) + ifname.ljust(16, b"\0")
    m += key(*wire, direction, junk) + key(*stack, direction, junk)
    m += (src or peer(4)) + (dst or peer(4)) + rt_addr
    m += struct.pack(">IIIII", rule, anchor, NONE, age, expire)
    m += struct.pack(">QQQQ", *counters)
    m += struct.pack(">I", creatorid)
    assert len(m) == 232
    four_queues = struct.pack(">HHHH", *[queues] * 4)
    if size == 1301:
        m += struct.pack(">BBBHBBBBB", af, proto, direction, 0, log, flags & 0xff, timeout,
                         sync_flags, 0)
    elif size == 1400:
        m += struct.pack(">BBBHBBBBB", af, proto, direction, flags, log, 0, timeout, sync_flags, 0)
        m += four_queues + struct.pack(">iBBH", rtableid, min_ttl, set_tos, max_mss)
        m += set_prio + bytes([rt]) + rt_ifname.ljust(16, b"\0")
    else:
        m += tagname.ljust(64, b"\0") + rt_ifname.ljust(16, b"\0") + orig_ifname.ljust(16, b"\0")
        m += struct.pack(">iH", rtableid, flags) + four_queues + struct.pack(">H", max_mss)
        m += struct.pack(">BBBBBBBBBBB", af, stack_af, rt_af, proto, stack_proto, log, timeout,
                         direction, rt, min_ttl, set_tos) + set_prio + bytes(3)
    assert len(m) == SIZE[size]
    return m


def tdb(spi=0x1000, dst="192.0.2.9", rpl=17, count=123456789012, sproto=ESP, af=None):
    to = sockaddr(dst, AF[4] if af is None else af, AF[6])
    return struct.pack(">I", spi) + to + struct.pack(">IQBBH", rpl, count, sproto, 0, 0)


def said(action, stride, *lines):
    return [f"section {NAMES[action]} stride {stride} count {len(lines)}",
            *(f"  {line}" for line in lines)]


def icmp_ports(size, id, type):
    """What stands at the source and at the destination of an ICMP state."""
    return (id, type) if size == 1500 else (id, id)


def ours(size, vector):
    ins, upd, n = INS[size], UPD[size], SIZE[size]

    def one(label, message, *line):
        vector(f"ours-{label}", packet(section(ins, message)), *said(ins, n, *line), *END_SAID)

    sloppy = BOTH + " sloppy"
    one("ins-tcp", state(size, flags=2), flow(PLAIN, BACK, flags=sloppy))
    one("ins-tcp-syn",
        state(size, flags=2, src=peer(2), dst=peer(0), timeout=0, age=0, expire=120),
        flow(PLAIN, BACK, 2, 0, flags="sloppy", timeout=120, age=0))
    one("ins-tcp-snat", state(size, flags=2, direction=OUT, translated=(N, 61000, S, 443)),
        flow(PLAIN, (S, 443, N, 61000), flags=sloppy))
    one("ins-tcp-dnat",
        state(size, flags=2, orig=(C, 40000, N, 80), translated=(C, 40000, S, 8080)),
        flow((C, 40000, N, 80), (S, 8080, C, 40000), flags=sloppy))
    one("ins-tcp-both-nat",
        state(size, flags=2, orig=(C, 40000, N, 80), translated=("10.9.9.9", 555, S, 8080)),
        flow((C, 40000, N, 80), (S, 8080, "10.9.9.9", 555), flags=sloppy))
    one("ins-udp6",
        state(size, proto=UDP, orig=("2001:db8::1", 5000, "2001:db8::53", 53), src=peer(2),
              dst=peer(2), timeout=8, expire=60),
        flow(("2001:db8::1", 5000, "2001:db8::53", 53), ("2001:db8::53", 53, "2001:db8::1", 5000),
             2, 2, proto=UDP, flags=BOTH, timeout=60))
    # FreeBSD 15: the id stands with the source, the type with the destination. Before: the id.
    at, to = icmp_ports(size, 0x1234, 8)
    nat_at, nat_to = icmp_ports(size, 0x4321, 8)
    one("ins-icmp-snat",
        state(size, proto=ICMP, direction=OUT, orig=(C, at, S, to),
              translated=(N, nat_at, S, nat_to), src=peer(1), dst=peer(1), timeout=10, expire=10),
        flow((C, 0x1234, S, 8 << 8), (S, 0x4321, N, 0), 1, 1, proto=ICMP, flags="seen_reply",
             timeout=10))
    at, to = icmp_ports(size, 7, 128)
    one("ins-icmp6",
        state(size, proto=ICMP6, orig=("fe80::1", at, "fe80::2", to), src=peer(1), dst=peer(0),
              timeout=9, expire=20),
        flow(("fe80::1", 7, "fe80::2", 128 << 8), ("fe80::2", 7, "fe80::1", 129 << 8), 1, 0,
             proto=ICMP6, timeout=20))
    one("ins-gre",
        state(size, proto=GRE, orig=(C, 1, S, 2), src=peer(1), dst=peer(1), timeout=12, expire=30),
        flow((C, 1, S, 2), (S, 2, C, 1), 1, 1, proto=GRE, flags="seen_reply", timeout=30))
    one("ins-esp",
        state(size, proto=ESP, orig=(C, 0, S, 0), src=peer(2), dst=peer(2), timeout=13, expire=60),
        flow((C, 0, S, 0), (S, 0, C, 0), 2, 2, proto=ESP, flags=BOTH, timeout=60))
    # SCTP: FreeBSD 13 only sees packets; later ones follow the association (netinet/sctp.h) and
    # want the block that holds the verification tag.
    if size == 1301:
        opening, established = (peer(1), peer(0), 11), (peer(2), peer(2), 13)
        closing = established
    else:
        mark = SCRUBBED + bytes(4)
        opening = (peer(2, scrub=mark), peer(0, scrub=mark), 20)
        established = (peer(8, scrub=mark), peer(8, scrub=mark), 22)
        closing = established[:2] + (23,)
    for label, (src, dst, timeout), seen, flags in (
            ("opening", opening, (2, 0), ""), ("established", established, (4, 4), BOTH),
            ("closing", closing, (4, 4), BOTH)):
        one(f"ins-sctp-{label}",
            state(size, proto=SCTP, orig=(C, 1, S, 2), src=src, dst=dst, timeout=timeout,
                  expire=60),
            flow((C, 1, S, 2), (S, 2, C, 1), *seen, proto=SCTP, flags=flags, timeout=60))
    one("ins-dccp",
        state(size, proto=DCCP, orig=(C, 1, S, 2), src=peer(2), dst=peer(1), timeout=12, expire=60),
        flow((C, 1, S, 2), (S, 2, C, 1), 4, 2, proto=DCCP, flags="seen_reply", timeout=60))
    vector("ours-upd", packet(section(upd, state(size, flags=2 | 16))),
           *said(upd, n, flow(PLAIN, BACK, flags=sloppy, rest="wants_ack")), *END_SAID)
    if size == 1301:
        vector("ours-del", packet(section(DEL, state(size, flags=2))),
               *said(DEL, n, flow(PLAIN, BACK, flags=sloppy)), *END_SAID)
    # All small kinds in one packet, two deletions in one section; of BUS, pf reads the first alone.
    vector("ours-mixed",
           packet(section(INS_ACK, ident()), section(UPD_C, upd_c(src=peer(7), timeout=3)),
                  section(DEL_C, ident(1), ident(2, 3)), section(UPD_REQ, ident(0, 0)),
                  section(CLR, clr(), clr(b"em0")),
                  section(BUS, bus(1)), section(BUS, bus(2, endtime=300)),
                  section(TDB, tdb())),
           *said(INS_ACK, 12, name()), *said(UPD_C, 84, name() + " states 7:4 timeout 3"),
           *said(DEL_C, 12, name(1), name(2, 3)), *said(UPD_REQ, 12, name(0, 0)),
           *said(CLR, 20, "clr [] 0a0b0c0d", "clr [em0] 0a0b0c0d"),
           *said(BUS, 12, "start 0a0b0c0d 0"), *said(BUS, 12, "end 0a0b0c0d 300"),
           *said(TDB, 48, "tdb 192.0.2.9 spi 00001000 rpl 17 bytes 123456789012 proto 50"
                 " rdomain 0"), *END_SAID)
    vector("ours-empty", packet(), *END_SAID)


def pf(size, vector):
    """What a pf firewall says, with all that we don't say ourselves."""
    ins, upd, n = INS[size], UPD[size], SIZE[size]
    full = dict(ifname=b"em0", orig_ifname=b"em0", junk=b"\xa5", rule=3, log=1, sync_flags=8,
                counters=(10, 9, 8000, 2 ** 40), flags=0x4160, queues=7, rtableid=0, min_ttl=64,
                set_tos=16, max_mss=1460, set_prio=b"\3\4", tagname=b"gold",
                src=peer(4, 1000, 66536, 0, 512, 0, 0x87, b"\0\1\x40\1\1\2\3\4"),
                dst=peer(4, 2000, 68000, 0, 1024, 1460, 0x86))
    plain = flow(PLAIN, BACK, flags=BOTH)

    def one(label, message, *line):
        vector(f"pf-{label}", packet(section(ins, message)), *said(ins, n, *line), *END_SAID)

    one("ins", state(size, **full), plain)
    one("ins-out", state(size, direction=OUT, **full), plain)
    one("ins-dnat-out", state(size, direction=OUT, translated=(C, 40000, N, 8443), **full),
        flow(PLAIN, (N, 8443, C, 40000), flags=BOTH))
    one("ins-snat-in", state(size, translated=(N, 50000, S, 443), **full),
        flow(PLAIN, (S, 443, N, 50000), flags=BOTH))
    one("route-to", state(size, rt=2, rt_af=2, rt_addr=address("192.0.2.254"), rt_ifname=b"em1",
                          **full), plain)
    one("defer-nosync",
        state(size, src=peer(2), dst=peer(0), flags=0x18, timeout=0, expire=0),
        flow(PLAIN, BACK, 2, 0, flags="no_sync", timeout=0, rest="wants_ack"))
    one("synproxy", state(size, src=peer(11), dst=peer(12), timeout=0, expire=120),
        flow(PLAIN, BACK, 11, 12, timeout=120))
    one("esp-with-ports",
        state(size, proto=ESP, orig=(C, 5, S, 6), src=peer(1), dst=peer(0), timeout=11),
        flow((C, 0, S, 0), (S, 0, C, 0), 1, 0, proto=ESP))
    # A FreeBSD 15 that sends older sizes still thinks in types.
    one("icmp-typed",
        state(size, proto=ICMP, direction=OUT, orig=(C, 77, S, 13), src=peer(0), dst=peer(0),
              timeout=10, expire=10),
        flow((C, 77, S, 13 << 8), (S, 77, C, 14 << 8), 0, 0, proto=ICMP, timeout=10))
    one("name-of-fifteen", state(size, ifname=b"fifteen_letters", orig_ifname=b"fifteen_letters",
                                 rt_ifname=b"fifteen_letters", tagname=b"t" * 63),
        plain)
    one("timeout-last", state(size, timeout=19 if size == 1301 else 24), plain)
    if size != 1301:
        tags = dict(src=peer(8, scrub=SCRUBBED + b"\1\2\3\4"),
                    dst=peer(4, scrub=SCRUBBED + b"\5\6\7\x08"))
        one("sctp-echoed", state(size, proto=SCTP, orig=(C, 1, S, 2), timeout=21, **tags),
            flow((C, 1, S, 2), (S, 2, C, 1), 4, 3, proto=SCTP, flags="seen_reply"))
    # Older states come from a FreeBSD told to send them; all are read.
    every = [(action[v], v) for v in (1301, 1400, 1500) for action in (INS, UPD)]
    vector("pf-all-sizes", packet(*[section(a, state(v, id=a)) for a, v in every]),
           *[line for a, v in every
             for line in said(a, SIZE[v], flow(PLAIN, BACK, id=a, flags=BOTH))], *END_SAID)
    # The order in which FreeBSD fills a packet.
    udp = dict(proto=UDP, src=peer(1), dst=peer(0), timeout=6)
    vector("pf-order",
           packet(section(ins, state(size, **udp), state(size, id=9, **udp)),
                  section(INS_ACK, ident()), section(upd, state(size, **full)),
                  section(UPD_C, upd_c(), upd_c(id=2)), section(DEL_C, ident(3)),
                  section(UPD_REQ, ident(4)), section(BUS, bus(2, endtime=3)),
                  pfcksum=bytes(range(0x40, 0x50))),
           *said(ins, n, flow(PLAIN, BACK, 1, 0, proto=UDP),
                 flow(PLAIN, BACK, 1, 0, proto=UDP, id=9)),
           *said(INS_ACK, 12, name()), *said(upd, n, plain),
           *said(UPD_C, 84, name() + " states 4:4 timeout 2", name(2) + " states 4:4 timeout 2"),
           *said(DEL_C, 12, name(3)), *said(UPD_REQ, 12, name(4)),
           *said(BUS, 12, "end 0a0b0c0d 3"), *END_SAID)
    vector("pf-without-end", bare(section(DEL_C, ident())), *said(DEL_C, 12, name()))
    vector("pf-trailer", packet(section(DEL_C, ident()), trailer=b"\xff" * 9),
           *said(DEL_C, 12, name()), *END_SAID)
    vector("pf-tdb6", packet(section(TDB, tdb(dst="2001:db8::9"))),
           *said(TDB, 48, "tdb 2001:db8::9 spi 00001000 rpl 17 bytes 123456789012 proto 50"
                 " rdomain 0"), *END_SAID)
    vector("pf-clr-dirty", packet(section(CLR, clr(b"em1\0dirty"))),
           *said(CLR, 20, "clr [em1] 0a0b0c0d"), *END_SAID)
    # The pad byte of a subheader says nothing.
    vector("pf-pad", packet(b"\7\xff\0\1" + ident()), *said(DEL_C, 12, name()), *END_SAID)


def bad(size, vector):
    ins, upd = INS[size], UPD[size]

    def refused(label, reason, action, message):
        vector(f"bad-{label}", packet(section(action, message), section(DEL_C, ident())),
               *said(action, len(message), f"refused {reason}"), *said(DEL_C, 12, name()),
               *END_SAID)

    limit = 20 if size == 1301 else 25
    refused("creatorid", "bad_creatorid", ins, state(size, creatorid=0))
    refused("ifname", "bad_ifname", ins, state(size, ifname=b"x" * 16))
    refused("src-state", "bad_peer_state", upd, state(size, src=peer(13)))
    refused("dst-state", "bad_peer_state", upd, state(size, dst=peer(255)))
    # What FreeBSD itself would send, and refuse: the end of an association.
    refused("sctp-shutdown", "bad_peer_state", upd,
            state(size, proto=SCTP, src=peer(16), timeout=limit - 1))
    refused("timeout", "bad_timeout", upd, state(size, timeout=limit))
    refused("timeout-purge", "bad_timeout", ins, state(size, timeout=limit + 1))
    refused("direction-zero", "bad_direction", upd, state(size, direction=0))
    refused("direction-three", "bad_direction", ins, state(size, direction=3))
    refused("af-none", "bad_family", upd, state(size, af=0))
    refused("af-linux", "bad_family", ins, state(size, af=10))
    refused("af-openbsd", "bad_family", ins, state(size, af=24))
    refused("icmp-type", "bad_icmp_type", ins, state(size, proto=ICMP, orig=(C, 1, S, 256)))
    if size >= 1400:
        refused("rt-ifname", "bad_ifname", ins, state(size, rt_ifname=b"r" * 16))
    if size >= 1500:
        refused("orig-ifname", "bad_ifname", ins, state(size, orig_ifname=b"o" * 16))
        refused("tagname", "bad_ifname", ins, state(size, tagname=b"t" * 64))
        # af-to: one side is IPv4, the other IPv6. A flow of ours has one family.
        refused("af-to", "bad_family", ins, state(size, af=2, stack_af=28))
        refused("protocols", "bad_protocol", ins, state(size, proto=ICMP, stack_proto=ICMP6))
    refused("upd-c-creatorid", "bad_creatorid", UPD_C, upd_c(creatorid=0))
    refused("upd-c-state", "bad_peer_state", UPD_C, upd_c(src=peer(13)))
    refused("upd-c-timeout", "bad_timeout", UPD_C, upd_c(timeout=limit))
    refused("clr-ifname", "bad_ifname", CLR, clr(b"y" * 16))
    refused("clr-creatorid", "bad_creatorid", CLR, clr(creatorid=0))
    refused("bus-status", "bad_bus_status", BUS, bus(3))
    refused("tdb-family", "bad_family", TDB, tdb(af=24))

    one = section(DEL_C, ident())
    one_said = said(DEL_C, 12, name())
    vector("bad-short-header", bare()[:19], "fault short_header at 0")
    vector("bad-version", packet(one, version=6), "fault bad_version at 0")
    vector("bad-length-small", bare(one, length=19), "fault bad_length at 0")
    vector("bad-length-large", bare(one, length=37), "fault bad_length at 0")
    vector("bad-subheader", bare(one, b"\7\0\0"), *one_said, "fault short_subheader at 36")
    vector("bad-count-zero", packet(one, section(DEL_C, count=0)), *one_said,
           "fault zero_count at 36")
    vector("bad-end-count-zero", bare(one, section(EOF, count=0)), *one_said,
           "fault zero_count at 36")
    vector("bad-end-early", bare(one, END, one), *one_said, *END_SAID, "fault bad_eof at 40")
    vector("bad-overrun", bare(section(DEL_C, ident(), ident(2), count=3)),
           "fault section_overrun at 20")
    vector("bad-overrun-most", bare(section(ins, state(size), count=65535)),
           "fault section_overrun at 20")
    vector("bad-overrun-by-one", bare(section(ins, state(size)[:-1], count=1)),
           "fault section_overrun at 20")
    # The bytes are there, but the length field says they are none of this packet's.
    vector("bad-beyond-length", bare(one, length=35), "fault section_overrun at 20")
    # No lengths to skip by: the rest is lost, what came before counts.
    for label, action in (("unknown", 17), ("ours", 0xe0), ("fragment", INS_F),
                          ("fragment-del", DEL_F)):
        vector(f"bad-action-{label}", packet(one, section(action, bytes(12)), one), *one_said,
               "fault bad_action at 36")
    if size != 1301:  # FreeBSD 13's alone
        vector("bad-action-del", packet(one, section(DEL, state(1301)), one), *one_said,
               "fault bad_action at 36")


def vectors(size):
    out = Vectors()
    for part in (ours, pf, bad):
        part(size, out.add)
    return out
