# SPDX-License-Identifier: ISC
"""Mallory on the switch: forged protocol 240 in every wrapping, and ESP that was recorded. The same
packets reach a raw socket on an unprotected host: the control."""

from __future__ import annotations

import struct

import pytest

import conntrack
import forged
from lab import PYTHON, wait_for
from mallory import FORGED_INSIDE, frames
from pair import SERVER, SYNC

pytestmark = pytest.mark.daemon

BARE = "192.168.1.67"


def listen(node):
    process = node.start(PYTHON, forged.__file__, "receive", name="receiver")
    wait_for(lambda: "listening" in process.output(), 10, "the receiver to listen")
    return process


def taken(receiver) -> set[int]:
    return {int(line.split()[1]) for line in receiver.output().splitlines()[1:]}


@pytest.fixture(scope="module")
def bare(lab, pair):
    """A host without encsync's ruleset."""
    node = lab.node("bare")
    lab.plug(node, "sync", pair.sync_switch, f"{BARE}/24")
    for each in (node, pair.mickey):
        each.ip(f"addr add {forged.SIX[each.name]}/64 dev sync nodad")
    return node


def send(pair, packets: list[bytes]) -> None:
    pair.mallory.run(PYTHON, forged.__file__, "send",
                     input="\n".join(packet.hex() for packet in packets))


def test_no_wrapping_gets_protocol_240_in(pair, instances, mallory, bare):
    mickey, _ = instances
    counted = mickey.refused()
    receivers = {node.name: listen(node) for node in (bare, pair.mickey)}
    addresses = {"mickey": SYNC["mickey"], "bare": BARE}
    for node in (pair.mickey, bare):
        made = forged.Forger(mallory.mac, node.mac("sync"), SYNC["minnie"], addresses[node.name],
                             forged.SIX["minnie"], forged.SIX[node.name]).tricks()
        send(pair, [frame for packets in made.values() for frame in packets])
    # Control: each of them is delivered where nothing drops it.
    everything = set(range(1, len(made) + 1))
    wait_for(lambda: taken(receivers["bare"]) == everything, 10,
             f"the unprotected host to get {everything}")

    def dropped() -> int:
        now = mickey.refused()
        return sum(now[name] - counted.get(name, 0) for name in now if "not_through_tunnel" in name)

    wait_for(lambda: dropped() >= len(made), 10, "each of them to be counted")
    assert taken(receivers["mickey"]) == set()
    assert not [f for f in conntrack.table(pair.mickey) if f.involves(FORGED_INSIDE)]
    assert mickey.ready()


# ---- recorded ESP ----------------------------------------------------------------------------


def is_esp(frame: bytes, source: str) -> bool:
    return (frame[12:14] == b"\x08\0" and frame[23] == 17
            and frame[26:30] == bytes(map(int, source.split(".")))
            and frame[36:38] == struct.pack("!H", 4500) and frame[42:46] != bytes(4)
            and 60 < len(frame) <= 1000)  # longer: several in one


def recorded(mallory, source: str) -> list[bytes]:
    return [frame for frame in frames(mallory.pcap.read_bytes()) if is_esp(frame, source)]


def again(frame: bytes, payload: bytes) -> bytes:
    """That frame with this UDP payload and no UDP checksum: the recorded one is wrong, as it is
    left to the network card, and a receiver's kernel would drop the frame."""
    length = 8 + len(payload)
    head = struct.pack("!BBHHHBB", 0x45, 0, 20 + length, 1, 0, 64, 17)
    total = forged.checksum(head + b"\0\0" + frame[26:34])
    return (frame[:14] + head + struct.pack("!H", total) + frame[26:34] + frame[34:38]
            + struct.pack("!HH", length, 0) + payload)


def esp_refused(instance) -> int:
    """By all reasons, but not by the ruleset."""
    return sum(count for name, count in instance.refused().items() if "tunnel" not in name)


def test_recorded_esp_does_nothing(pair, instances, mallory):
    """Replayed, reordered, altered, cut short, of an unknown SA, and sent back to where it is from."""
    mickey, minnie = instances
    conntrack.insert_many(pair.minnie, 50)
    wait_for(lambda: len(pair.flows(pair.mickey)) == 50, 10, "the flows to be on both")
    theirs = wait_for(lambda: recorded(mallory, SYNC["minnie"]), 10, "ESP in the recording")[-20:]
    own = recorded(mallory, SYNC["mickey"])[-10:]
    flows = conntrack.keys(pair.flows(pair.mickey))
    bodies = [frame[42:] for frame in theirs]
    attacks = {
        "replayed": [again(frame, frame[42:]) for frame in theirs[::-1]],
        "altered": [again(theirs[-1], bytes(b ^ (i == at) for i, b in enumerate(bodies[-1])))
                    for at in range(8, len(bodies[-1]), 3)],
        "a later number": [again(theirs[-1], bodies[-1][:4] + struct.pack(
            "!I", struct.unpack_from("!I", bodies[-1], 4)[0] + n) + bodies[-1][8:])
            for n in (1000, 1 << 20, 1 << 30)],
        "cut short": [again(theirs[-1], bodies[-1][:end]) for end in range(5, len(bodies[-1]), 5)],
        "unknown SA": [again(theirs[-1], b"\xde\xad\xbe\xef" + bodies[-1][4:])] * 3,
        "sent back": [again(theirs[-1], frame[42:]) for frame in own],
    }
    reasons = {"replayed": ("replayed", "too_old"), "altered": ("replayed", "bad_tag"),
               "a later number": ("bad_tag",), "unknown SA": ("unknown_spi",),
               "cut short": ("dropped_in_kernel", "replayed", "bad_tag", "bad_length",
                             "short_packet", "runt"),
               "sent back": ("unknown_spi",)}
    for name, packets in attacks.items():
        before, was = esp_refused(mickey), mickey.refused()
        send(pair, packets)

        wait_for(lambda: esp_refused(mickey) - before >= len(packets), 10,
                 f"{name}: {len(packets)} refusals")
        now = mickey.refused()
        named = {reason.removeprefix("esp_") for reason in now if now[reason] > was.get(reason, 0)
                 and "tunnel" not in reason}
        assert named and named <= set(reasons[name]), (name, named)
    assert conntrack.keys(pair.flows(pair.mickey)) == flows
    assert mickey.ready() and mickey.peer("minnie")["state"] == "up"
    # Control: what minnie really sends is accepted.
    conntrack.insert(pair.minnie, "10.0.0.30", SERVER[0], 2000, 443)
    wait_for(lambda: any(f.orig.sport == 2000 for f in conntrack.table(pair.mickey)), 10,
             "a genuine flow to arrive")


def test_a_recorded_packet_of_an_old_sa(pair, instances, mallory):
    """After the SAs were replaced twice, the first is known no more."""
    mickey, minnie = instances
    old = wait_for(lambda: recorded(mallory, SYNC["minnie"]), 10, "ESP in the recording")[-5:]
    minnie.restart()
    wait_for(lambda: mickey.peer("minnie")["state"] == "up" and mickey.ready()
             and not {frame[42:46].hex() for frame in old}
             & {spi.removeprefix("0x") for _, _, spi in mickey.spis("minnie")}, 40, "other SAs")
    before = esp_refused(mickey)
    send(pair, [again(frame, frame[42:]) for frame in old])
    wait_for(lambda: esp_refused(mickey) - before >= len(old), 10, "refusals")
    assert mickey.ready()
