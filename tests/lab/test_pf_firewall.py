# SPDX-License-Identifier: ISC
"""The pf firewall that stands in for real ones (the package pf): what it reads and writes, checked
against golden packets and `encsync decode`; and its rules, by a clock of the test's own."""

from __future__ import annotations

import ipaddress
import json
import re
import subprocess

import pytest

from pair import bin_dir, repository
from pf.commands import Commands, described
from pf.pfsync import Pfsync
from pf.wire import (ACK, BUS, CLR, DIALECTS, ID, NOSYNC, UPD_C, Dialect, Full, Key, peer,
                     peer_state, seqlo)

VECTORS = repository() / "tests" / "vectors"
EACH = pytest.mark.parametrize("name", DIALECTS)
OURS, THEIRS = 0x0A0B0C01, 0x0A0B0C02
HOLDS_NO_PORT = 1, 50, 58  # how golden packets say these differs from what is in the fields


def ip(payload: bytes, ttl: int = 255) -> bytes:
    return bytes((0x45, 16, 0, 0, 0, 0, 0x40, 0, ttl, 240)) + bytes(10) + payload


class Machine:
    """A firewall without a cable: `said` is what it has sent."""

    def __init__(self, name: str, hostid: int = OURS, **options):
        self.said: list[bytes] = []
        self.now = 1000.0
        self.pf = Pfsync(DIALECTS[name], hostid, self.said.append, self.now, **options)
        self.commands = Commands(self.pf)

    def do(self, command: str, **fields):
        steps = self.commands.run({"do": command, **fields})
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    def create(self, count: int = 1, **fields) -> list[tuple[int, int]]:
        first, made = self.do("create", count=count, **fields)
        return [(first + number, self.pf.hostid) for number in range(made)]

    def hear(self, payload: bytes, ttl: int = 255) -> None:
        self.pf.on_packet(ip(payload, ttl))

    def tell(self, kind: str, *messages: bytes) -> None:
        self.hear(self.pf.dialect.packet([(kind, list(messages))]))

    def sleep(self, seconds: float, step: float = 0.05) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += step
            self.pf.advance(self.now)

    def heard(self) -> list[tuple[str, list[bytes]]]:
        """The sections that it has sent since the last call."""
        out = [(kind, messages) for packet in self.said
               for kind, _, messages in self.pf.dialect.sections(packet, self.pf.counts)]
        self.said.clear()
        return out

    def digest(self) -> dict:
        return self.do("digest")

    @property
    def states(self) -> dict:
        return self.pf.table.states


def state(dialect: Dialect, number: int = 7, creatorid: int = THEIRS, src: bytes = peer(4, 5000),
          dst: bytes = peer(4, 9000), ifname: str = "em0", flags: int = 0, timeout: int = 2,
          proto: int = 6, left: int = 0, af: int = 4) -> bytes:
    key = Key(bytes((10, 9, 0, number & 255)), bytes((192, 0, 2, 1)), 4000, 443)
    full = Full(number, creatorid, ifname, af, proto, 1, key, key, src, dst, timeout)
    return dialect.write_state(full, 0, left, flags)


def upd_c(number: int, src: bytes, dst: bytes, timeout: int = 2) -> bytes:
    return UPD_C.pack(number, src, dst, THEIRS, 0, timeout, 0)


# ---- golden packets --------------------------------------------------------------------------

FLOW = re.compile(r"id (\w{16})/(\w{8}) proto (\d+) orig (\S+) (\d+) (\S+) (\d+) reply (\S+) (\d+) "
                  r"(\S+) (\d+) states (\d+):(\d+) .*?timeout (\d+) age (\d+)")


def golden(name: str, label: str) -> bytes:
    return bytes.fromhex((VECTORS / name / f"{label}.hex").read_text().replace("\n", ""))


def expected(name: str, label: str) -> list[tuple]:
    text = (VECTORS / name / f"{label}.expect").read_text()
    return [(int(f[0], 16), int(f[1], 16), *(int(f[n]) for n in (2, 11, 12, 13, 14)),
             *ends(int(f[2]), f[3:11])) for f in FLOW.findall(text)]


def ends(proto: int, flow) -> list[str]:
    return list(flow[0::2]) if proto in HOLDS_NO_PORT else list(flow)


