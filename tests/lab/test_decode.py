# SPDX-License-Identifier: ISC
"""encsync decode and encsync monitor: captures of every kind, live interfaces, and Wireshark's
dissector, which must show the same for every golden packet."""

from __future__ import annotations

import ipaddress
import json
import struct
import subprocess
from pathlib import Path

import pytest

import sync
from lab import PYTHON, wait_for
from pair import bin_dir, repository

pytestmark = pytest.mark.daemon

VECTORS = repository() / "tests" / "vectors"
DISSECTOR = repository() / "conf" / "wireshark" / "pfsync.lua"
ETHERNET, RAW, PFSYNC, WIFI = 1, 101, 246, 105


def golden(name: str) -> bytes:
    return bytes.fromhex((VECTORS / f"{name}.hex").read_text().replace("\n", ""))


def goldens(dialect: str) -> dict[str, bytes]:
    return {path.stem: golden(f"{dialect}/{path.stem}")
            for path in sorted((VECTORS / dialect).glob("*.hex"))}


def dialects() -> list[str]:
    return sorted(path.name for path in VECTORS.iterdir() if list(path.glob("*.hex")))


def ip(payload: bytes, ttl: int = 255, protocol: int = 240) -> bytes:
    return struct.pack(">BBHHHBBH4s4s", 0x45, 16, 20 + len(payload), 0, 0x4000, ttl, protocol, 0,
                       bytes([10, 9, 0, 1]), bytes([10, 9, 0, 2])) + payload


def pcap(frames: list[bytes], link_type: int = RAW, order: str = "<", nano: bool = False) -> bytes:
    out = struct.pack(order + "IHHiIII", 0xa1b23c4d if nano else 0xa1b2c3d4, 2, 4, 0, 0, 65535,
                      link_type)
    for frame in frames:
        out += struct.pack(order + "IIII", 1700000000, 500000000 if nano else 500000, len(frame),
                           len(frame)) + frame
    return out


def pcapng(frames: list[bytes], link_type: int = RAW, order: str = "<",
           simple: bool = False) -> bytes:
    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = struct.pack(order + "I", 12 + len(body))
        return struct.pack(order + "I", kind) + size + body + size

    out = block(0x0a0d0d0a, struct.pack(order + "IHHq", 0x1a2b3c4d, 1, 0, -1))
    out += block(1, struct.pack(order + "HHI", link_type, 0, 65535))
    stamp = 1700000000500000
    for frame in frames:
        if simple:
            out += block(3, struct.pack(order + "I", len(frame)) + frame)
        else:
            out += block(6, struct.pack(order + "IIIII", 0, stamp >> 32, stamp & 0xffffffff,
                                        len(frame), len(frame)) + frame)
    return out


def decode(*args: str | Path, input: bytes = b"") -> subprocess.CompletedProcess:
    return subprocess.run([bin_dir() / "encsync", "decode", *args], input=input,
                          capture_output=True, timeout=60)


def lines(done: subprocess.CompletedProcess, status: int = 0) -> list[dict]:
    assert done.returncode == status, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def decode_json(*args: str | Path, input: bytes = b"", status: int = 0) -> list[dict]:
    return lines(decode("--json", *args, input=input), status)


# ---- files -----------------------------------------------------------------------------------

