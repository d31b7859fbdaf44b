# SPDX-License-Identifier: ISC
"""ESP on a hostile switch. What is altered here was held back and so never delivered: nothing but its
tag can refuse it. The control of each: the genuine packet is taken, whenever it comes."""

from __future__ import annotations

import struct
from collections import Counter

import pytest

import conntrack
import sync
from hostile_switch import ESP_AT, HostileSwitch, spi_of, with_esp
from lab import wait_for
from pair import SERVER, SYNC, FirewallPair

pytestmark = pytest.mark.daemon


@pytest.fixture(scope="module")
def pair(lab):
    return FirewallPair(lab, donald=True)


@pytest.fixture(scope="module")
def switch(pair, instances):
    """The nodes are up already, and notice nothing."""
    sync.wait_settled(*instances)
    return HostileSwitch(pair.sync_switch, *((node, "sync") for node in pair.firewalls))


def has(node, port: int) -> bool:
    return any(flow.orig.sport == port for flow in conntrack.table(node))


def new_flow(node, port: int) -> None:
    conntrack.insert(node, "10.0.0.30", SERVER[0], port, 443)


def esp_refused(instance) -> Counter:
    """By reason, what was refused as ESP."""
    return Counter({reason: count for reason, count in instance.refused().items()
                    if reason.startswith("esp_") or reason in ("unknown_spi", "runt", "wrong_port")})


def refused_exactly(instance, before: Counter, expected: dict[str, int]) -> None:
    wait_for(lambda: sum((esp_refused(instance) - before).values()) >= sum(expected.values()), 10,
             f"refusals: {expected}")
    assert esp_refused(instance) - before == expected


class Held:
    """ESP from minnie to mickey about one new flow, which mickey has not received."""

    def __init__(self, pair, switch, port: int):
        self.switch, self.port = switch, port
        before = len(switch.kept(SYNC["mickey"]))
        switch.hold("minnie", "mickey")
        new_flow(pair.minnie, port)

        def held() -> list[bytes]:
            return switch.kept(SYNC["mickey"])[before:]

        wait_for(lambda: len(held()) >= 3, 20, "ESP to be held back, and sent again")
        self.frames = held()
        assert not has(pair.mickey, port)

    def release(self) -> None:
        """From now on all passes again; what was held stays with the attacker."""
        self.switch.play("minnie", "mickey", "pass")


def received(instance, peer: str) -> int:
    return instance.peer(peer)["rx_packets"]


def test_every_altered_byte_is_refused_by_the_tag(pair, instances, switch):
    mickey = instances[0]
    held = Held(pair, switch, 3000)
    frame = held.frames[0]
    esp, before, heard = frame[ESP_AT:], esp_refused(mickey), received(mickey, "minnie")
    # From the low half of the sequence number on. A lower number could be one that has been seen.
    altered = [bytes(b ^ (i == at) for i, b in enumerate(esp)) for at in range(8, len(esp))]
    low = struct.unpack_from("!I", esp, 4)[0]
    altered += [esp[:4] + struct.pack("!I", low + more) + esp[8:]
                for more in (1 << 10, 1 << 20, 1 << 30)]
    altered += [esp + bytes(4), esp[:-4]]
    switch.send("mickey", *(with_esp(frame, each) for each in altered))
    refused_exactly(mickey, before, {"esp_bad_tag": len(altered)})
    assert received(mickey, "minnie") == heard and not has(pair.mickey, 3000)
    switch.send("mickey", *held.frames)  # control: they were valid all the time
    wait_for(lambda: has(pair.mickey, 3000), 10, "the genuine packets to be taken")
    assert heard < received(mickey, "minnie") <= heard + len(held.frames)
    # And once only.
    before = esp_refused(mickey)
    switch.send("mickey", *held.frames[::-1])
    refused_exactly(mickey, before, {"esp_replayed": len(held.frames)})
    held.release()


def test_cut_short_it_is_refused(pair, instances, switch):
    mickey = instances[0]
    held = Held(pair, switch, 3001)
    frame = held.frames[0]
    esp, before = frame[ESP_AT:], esp_refused(mickey)
    cut = [esp[:end] for end in range(37, len(esp))]
    switch.send("mickey", *(with_esp(frame, each) for each in cut))
    wholes = sum(len(each) % 4 == 0 for each in cut)
    refused_exactly(mickey, before, {"esp_bad_tag": wholes, "esp_bad_length": len(cut) - wholes})
    # Shorter ones the filter on the socket drops, or they are no ESP either.
    switch.send("mickey", *(with_esp(frame, esp[:end]) for end in range(2, 37)))
    switch.send("mickey", *held.frames)  # control, and behind them
    wait_for(lambda: has(pair.mickey, 3001), 10, "the genuine packets to be taken")
    held.release()
    wait_for(mickey.ready, 20, "mickey to be ready, though nothing of minnie came for a while")