def flow_of(full: Full) -> tuple:
    """The same as pf would know it. Direction in: the wire side has what the initiator sent."""
    def end(key: Key, index: int) -> tuple[str, str]:
        addr = (key.addr0, key.addr1)[index]
        return str(ipaddress.ip_address(addr)), str((key.port0, key.port1)[index])

    into, back = (full.wire, full.stack) if full.direction == 1 else (full.stack, full.wire)
    source = 0 if full.direction == 1 else 1
    flow = [*end(into, source), *end(into, 1 - source), *end(back, 1 - source), *end(back, source)]
    return (full.id, full.creatorid, full.proto, peer_state(full.src), peer_state(full.dst),
            full.left, full.age, *ends(full.proto, flow))


def goldens() -> list:
    return [(name, path.stem) for name in DIALECTS for path in sorted((VECTORS / name).glob("*.hex"))
            if not path.stem.startswith("bad-") and expected(name, path.stem)]


def read(name: str, payload: bytes) -> list[tuple]:
    dialect, machine = DIALECTS[name], Machine(name)
    return [flow_of(full) for kind, action, messages in dialect.sections(payload, machine.pf.counts)
            if kind in ("ins", "upd", "del") for full in
            (dialect.read_state(action, message) for message in messages)
            if machine.pf.table.valid(full, kind == "ins")]


@pytest.mark.parametrize("name, label", goldens())
def test_reads_golden_packets(name, label):
    wanted = expected(name, label)
    if label == "pf-all-sizes":  # the states of FreeBSD 14 are unknown to 13, those of 15 to 14
        wanted = wanted[: 2 if name == "freebsd-1301" else 4]
    got = read(name, golden(name, label))
    if "sctp" in label or "dccp" in label:  # encsync translates their numbers of states
        assert [(*flow[:3], *flow[5:]) for flow in got] == [(*flow[:3], *flow[5:]) for flow in wanted]
    else:
        assert got == wanted


@EACH
def test_a_changed_golden_packet_is_read_differently(name):
    data = golden(name, "pf-ins")
    for at in (24, 24 + 24, 24 + 56, 24 + (196 if name == "openbsd" else 188) + 3):
        changed = bytearray(data)
        changed[at] ^= 1
        assert read(name, bytes(changed)) != expected(name, "pf-ins"), at


@EACH
def test_a_golden_state_is_taken_in(name):
    machine = Machine(name)
    machine.hear(golden(name, "pf-ins"))
    [s] = machine.states.values()
    assert (machine.pf.table.left(s, machine.now), machine.now - s.created) == (86400, 77)
    s = described(s)
    assert (s["id"], s["creatorid"], s["ifname"]) == ("1122334455667788", "0a0b0c0d", "em0")
    assert s["wire"] == s["stack"] == "10.0.0.2:40000 192.0.2.1:443"
    assert (s["proto"], s["direction"], s["timeout"], s["sloppy"]) == (6, 1, 2, False)


REFUSED = {
    "wrong TTL": (lambda data: data, 254, "badttl"),
    "one byte short": (lambda data: data[:-1], 255, "badlen"),
    "header cut": (lambda data: data[:19], 255, "hdrops"),
    "unknown version": (lambda data: b"\x07" + data[1:], 255, "badver"),
    "the other version": (lambda data: bytes([11 - data[0]]) + data[1:], 255, "badver"),
}


@EACH
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_as_a_whole(name, what):
    change, ttl, count = REFUSED[what]
    machine = Machine(name)
    machine.hear(change(golden(name, "pf-ins")), ttl)
    assert machine.states == {} and machine.pf.counts[count] == 1
    machine.hear(golden(name, "pf-ins"))
    assert len(machine.states) == 1 and machine.pf.counts[count] == 1


@EACH
@pytest.mark.parametrize("label, count", [
    ("timeout", "badval"), ("src-state", "badval"), ("direction-three", "badval"),
    ("af-linux", "badval"), ("creatorid", None), ("ifname", None), ("version", "badver"),
    ("length-large", "badlen"), ("overrun", "badlen"), ("short-header", "hdrops")])
