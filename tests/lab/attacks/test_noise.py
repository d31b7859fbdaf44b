# SPDX-License-Identifier: ISC
"""Noise as fast as a host on the switch can send it, while thousands of flows begin: none is lost."""

from __future__ import annotations

import time

import pytest

import conntrack
import noise
import sync
from lab import PYTHON, wait_for
from mallory import FORGED_INSIDE
from pair import SYNC

pytestmark = pytest.mark.daemon

# Many daemons on few processors: DPD must not fire because one of them had to wait.
PATIENT = {"dpddelay": "10s", "dpdtimeout": "2m"}
RATE, SECONDS, OF_EACH = 2000, 2, 200
# What is counted as long as it lasts. Of the rest, the kernel drops what belongs to no SA as soon as
# it is a flood.
REASONS = "esp_bad_tag", "not_through_tunnel_in"
RECEIVE = """
import socket
every = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
         socket.socket(socket.AF_INET, socket.SOCK_RAW, 240)]
every[0].bind(("", 4500))
print("listening", flush=True)
for each in every:
    print(len(each.recv(65536)), flush=True)
"""


@pytest.fixture(scope="module")
def instances(pair):
    both = sync.equip(pair, conn=PATIENT)
    for instance in both:
        instance.start()
    sync.wait_settled(*both)
    return both


def sent(process) -> int:
    lines = process.output().split()
    return int(lines[-1]) if lines else 0


def begin(pair, victim: str, spi: str):
    process = pair.mallory.start(PYTHON, noise.__file__, victim, SYNC["mickey"], spi, name="noise")
    wait_for(lambda: sent(process) > 10_000, 20, "the noise to be loud")
    return process


def test_noise_loses_no_flow(pair, instances):
    mickey, minnie = instances
    before = minnie.refused()
    (spi,) = [spi for _, way, spi in minnie.spis("mickey") if way == "in"]
    process = begin(pair, SYNC["minnie"], spi.removeprefix("0x"))
    started, loud = time.monotonic(), sent(process)
    for turn in range(RATE * SECONDS // OF_EACH):
        conntrack.insert_many(pair.mickey, OF_EACH, network=f"10.{100 + turn}.0")
        time.sleep(max(0, started + turn * OF_EACH / RATE - time.monotonic()))

    def arrived() -> set:
        return {flow.key for flow in conntrack.table(pair.minnie)
                if flow.from_any("10.64.0.0/10", "10.128.0.0/10")}

    assert process.running and sent(process) > loud + 2_000  # it went on all the time
    now = minnie.refused()
    process.kill()
    wait_for(lambda: len(arrived()) == RATE * SECONDS, 60, "all flows to be on minnie")
    for reason in REASONS:
        assert now.get(reason, 0) - before.get(reason, 0) >= 100, (reason, now)
    assert minnie.log().count("a flood of UDP datagrams in the name of a peer") == 1
    assert now.get("unknown_spi", 0) - before.get("unknown_spi", 0) < 10_000
    assert not [flow for flow in conntrack.table(pair.minnie) if flow.involves(FORGED_INSIDE)]
    sync.wait_in_step(*instances)
    assert minnie.peer("mickey")["spi_in"] == spi.removeprefix("0x")


def test_an_unprotected_host_receives_it(lab, pair):
    """The control."""
    bare = lab.node("bare")
    lab.plug(bare, "sync", pair.sync_switch, "192.168.1.68/24")
    receiver = bare.start(PYTHON, "-c", RECEIVE, name="receiver")
    wait_for(receiver.output, 10, "the receiver to listen")
    process = begin(pair, "192.168.1.68", "deadbeef")
    assert receiver.wait() == 0 and len(receiver.output().split()) == 3
    process.kill()
