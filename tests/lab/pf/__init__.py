# SPDX-License-Identifier: ISC
"""A pf firewall as its pfsync cable shows it: a program of its own, written from the published
layouts and behaviour of OpenBSD (version 6) and FreeBSD 14 (version 5, states as of 1400).

    wire.py       packets and messages, both versions
    table.py      the states, and what an insert, an update or a delete from the cable does to them
    bulk.py       asking for all states, and answering that
    pfsync.py     what is sent when, what is accepted
    commands.py   what the tests let it do
    __main__.py   sockets and the clock
    simulated.py  instead of these two: on the clock of the simulator (tests/sim)

It shares nothing with src/, nor with mallory.py. Where a rule is from is said beside it, as file,
function and version: "openbsd" is sys/net/if_pfsync.c r1.334 (2026), "freebsd" is
sys/netpfil/pf/if_pfsync.c of releases 13 and 14, unless another file is named.
"""