def test_bad_golden_packets(name, label, count):
    machine = Machine(name)
    machine.hear(golden(name, f"bad-{label}"))
    assert machine.states == {}
    assert count is None or machine.pf.counts[count] == 1, machine.pf.counts


@EACH
def test_every_golden_packet_cut_short_anywhere(name):
    for path in sorted((VECTORS / name).glob("*.hex")):
        data = golden(name, path.stem)
        for size in range(len(data)):
            machine = Machine(name)
            machine.hear(data[:size])
            machine.hear(data[:2] + size.to_bytes(2, "big") + data[4:size])


# ---- what it writes, read by encsync ---------------------------------------------------------


def decode(packets: list[bytes], status: int = 0) -> list[dict]:
    done = subprocess.run([bin_dir() / "encsync", "decode", "--json", "--hex"], text=True,
                          input="\n".join(p.hex() for p in packets), capture_output=True, timeout=60)
    assert done.returncode == status, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def as_described(message: dict, ours: dict) -> dict:
    """A full state as encsync decode shows it, in the form of described()."""
    out = {key: message[key] for key in ("id", "creatorid", "ifname", "proto", "timeout")}
    out["direction"] = {"in": 1, "out": 2}[message["direction"]]
    for side in ("wire", "stack"):
        ends = zip(message[side]["addr"], message[side]["port"])
        out[side] = " ".join(f"{addr}:{port}" for addr, port in ends)
    for side in ("src", "dst"):
        said = message[side]
        block = peer(said["state"], said["seqlo"], said["seqhi"], said["max_win"], said["wscale"])
        out[side] = f"{said['state']} {block.hex()}"
    out["sloppy"] = bool(message["state_flags"] & 2)
    return {key: out[key] for key in ours}


@pytest.mark.daemon
@EACH
def test_encsync_reads_its_states(name):
    machine = Machine(name)
    ids = machine.create(60, kind="mixed")
    machine.sleep(1.2)
    states = [described(s) for s in machine.states.values()]
    machine.do("update", ids=ids[:40])
    machine.do("remove", ids=ids[40:50])
    machine.sleep(1.2)
    machine.tell("upd_req", ID.pack(0, 0))
    machine.tell("upd_req", ID.pack(*ids[3]))
    machine.tell("upd_c", upd_c(1, peer(4), peer(4)), upd_c(2, peer(4), peer(4)))
    machine.tell("ins", state(machine.pf.dialect, flags=ACK))
    machine.sleep(1)
    machine.do("clear", ifname="em1")
    packets = list(machine.said)
    said: dict[str, list[dict]] = {}
    for packet in decode(packets):
        for section in packet["sections"]:
            said.setdefault(section["action"].split("_1")[0], []).extend(section["messages"])
    assert set(said) - {"EOF"} == {"INS", "UPD", "UPD_C", "DEL_C", "UPD_REQ", "BUS", "CLR", "INS_ACK"}
    assert [as_described(message, ours) for message, ours in zip(said["INS"], states)] == states
    assert len(said["INS"]) == 60 and len(said["UPD_C"]) == 40
    assert [(m["id"], m["creatorid"]) for m in said["DEL_C"]] == \
        [(f"{number:016x}", f"{OURS:08x}") for number, _ in ids[40:50]]
    assert len(said["UPD"]) >= 50 and [m["status"] for m in said["BUS"]] == [1, 2]
    assert said["CLR"] == [{"ifname": "em1", "creatorid": f"{OURS:08x}"}]
    requests = [m["id"][-1] for m in said["UPD_REQ"] if m["creatorid"] != "0" * 8]
    assert requests == (["2", "1"] if name == "openbsd" else ["1", "2"])
    # The twin: the same, cut short or of another version, is refused.
    for bad in (packets[0][:-30], b"\x09" + packets[0][1:]):
        [packet] = decode([bad], status=1)
        assert packet["error"] in ("bad_length", "bad_version")


@EACH
def test_no_packet_is_larger_than_the_mtu(name):
    machine = Machine(name)
    ids = machine.create(500, kind="mixed")
    machine.sleep(1.2)
    machine.do("update", ids=ids)
    machine.sleep(1.2)
    machine.do("remove", ids=ids)
    machine.sleep(1.2)
    sizes = [len(packet) + 20 for packet in machine.said]
    assert max(sizes) <= 1500
    # Coalesced: five or six full states, or 17 updates, or over 100 deletes a packet.
    states = (1500 - 48) // machine.pf.dialect.state_size
    full = 500 / states + 500 / 17 + 500 / 120
    # A busy machine takes more than a second for each step, and some leave before they are full.
    assert full - 3 < len(sizes) < full + 15