INS = golden("openbsd/pf-ins")
CONTAINERS = {
    "little": pcap([ip(INS)]),
    "big": pcap([ip(INS)], order=">"),
    "nano-little": pcap([ip(INS)], nano=True),
    "nano-big": pcap([ip(INS)], order=">", nano=True),
    "ng-little": pcapng([ip(INS)]),
    "ng-big": pcapng([ip(INS)], order=">"),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_every_container(kind, tmp_path):
    file = tmp_path / "capture"
    file.write_bytes(CONTAINERS[kind])
    [packet] = decode_json(file)
    assert packet["time"] == "2023-11-14T22:13:20.500000Z"
    assert packet["ip"] == {"src_ip": "10.9.0.1", "dst_ip": "10.9.0.2", "ttl": 255}
    assert packet["sections"][0]["messages"][0]["id"] == "1122334455667788"
    # The same from standard input.
    assert decode_json("-", input=CONTAINERS[kind]) == [packet]
    assert decode_json(input=CONTAINERS[kind]) == [packet]
    # Packets of other protocols in between change nothing.
    other = pcap([ip(INS), ip(INS, protocol=17), ip(INS)])
    assert len(decode_json(input=other)) == 2


def test_simple_packet_blocks():
    [packet] = decode_json(input=pcapng([ip(INS)], simple=True))
    assert packet["sections"][0]["messages"][0]["ifname"] == "em0"


def test_link_types():
    vlan = bytes(12) + b"\x81\0\0\7\x08\0"
    bare = {k: v for k, v in decode_json(input=pcap([ip(INS)]))[0].items() if k not in ("ip", "time")}
    for link_type, frame in ((ETHERNET, vlan + ip(INS)), (12, ip(INS)), (228, ip(INS)),
                             (113, bytes(14) + b"\x08\0" + ip(INS)),
                             (276, b"\x08\0" + bytes(18) + ip(INS)),
                             (PFSYNC, INS), (18, INS), (121, INS)):
        [packet] = decode_json(input=pcap([frame], link_type))
        packet.pop("time")
        assert ("ip" in packet) == (frame != INS)
        packet.pop("ip", None)
        assert packet == bare, link_type


def test_a_link_type_without_pfsync_is_refused():
    done = decode("--json", input=pcap([ip(INS)], WIFI))
    assert done.returncode == 1 and not done.stdout
    assert b"link type 105" in done.stderr and done.stderr.count(b"\n") == 1


def test_a_capture_that_is_cut_is_shown_as_far_as_it_goes():
    whole = pcap([ip(INS), ip(INS)])
    first = len(pcap([ip(INS)]))
    for size in (*range(0, 24, 5), first + 1, first + 16, len(whole) - 1):
        done = decode("--json", input=whole[:size])
        assert done.returncode == 1 and done.stderr.startswith(b'{"error":"standard input: '), size
        assert len(done.stdout.splitlines()) == (1 if size > first else 0)
    assert len(decode_json(input=whole)) == 2


def test_a_bad_packet_makes_the_status_1():
    [good, bad] = decode_json(input=pcap([ip(INS), ip(INS[:100])]), status=1)
    assert "error" not in good
    assert (bad["error"], bad["offset"], bad["length"]) == ("bad_length", 0, 288)
    fragment = bytearray(ip(INS))
    fragment[6] = 0x20
    [bad] = decode_json(input=pcap([bytes(fragment)]), status=1)
    assert bad["error"] == "fragment" and bad["ip"]["src_ip"] == "10.9.0.1"


def test_text():
    done = decode(input=pcap([ip(INS)]))
    text = done.stdout.decode()
    assert done.returncode == 0 and not done.stderr
    assert "10.9.0.1 > 10.9.0.2 ttl 255: pfsync 6, length 288" in text
    assert "tcp in on em0 10.0.0.2:40000 > 192.0.2.1:443 ESTABLISHED:ESTABLISHED" in text
    done = decode(input=pcap([ip(INS, protocol=17)]))
    assert done.returncode == 0 and not done.stdout and b"no pfsync packet" in done.stderr


def test_missing_files_and_interfaces():
    for args, word in ((["/nonexistent"], b"No such file"), (["--hex", "/nonexistent"], b"No such"),
                       (["-i", "nonexistent0"], b"No such device")):
        done = decode(*args)
        assert done.returncode == 1 and word in done.stderr and done.stderr.count(b"\n") == 1
    assert decode("-i", "lo", "--hex").returncode == 2


# ---- hexadecimal -----------------------------------------------------------------------------


def test_hex(tmp_path):
    text = f"{INS.hex()}\n\n{INS.hex(' ')}\n{INS.hex(':').upper()}".encode()
    file = tmp_path / "packets"
    file.write_bytes(text)
    packets = decode_json("--hex", file)
    assert len(packets) == 3 and packets[0] == packets[1] == packets[2]
    assert packets == decode_json("--hex", "-", input=text) == decode_json("--hex", input=text)
    assert list(packets[0]) == ["version", "length", "pfcksum", "sections"]


def test_bad_hex():
    text = f"{INS.hex()}\nnonsense\n06 0\n{INS.hex()[:-2]}\n{INS.hex()}\n".encode()
    packets = decode_json("--hex", input=text, status=1)
    assert [p.get("error") for p in packets] == [None, "bad_hex", "bad_hex", "bad_length", None]
    assert packets[2]["offset"] == 4


def test_a_line_without_end_is_no_flood_of_memory():
    for filler in (b"0", b" "):
        text = filler * 3_000_000 + INS.hex().encode() + b"\n" + INS.hex().encode()
        packets = decode_json("--hex", input=text, status=1)
        assert [p.get("error") for p in packets] == ["too_long", None]


# ---- Wireshark -------------------------------------------------------------------------------

FAMILIES = {6: {"inet": 2, "inet6": 24}, 5: {"inet": 2, "inet6": 28}}
# One name that would have two meanings in the dissector.
RENAMED = {("HELLO", "version"): "hello_version", ("SEQ", "number"): "seq",
           ("EXPECT", "count"): "expect_count", ("EXPECT", "timeout"): "expect_timeout"}
TAIL = {"mark": "mark", "timeout": "tail_timeout", "zone": "zone", "flags": "tail_flags",
        "status": "tail_status", "term": "term"}
HEX = {"id", "creatorid", "spi", "session", "peer_session", "sum"}


def flat(name: str, value, version: int):
    """A field of the JSON in the dissector's form: pairs of name and text."""
    last = name.split(".")[-1]
    if isinstance(value, dict):
        for key, item in value.items():
            own = TAIL.get(key, key) if name in ("tail", "more") else f"{name}.{key}"
            yield from flat(own, item, version)
    elif isinstance(value, list):
        for item in value:
            yield from flat(name, item, version)
    elif last == "addr" or last.endswith("_addr"):
        if ":" in value:
            yield name + "6", value
        elif "." in value:  # otherwise of an unknown family, and shown as digits
            yield name, value
    elif last.endswith("af"):
        yield name, str(FAMILIES[version].get(value, value))
    elif last == "direction":
        yield name, str({"in": 1, "out": 2}.get(value, value))
    elif last in HEX:
        yield name, str(int(value, 16))
    else:
        yield name, str(value)


def as_dissected(packet: dict) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}

    def add(name, value):
        out.setdefault(name, []).append(value)

    for name in ("version", "length", "pfcksum"):
        if name in packet:
            add(name, str(packet[name]))
    for section in packet.get("sections", []):
        for name in ("action", "number", "count"):
            add(name, str(section[name]))
        for message in section["messages"]:
            for key, value in message.items():
                if key in ("error", "offset"):
                    continue
                name = RENAMED.get((section["action"], key), key)
                for field, text in flat(name, value, packet["version"]):
                    add(field, text)
    if "error" in packet:
        out["error"] = [packet["error"]]
    return out


