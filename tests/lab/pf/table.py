# SPDX-License-Identifier: ISC
"""The states of a pf firewall, and what is taken of those that its peers tell it about."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import Callable

from .wire import ACK, NOSYNC, Dialect, Full, peer_state, seqlo

TCP, UDP, ICMP = 6, 17, 1
SYN_SENT, FIN_WAIT_2 = 2, 9
PROXY_SRC, PROXY_DST = 11, 12
# Seconds, by index: pf.conf(5), "set timeout", both systems' defaults.
TIMEOUTS = [120, 30, 86400, 900, 45, 90, 60, 30, 60, 20, 10, 60, 30, 60]


@dataclass(slots=True)
class State(Full):
    created: float = 0  # by this machine's clock
    touched: float = 0  # pf's "expire": from then on its timeout runs
    told: float = -1e9  # pf's "pfsync_time": when a peer last updated it
    queue: str | None = None  # which message about it waits
    updates: int = 0  # pf's "sync_updates"
    deferred: float | None = None  # until then its first packet waits for INS_ACK


_FULL = [field.name for field in fields(Full)]


def after(a: int, b: int) -> bool:
    """SEQ_GT of netinet/tcp_seq.h: modulo 2^32."""
    return 0 < (a - b) & 0xFFFFFFFF < 0x80000000


class Table:
    """`removed` is called for each state that leaves it, with whether peers are to be told."""

    def __init__(self, dialect: Dialect, interfaces: tuple[str, ...],
                 removed: Callable[[State, bool], None], timeouts: dict[int, int] | None = None):
        self.dialect, self.interfaces, self._removed = dialect, interfaces, removed
        self.timeouts = [*TIMEOUTS, *[60] * (dialect.last_timeout - len(TIMEOUTS))]
        for index, seconds in (timeouts or {}).items():
            self.timeouts[index] = seconds
        self.states: dict[tuple[int, int], State] = {}
        self._keys: dict[tuple, State] = {}
        self.counts: Counter = Counter()  # by the names of netstat -s -p pfsync

    # -- keys --

    @staticmethod
    def _key(s: Full) -> tuple:
        return s.ifname, s.direction, s.af, s.proto, s.wire

    def _attach(self, s: State) -> bool:
        """pf_state_key_attach() of pf.c, both systems: a second state with the same key on the same
        interface is refused, unless the first is TCP and closed on both sides."""
        other = self._keys.get(self._key(s))
        if other is not None:
            if not (other.proto == TCP and peer_state(other.src) >= FIN_WAIT_2
                    and peer_state(other.dst) >= FIN_WAIT_2):
                return False
            self.remove(other, tell=False)
        self._keys[self._key(s)] = s
        self.states[s.name] = s
        return True

    def add(self, s: State) -> bool:
        """One of our own."""
        return s.name not in self.states and self._attach(s)

    def remove(self, s: State, tell: bool) -> None:
        del self.states[s.name]
        del self._keys[self._key(s)]
        self._removed(s, tell)

    # -- what peers say --

    def valid(self, said: Full, insert: bool) -> bool:
        """openbsd and freebsd pfsync_in_ins, pfsync_in_upd: an update need not have a direction
        and a family, though it may insert."""
        if not self.valid_peers(said.src, said.dst, said.timeout):
            return False
        good = not insert or (said.direction <= 2 and said.af != 0)
        self.counts["badval"] += not good
        return good

    def valid_peers(self, src: bytes, dst: bytes, timeout: int) -> bool:
        """Likewise, also pfsync_in_upd_c."""
        good = (timeout < self.dialect.last_timeout and peer_state(src) <= PROXY_DST
                and peer_state(dst) <= PROXY_DST)
        self.counts["badval"] += not good
        return good

    def import_(self, said: Full, now: float) -> tuple[State | None, bool]:
        """The new state, or none; and whether that is an error (pf_state_import of OpenBSD's pf.c
        r1.218, pfsync_state_import of FreeBSD's if_pfsync.c). That it is known already changes
        nothing."""
        if said.creatorid == 0 or said.ifname is None or said.af == 0 or said.direction not in (1, 2):
            return None, True
        if said.ifname != "all" and said.ifname not in self.interfaces:
            # FreeBSD: "skip this state" without an error. OpenBSD makes a placeholder of the name.
            if self.dialect.version == 5:
                return None, False
        s = State(**{name: getattr(said, name) for name in _FULL})
        whole = self.timeouts[said.timeout]
        s.touched = now - (whole - said.left) if said.left else now
        s.created = now - said.age
        s.told = now
        s.flags &= ~ACK
        if self.dialect.version == 5:  # OpenBSD keeps it to itself from now on
            s.flags &= ~NOSYNC
        if s.name in self.states or not self._attach(s):
            return None, True
        return s, False

    def update(self, s: State, src: bytes, dst: bytes, timeout: int, now: float) -> bool:
        """Takes what is newer. Whether some of it was older than what is known (openbsd
        pfsync_in_updates, freebsd pfsync_in_upd and pfsync_in_upd_c)."""
        src_stale, dst_stale = self._stale(s, src, dst)
        if not src_stale:
            s.src = src
        if not dst_stale:
            s.dst = dst
        if src_stale + dst_stale < 2:
            if self.dialect.version == 5:
                # FreeBSD copies dst once more, stale or not (opnsense/src#327).
                s.dst = dst
            s.touched, s.timeout = now, timeout
        s.told = now
        self.counts["stale"] += src_stale or dst_stale
        return src_stale or dst_stale

    def _stale(self, s: State, src: bytes, dst: bytes) -> tuple[bool, bool]:
        """Each side. Both systems' pfsync_upd_tcp; other protocols only go forward."""
        ours, theirs = peer_state(s.src), peer_state(src)
        ours_dst, theirs_dst = peer_state(s.dst), peer_state(dst)
        if s.proto != TCP:
            return ours > theirs, ours_dst > theirs_dst
        backwards = ours > theirs and (ours < PROXY_SRC or theirs >= PROXY_SRC)
        src_stale = backwards or (ours == theirs and after(seqlo(s.src), seqlo(src)))
        compares = ours_dst == theirs_dst if self.dialect.version == 6 else ours_dst >= SYN_SENT
        dst_stale = ours_dst > theirs_dst or (compares and after(seqlo(s.dst), seqlo(dst)))
        return src_stale, dst_stale

    def clear(self, creatorid: int, ifname: str, tell: bool = False) -> int:
        """openbsd pfsync_in_clr. FreeBSD 13 clears all interfaces, 14 the one that is named."""
        gone = [s for s in self.states.values()
                if s.creatorid == creatorid and ifname in ("", s.ifname)]
        for s in gone:
            self.remove(s, tell)
        return len(gone)

    # -- time --

    def left(self, s: State, now: float) -> int:
        return max(0, int(s.touched + self.timeouts[s.timeout] - now))

    def purge(self, now: float) -> None:
        """pf_purge_expired_states of pf.c. Peers are told, whoever made the state: neither
        OpenBSD's pf_remove_state() nor FreeBSD's pf_unlink_state() looks at the creator (those
        of 2009 did)."""
        for s in [s for s in self.states.values()
                  if s.touched + self.timeouts[s.timeout] <= now]:
            self.remove(s, tell=True)

    def remove_said(self, name: tuple[int, int]) -> None:
        """openbsd and freebsd pfsync_in_del_c: no echo."""
        s = self.states.get(name)
        if s is None:
            self.counts["badstate"] += 1
        else:
            self.remove(s, tell=False)