# ---- what it sends, and when -----------------------------------------------------------------


@EACH
def test_messages_wait_a_second_and_deletes_undo_inserts(name):
    machine = Machine(name)
    machine.sleep(0.1)
    machine.heard()  # FreeBSD asks for all states
    [a], [b] = machine.create(), machine.create()
    machine.do("update")
    machine.do("remove", ids=[a])
    machine.sleep(0.8)
    assert machine.heard() == []
    machine.sleep(0.3)
    sections = machine.heard()
    assert [(kind, len(messages)) for kind, messages in sections if kind != "eof"] == [("ins", 1)]
    machine.do("remove", ids=[b])
    machine.sleep(1.1)
    assert ("del_c", [ID.pack(*b)]) in machine.heard()


@EACH
def test_128_updates_do_not_wait(name):
    machine = Machine(name)
    ids = machine.create()
    machine.sleep(1.1)
    machine.heard()
    for _ in range(128):
        machine.do("update", ids=ids)
    assert machine.heard() == []
    machine.do("update", ids=ids)
    assert machine.heard()[0][0] == "upd_c"


@EACH
def test_a_deferred_packet_waits_for_its_acknowledgement(name):
    machine, other = Machine(name), Machine(name, THEIRS)
    [ident] = machine.create(defer=True)
    [insert] = machine.said
    assert DIALECTS[name].read_state(0, dict(machine.heard())["ins"][0]).flags & ACK
    other.hear(insert)
    assert not any(s.flags & ACK for s in other.states.values())
    assert ("ins_ack", [ID.pack(*ident)]) in other.heard()
    machine.tell("ins_ack", ID.pack(*ident))
    assert machine.pf.acked == 1
    machine.tell("ins_ack", ID.pack(*ident))  # again: nothing waits any more
    assert machine.pf.acked == 1
    [late] = machine.create(defer=True)
    machine.sleep(0.1)
    machine.tell("ins_ack", ID.pack(*late))
    assert machine.pf.acked == 1


# ---- what it takes ---------------------------------------------------------------------------


@EACH
def test_an_insert_of_what_is_known_changes_nothing(name):
    machine, dialect = Machine(name), DIALECTS[name]
    machine.tell("ins", state(dialect, 7))
    before = machine.digest()
    machine.tell("ins", state(dialect, 7, src=peer(9, 7000), dst=peer(9, 9999)))
    assert machine.digest() == before
    # The same addresses under another name, likewise; but not once the first is closed.
    machine.tell("ins", state(dialect, 7, THEIRS + 1))
    assert machine.digest() == before
    machine.tell("upd", state(dialect, 7, src=peer(9, 5001), dst=peer(9, 9001), timeout=5))
    machine.tell("ins", state(dialect, 7, THEIRS + 1))
    assert list(machine.states) == [(7, THEIRS + 1)]


@EACH
def test_an_update_inserts_and_an_unknown_short_one_is_asked_for(name):
    machine, dialect = Machine(name), DIALECTS[name]
    machine.tell("upd", state(dialect, 7))
    assert list(machine.states) == [(7, THEIRS)] and machine.heard() == []
    machine.tell("upd_c", upd_c(8, peer(4), peer(4)))
    assert ("upd_req", [ID.pack(8, THEIRS)]) in machine.heard()
    machine.tell("upd_c", upd_c(7, peer(4, 6000), peer(4, 9500)))
    s = machine.states[7, THEIRS]
    assert (seqlo(s.src), seqlo(s.dst)) == (6000, 9500) and machine.heard() == []


STALE = {  # of src and dst: is the update older; what is kept
    "newer": ((4, 6000), (4, 9500), 0, (6000, 9500)),
    "src older": ((4, 4000), (4, 9500), 1, (5000, 9500)),
    "src further back, with a later sequence": ((2, 6000), (4, 9500), 1, (5000, 9500)),
    "dst older": ((4, 6000), (4, 8000), 1, (6000, None)),
    "both older": ((4, 4000), (4, 8000), 1, (5000, 9000)),
    "wrapped": ((4, 5000 - 2**31 + 1), (4, 9500), 1, (5000, 9500)),
}