def tshark(*args: str | Path) -> str:
    done = subprocess.run(["tshark", *map(str, args)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    # Errors in a script are reported on stderr, and the packets are printed all the same.
    assert "lua" not in done.stderr.lower(), done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def fields() -> list[str]:
    rows = (row.split("\t") for row in
            tshark("-G", "fields", "-X", f"lua_script:{DISSECTOR}").splitlines())
    found = [row[2] for row in rows if row[0] == "F" and row[4] == "pfsync"]
    assert len(found) > 60
    return found


def dissect(capture: Path, fields: list[str]) -> list[dict[str, list[str]]]:
    text = tshark("-X", f"lua_script:{DISSECTOR}", "-r", capture, "-T", "fields", "-E",
                  "aggregator=|", "-E", "separator=/t", *[w for f in fields for w in ("-e", f)])
    out = []
    for line in text.split("\n")[:-1]:
        packet = {}
        for name, value in zip(fields, line.split("\t"), strict=True):
            if not value:
                continue
            items = value.split("|")
            packet[name.removeprefix("pfsync.")] = [
                str(int(item, 16)) if item.startswith("0x") else item for item in items]
        out.append(packet)
    return out


def without_empty(packet: dict[str, list[str]]) -> dict[str, list[str]]:
    """tshark omits an empty name."""
    kept = {name: [v for v in values if v] for name, values in packet.items()}
    return {name: values for name, values in kept.items() if values}


@pytest.mark.parametrize("dialect", dialects())
def test_tshark_sees_the_same(dialect, fields, tmp_path):
    packets = goldens(dialect)
    file = tmp_path / "golden.pcap"
    file.write_bytes(pcap([ip(data) for data in packets.values()]))
    decoded = decode_json(file, status=1)
    dissected = dissect(file, fields)
    assert len(decoded) == len(dissected) == len(packets) > 40
    assert 10 < sum("error" in p for p in decoded) < len(packets) - 10
    for name, ours, theirs in zip(packets, decoded, dissected):
        theirs.pop("stride", None)
        assert ("bad" in theirs) == ("error" in theirs), name  # sets the colour in the packet list
        theirs.pop("bad", None)
        if "error" in theirs:
            theirs["error"] = theirs["error"][:1]  # our decoder reports the first only
        assert without_empty(as_dissected(ours)) == without_empty(theirs), name


def expect(v6: bool = False, function: bytes = b"nat-follow-master") -> bytes:
    """A packet with one EXPECT, from its offsets in pfsync/extension.hpp."""
    texts = ("2001:db8::1", "2001:db8::2", "ffff::", "2001:db8::9") if v6 else (
        "192.0.2.1", "10.0.0.2", "255.255.255.255", "10.9.9.9")
    addresses = b"".join(ipaddress.ip_address(t).packed.ljust(16, b"\0") for t in texts)
    message = struct.pack(">QIBBBBBBHI", 0x1122334455667788, 0x0a0b0c0d, 1, 2, 6, 0xc1, 3,
                          24 if v6 else 2, 51211, 299) + addresses
    message += struct.pack(">HHHH24s", 40000, 51210, 0xffff, 0, function)
    assert len(message) == 120
    return struct.pack(">BBH16x", 6, 0, 144) + struct.pack(">BBH", 0xe8, 30, 1) + message


def test_tshark_sees_the_same_expectations(fields, tmp_path):
    file = tmp_path / "expect.pcap"
    packets = [expect(), expect(v6=True), expect(function=b"no/name"), expect(function=b"x" * 24)]
    file.write_bytes(pcap([ip(data) for data in packets]))
    decoded = decode_json(file, status=1)
    for ours, theirs in zip(decoded, dissect(file, fields), strict=True):
        theirs.pop("stride")
        theirs.pop("bad", None)
        assert without_empty(as_dissected(ours)) == without_empty(theirs)
    [message] = decoded[0]["sections"][0]["messages"]
    assert message["dst_addr"] == "10.0.0.2" and message["dst_port"] == 51210
    assert message["function"] == "nat-follow-master" and message["timeout"] == 299
    assert [packet.get("error") for packet in decoded] == [None, None, "bad_name", "bad_name"]


def own(action: int, message: bytes) -> bytes:
    """A packet with one message of our own."""
    return (struct.pack(">BBH16x", 6, 0, 24 + len(message))
            + struct.pack(">BBH", action, len(message) // 4, 1) + message)


def test_tshark_sees_the_same_digests(fields, tmp_path):
    file = tmp_path / "digests.pcap"
    flows = struct.pack(">QII", 0x1122334455667788, 0x0a0b0c0d, 0xdeadbeef) * 2
    packets = [own(0xe0, struct.pack(">QQIHBBQQI", 7, 8, 9, 1, 2, 3, 40, 30, 2)),
               own(0xe3, struct.pack(">QQQ", 99, 0x8877665544332211, 1_000_000)),
               own(0xe4, struct.pack(">I", 4368)),
               own(0xe5, struct.pack(">II16Q", 17, 0, *range(1, 17))),
               own(0xe6, struct.pack(">IHBx", 4369, 2, 1) + flows),
               own(0xe7, struct.pack(">QIQ", 0x1122334455667788, 0x0a0b0c0d, 98))]
    file.write_bytes(pcap([ip(data) for data in packets]))
    decoded = decode_json(file)
    for ours, theirs in zip(decoded, dissect(file, fields), strict=True):
        theirs.pop("stride")
        assert without_empty(as_dissected(ours)) == without_empty(theirs)
    messages = [packet["sections"][0]["messages"][0] for packet in decoded]
    assert messages[0]["checked"] == 2 and messages[1]["states"] == 1_000_000
    assert messages[1]["sum"] == "8877665544332211" and messages[2]["node"] == 4368
    assert messages[3]["sums"] == struct.pack(">16Q", *range(1, 17)).hex()
    assert messages[4]["flows"] == flows.hex() and messages[5]["since"] == 98


def test_the_comparison_can_fail(fields, tmp_path):
    file = tmp_path / "one.pcap"
    file.write_bytes(pcap([ip(INS)]))
    [theirs] = dissect(file, fields)
    for at in (24, 24 + 56, 24 + 104 + 8, 24 + 255, 24 + 261):
        changed = bytearray(INS)
        changed[at] ^= 1
        [ours] = decode_json(input=pcap([ip(bytes(changed))]))
        assert without_empty(as_dissected(ours)) != without_empty(theirs), at


def test_tshark_does_not_know_it_by_itself(tmp_path):
    file = tmp_path / "one.pcap"
    file.write_bytes(pcap([ip(INS)]))
    protocols = ["-r", file, "-T", "fields", "-e", "frame.protocols"]
    assert "pfsync" not in tshark(*protocols)
    assert tshark("-X", f"lua_script:{DISSECTOR}", *protocols).strip().endswith(":pfsync")


def test_tshark_with_a_capture_of_pfsync0(fields, tmp_path):
    file = tmp_path / "one.pcap"
    file.write_bytes(pcap([INS], 121))
    [packet] = dissect(file, fields)
    assert packet["ifname"] == ["em0"]


# ---- live ------------------------------------------------------------------------------------

# One packet of protocol 240, and one of another protocol, repeated until the program is ended.
SENDER = """
import socket, sys, time
payload = bytes.fromhex(sys.argv[1])
sockets = [socket.socket(socket.AF_INET, socket.SOCK_RAW, number) for number in (240, 253)]
for s in sockets:
    s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
while True:
    for s in sockets:
        s.sendto(payload, ("10.9.0.1", 0))
    time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def cable(lab):
    a, b = lab.node("seer"), lab.node("sender")
    lab.cable(a, "eth0", b, "eth0")
    a.ip("addr add 10.9.0.1/24 dev eth0")
    b.ip("addr add 10.9.0.2/24 dev eth0")
    return a, b


def listen(node, *args, **more):
    process = node.start(bin_dir() / "encsync", *args, **more)

    def listening():
        assert process.running, process.last_words()
        return "listening on" in process.errors()

    wait_for(listening, 10, "encsync to listen")
    return process


def packets_of(process) -> list[dict]:
    whole, _, _unfinished = process.output().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


@pytest.mark.parametrize("payload, status", [(INS, 0), (INS[:200], 1)], ids=["good", "bad"])
def test_live(cable, payload, status):
    seer, sender = cable
    process = listen(seer, "decode", "--json", "-i", "eth0")
    sending = sender.start(PYTHON, "-c", SENDER, payload.hex())
    wait_for(lambda: len(packets_of(process)) >= 3, 10, "three packets to be seen")
    sending.kill()
    assert process.stop() == status
    for packet in packets_of(process):
        assert packet["ip"] == {"src_ip": "10.9.0.2", "dst_ip": "10.9.0.1", "ttl": 255}
        assert packet["version"] == 6 and ("error" in packet) == (status == 1)


# ---- the daemon's own traffic ----------------------------------------------------------------


def test_monitor_without_a_daemon(cable):
    done = cable[0].run(bin_dir() / "encsync", "monitor", check=False)
    assert done.returncode == 1 and not done.stdout
    assert "enc0" in done.stderr and "encsyncd" in done.stderr and done.stderr.count("\n") == 1


def test_monitor(pair, instances):
    mickey = instances[0]
    process = listen(mickey.node, *mickey.argv("monitor", "--json")[1:])

    def both_ways():
        return {p["ip"]["src_ip"] for p in packets_of(process)}

    def actions():
        return {s["action"] for p in packets_of(process) for s in p["sections"]}

    addresses = {sync.SYNC["mickey"], sync.SYNC["minnie"]}
    wait_for(lambda: both_ways() >= addresses and "HELLO" in actions(), 15, "packets of both nodes")
    assert process.stop() == 0
    assert not any("error" in p for p in packets_of(process))


def test_monitor_writes_a_capture(pair, instances, tmp_path):
    mickey = instances[0]
    file = mickey.node.dir / "monitor.pcap"
    process = listen(mickey.node, *mickey.argv("monitor", "--write", file)[1:])
    wait_for(lambda: file.exists() and file.stat().st_size > 500, 15, "packets in the capture")
    assert process.stop() == 0 and process.output() == ""
    assert file.stat().st_mode & 0o777 == 0o600
    packets = decode_json(file)
    assert packets and all(p["ip"]["ttl"] == 255 for p in packets)
    assert struct.unpack("<I", file.read_bytes()[20:24])[0] == RAW
    # A missing folder and a full disk are reported.
    for path, word in (("/nonexistent/file", "No such file"), ("/dev/full", "No space")):
        done = mickey.command("monitor", "--write", path, check=False)
        assert done.returncode == 1 and word in done.stderr