def test_under_another_spi_or_from_elsewhere_it_is_refused(pair, instances, switch):
    """Of an SA that is not there, sent back to its sender, as another peer's, and from another port."""
    mickey, minnie, _ = instances
    held = Held(pair, switch, 3002)
    frame = held.frames[0]
    esp, before, heard = frame[ESP_AT:], esp_refused(mickey), received(mickey, "minnie")
    switch.send("mickey", *[with_esp(frame, b"\xde\xad\xbe\xef" + esp[4:])] * 3)
    refused_exactly(mickey, before, {"unknown_spi": 3})
    # In donald's SA with mickey: another key.
    (donalds,) = [spi for _, way, spi in mickey.spis("donald") if way == "in"]
    before = esp_refused(mickey)
    into_donalds = with_esp(frame, bytes.fromhex(donalds) + esp[4:], SYNC["donald"])
    switch.send("mickey", into_donalds)
    wait_for(lambda: esp_refused(mickey) - before, 10, "it to be refused")
    assert (esp_refused(mickey) - before).keys() <= {"esp_bad_tag", "esp_replayed"}
    # Back to minnie.
    before = esp_refused(minnie)
    swapped = frame[6:12] + frame[:6] + frame[12:26] + frame[30:34] + frame[26:30] + frame[34:]
    switch.send("minnie", with_esp(swapped, esp))
    refused_exactly(minnie, before, {"unknown_spi": 1})
    # From another port of minnie's.
    before = esp_refused(mickey)
    other = frame[:34] + struct.pack("!H", 4501) + frame[36:]
    switch.send("mickey", other)
    refused_exactly(mickey, before, {"wrong_port": 1})
    assert received(mickey, "minnie") == heard and not has(pair.mickey, 3002)
    # From donald's address the genuine packets are still minnie's word, and don't change where she is.
    switch.send("mickey", *(with_esp(each, each[ESP_AT:], SYNC["donald"]) for each in held.frames))
    wait_for(lambda: has(pair.mickey, 3002), 10, "minnie's packets to be taken")
    assert heard < received(mickey, "minnie") <= heard + len(held.frames)
    held.release()
    new_flow(pair.mickey, 3005)
    wait_for(lambda: has(pair.minnie, 3005), 10, "mickey to reach minnie where she is")


def test_an_sa_that_was_replaced_delivers_nothing(pair, instances, switch):
    mickey, minnie, _ = instances
    held = Held(pair, switch, 3003)
    old = {spi_of(frame) for frame in held.frames}
    conntrack.delete(pair.minnie, "10.0.0.30", SERVER[0], 3003, 443)
    held.release()
    minnie.command("keys", "rotate", "--what", "sa")
    wait_for(lambda: not old & {spi.removeprefix("0x") for _, _, spi in mickey.spis("minnie")}, 60,
             "the old SA to be gone")
    sync.wait_in_step(*instances)
    before = esp_refused(mickey)
    switch.send("mickey", *held.frames)
    refused_exactly(mickey, before, {"unknown_spi": len(held.frames)})
    new_flow(pair.minnie, 3004)  # control: by the new SA
    wait_for(lambda: has(pair.mickey, 3004), 10, "a new flow to be taken")
    assert not has(pair.mickey, 3003)


@pytest.mark.parametrize("how", ["double", "swap", "delay"])
def test_a_relay_that_plays_with_the_packets_changes_nothing(pair, instances, switch, how):
    mickey, minnie, _ = instances
    before, heard = esp_refused(mickey), received(mickey, "minnie")
    for ends in (("minnie", "mickey"), ("mickey", "minnie")):
        switch.play(*ends, how)
    network = {"double": "10.0.4", "swap": "10.0.5", "delay": "10.0.6"}[how]
    conntrack.insert_many(pair.minnie, 500, network=network)

    def flows(node) -> set:
        return {flow.key for flow in conntrack.table(node) if flow.from_any(f"{network}.0/24")}

    wait_for(lambda: flows(pair.mickey) == flows(pair.minnie), 20, "the flows to be on both")
    assert len(flows(pair.mickey)) == 500
    more = esp_refused(mickey) - before
    if how == "double":  # each second one was refused
        assert more.keys() == {"esp_replayed"} and more["esp_replayed"] >= 10
        assert abs(more["esp_replayed"] - (received(mickey, "minnie") - heard)) <= 20
    else:
        assert not more
    for ends in (("minnie", "mickey"), ("mickey", "minnie")):
        switch.play(*ends, "pass")
    wait_for(lambda: mickey.peer("minnie")["state"] == minnie.peer("mickey")["state"] == "up", 20,
             "both to be up")