@EACH
@pytest.mark.parametrize("what", STALE)
def test_an_old_update_is_answered_with_the_newer_state(name, what):
    src, dst, stale, (kept_src, kept_dst) = STALE[what]
    machine, dialect = Machine(name), DIALECTS[name]
    machine.tell("ins", state(dialect, 7))
    machine.sleep(3)
    machine.heard()
    touched = machine.states[7, THEIRS].touched
    machine.tell("upd_c", upd_c(7, peer(src[0], src[1] % 2**32), peer(*dst), timeout=3))
    s = machine.states[7, THEIRS]
    if kept_dst is None:  # FreeBSD copies an old dst, if src is new
        kept_dst = 9000 if name == "openbsd" else 8000
    assert (seqlo(s.src), seqlo(s.dst)) == (kept_src, kept_dst)
    assert machine.pf.counts["stale"] == stale
    answers = [m for kind, messages in machine.heard() if kind == "upd_c" for m in messages]
    assert len(answers) == stale
    if stale:  # compressed, at once, and ours
        assert seqlo(UPD_C.unpack(answers[0])[1]) == kept_src
    # Its timeout runs from now on, unless all of it was old.
    assert (s.touched > touched) == (s.timeout == 3) == (what != "both older")


@EACH
def test_other_protocols_only_go_forward(name):
    machine, dialect = Machine(name), DIALECTS[name]
    machine.tell("ins", state(dialect, 7, proto=17, src=peer(2), dst=peer(1), timeout=8))
    machine.tell("upd_c", upd_c(7, peer(1), peer(2), timeout=8))
    s = machine.states[7, THEIRS]
    assert (peer_state(s.src), peer_state(s.dst)) == (2, 2) and machine.pf.counts["stale"] == 1


@EACH
def test_deletes_and_clears(name):
    machine, dialect = Machine(name), DIALECTS[name]
    machine.tell("ins", *(state(dialect, n, ifname="em1" if n == 3 else "em0") for n in range(1, 5)))
    own = machine.create()
    machine.sleep(1.1)
    machine.heard()
    machine.tell("del_c", ID.pack(1, THEIRS), ID.pack(1, OURS))
    assert (1, THEIRS) not in machine.states and machine.pf.counts["badstate"] == 1
    machine.tell("clr", CLR.pack(b"em1", THEIRS))
    assert set(machine.states) == {(2, THEIRS), (4, THEIRS), tuple(own[0])}
    machine.tell("clr", CLR.pack(b"", THEIRS + 9))
    assert len(machine.states) == 3
    machine.tell("clr", CLR.pack(b"", THEIRS))
    assert set(machine.states) == {tuple(own[0])}
    machine.sleep(1.1)
    assert machine.heard() == []  # nothing echoes
    # Its own states, too: a forged CLR is one like any other.
    machine.tell("clr", CLR.pack(b"", OURS))
    assert machine.states == {}


@EACH
def test_states_expire_unless_they_are_updated(name):
    machine, dialect = Machine(name, timeouts={2: 10}), DIALECTS[name]
    machine.tell("ins", state(dialect, 7), state(dialect, 8), state(dialect, 9, left=3))
    machine.sleep(4)
    assert set(machine.states) == {(7, THEIRS), (8, THEIRS)}
    machine.tell("upd_c", upd_c(8, peer(4, 6000), peer(4, 9500)))
    machine.heard()
    machine.sleep(8)
    assert set(machine.states) == {(8, THEIRS)}
    assert ("del_c", [ID.pack(7, THEIRS)]) in machine.heard()


@EACH
def test_a_no_sync_state_stays_here(name):
    machine, dialect = Machine(name), DIALECTS[name]
    machine.tell("ins", state(dialect, 7, flags=NOSYNC))
    machine.tell("upd_req", ID.pack(7, THEIRS))
    answered = any(kind == "upd" for kind, _ in machine.heard())
    assert answered == (name != "openbsd")  # FreeBSD forgets the flag


@EACH
def test_an_unknown_interface(name):
    machine, dialect = Machine(name), DIALECTS[name]
    machine.tell("ins", state(dialect, 7, ifname="ix9"), state(dialect, 8, ifname="all"))
    assert set(machine.states) == ({(7, THEIRS), (8, THEIRS)} if name == "openbsd"
                                   else {(8, THEIRS)})


# ---- bulk updates ----------------------------------------------------------------------------


def test_openbsd_asks_twelve_times():
    machine = Machine("openbsd")
    machine.sleep(1)
    assert machine.said == []  # without a link
    machine.pf.on_link()
    machine.sleep(60)
    assert machine.heard() == [("upd_req", [bytes(12)])] * 12
    assert machine.pf.request.done and machine.pf.request.gave_up
    machine.pf.on_link()
    machine.sleep(10)
    assert machine.said == []


def test_freebsd_asks_thirteen_times():
    machine = Machine("freebsd-1400")
    machine.sleep(100)
    assert machine.heard().count(("upd_req", [bytes(12)])) == 13
    assert machine.pf.request.done and machine.pf.request.gave_up


@EACH
def test_it_asks_until_the_end(name):
    machine = Machine(name)
    machine.pf.on_link()
    machine.sleep(0.1)
    machine.tell("bus", BUS.pack(THEIRS, 0, 1))
    machine.tell("bus", BUS.pack(THEIRS, 0, 2))
    assert machine.pf.request.done and not machine.pf.request.gave_up
    machine.heard()
    machine.sleep(30)
    assert machine.heard() == []


def test_ends_that_do_not_count():
    openbsd = Machine("openbsd")
    openbsd.pf.on_link()
    openbsd.tell("bus", BUS.pack(THEIRS, 0, 2))  # before a start
    freebsd = Machine("freebsd-1400")
    freebsd.sleep(0.1)
    freebsd.tell("bus", BUS.pack(THEIRS, 60, 2))  # of what was asked a minute ago
    assert not openbsd.pf.request.done and not freebsd.pf.request.done


@EACH
def test_all_states_at_its_pace(name):
    machine = Machine(name, pace=250)
    ids = machine.create(500, kind="mixed")
    machine.sleep(1.2)
    machine.heard()
    machine.tell("upd_req", bytes(12))
    machine.sleep(1)
    first = sum(len(messages) for kind, messages in machine.heard() if kind == "upd")
    assert 230 <= first <= 270
    machine.sleep(1.5)
    sections = machine.heard()
    rest = sum(len(messages) for kind, messages in sections if kind == "upd")
    assert first + rest == len(ids) and "bus" in [kind for kind, _ in sections]


@EACH
def test_an_empty_table_has_an_end_only_or_a_start_too(name):
    machine = Machine(name)
    machine.tell("upd_req", bytes(12))
    machine.sleep(0.1)
    statuses = [BUS.unpack(m)[2] for kind, messages in machine.heard() if kind == "bus"
                for m in messages]
    assert statuses == ([2] if name == "openbsd" else [1, 2])


# ---- two of them -----------------------------------------------------------------------------


@EACH
def test_two_with_5000_states(name):
    """In step after each of these, without anything lost between them."""
    one, two = Machine(name), Machine(name, THEIRS)

    def pump(seconds: float) -> None:
        for _ in range(int(seconds / 0.05)):
            for machine, other in ((one, two), (two, one)):
                machine.pf.on_link()
                machine.sleep(0.05)
                said, machine.said[:] = list(machine.said), []
                for packet in said:
                    other.hear(packet)

    ids = one.create(5000, kind="mixed")
    pump(3)
    assert one.digest() == two.digest() and len(two.states) == 5000
    one.do("update", ids=ids[:3000])
    two.do("update", ids=ids[2000:])
    pump(3)
    assert one.digest() == two.digest()
    one.do("close", ids=ids[:500])
    two.do("remove", ids=ids[4000:])
    pump(3)
    assert one.digest() == two.digest() and len(one.states) == 4000
    two = Machine(name, THEIRS)
    pump(3)
    assert one.digest() == two.digest() and len(two.states) == 4000
    two.do("remove", ids=ids[:1])
    assert one.digest() != two.digest()
