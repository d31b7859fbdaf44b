# SPDX-License-Identifier: ISC
"""The gateway's benchmark measures correctly: pytest tests/bench/lab (as root)."""

from __future__ import annotations

from dataclasses import replace

import pytest

import topology  # noqa: F401  first: it adds the lab's library to the path
import sync
from lab import Lab, LabError
from pair import bin_dir

import relay
import report

pytestmark = pytest.mark.skipif(
    not (bin_dir() / relay.PROGRAM).exists() or not sync.built(), reason="lab_relay is not built"
)

NEW = relay.Phase("insert", 400, 4000, flows=400)
UPDATES = relay.Phase("update", 1200, 4000, flows=400)
# Each third packet.
LOSSY = """
table inet lossy {
    chain in {
        type filter hook prerouting priority -500
        iifname cable ip protocol 240 numgen inc mod 3 0 drop
    }
}
"""


@pytest.fixture(scope="module")
def takers():
    with Lab() as lab, Lab() as rival_lab:
        made = relay.Gateways(lab), relay.Bare(rival_lab)
        for taker in made:
            relay.nothing_lost(taker, "the first messages", taker.offer(NEW))
        yield made


@pytest.fixture(params=[0, 1], ids=["encsync", "bare"])
def taker(takers, request):
    return takers[request.param]


def offer(taker, phase):
    return taker.offer(phase, settle=0.5)


def test_all_messages_arrive(taker):
    for phase in (replace(NEW, first=400), replace(UPDATES, first=400),
                  replace(UPDATES, first=400, per_packet=1, messages=100)):
        result = relay.steady(taker, "all", phase, print)
        assert result["arrived"] == result["messages"] == phase.messages
        assert result["lost"] == result["stale"] == result["late"] == 0
        assert result["packets"] >= result["messages"] / 16
        assert all(ns > 0 for ns in result["cpu_ns"])
        assert 0 < result["latency_p50_us"] <= result["latency_p99_us"]


@pytest.mark.parametrize("where", ["first gateway", "counter"])
def test_a_loss_is_seen(taker, where):
    firewall = taker.ends[1]
    gateway = firewall.lab.nodes["mickey"]
    node = gateway if where == "first gateway" else firewall
    node.nft(LOSSY)
    try:
        result = offer(taker, UPDATES)
    finally:
        node.run("nft", "delete", "table", "inet", "lossy")
    assert 0 < result["lost"] < UPDATES.messages
    assert 0 < result["stale"] < UPDATES.flows
    with pytest.raises(LabError, match="messages are lost"):
        relay.nothing_lost(taker, "it", result)
    relay.nothing_lost(taker, "afterwards", offer(taker, UPDATES))


def test_nothing_passes_without_a_relay():
    with Lab() as lab:
        bare = relay.Bare(lab)
        bare._relays[1].kill()
        with pytest.raises(LabError, match="the bare relay has ended"):
            offer(bare, NEW)
        bare.processes = lambda: []
        result = offer(bare, NEW)
        assert (result["arrived"], result["lost"], result["stale"]) == (0, 400, 400)


def test_above_the_pace_newer_messages_replace_older_ones(takers):
    ours = takers[0]
    result = offer(ours, replace(UPDATES, messages=40_000, rate=150_000))
    assert result["coalesced"] > 0
    assert result["arrived"] + result["coalesced"] == result["messages"]
    assert result["stale"] == 0


def test_a_flood_is_offered_again_slower():
    class Lossy(relay.Taker):
        name = "lossy"
        rates = []

        def offer(self, phase):
            self.rates.append(phase.rate)
            lost = 7 if phase.rate > 50_000 else 0
            return {"messages": phase.messages, "offered_per_second": phase.rate, "lost": lost,
                    "arrived": phase.messages - lost, "coalesced": 0, "stale": 0, "disordered": 0,
                    "seconds": 2.5, "sent_seconds": 2.0, "counters": {}}

    taker = Lossy(None, None)
    assert len(relay.flood(taker, print, top=100_000)["lossy_attempts"]) == 2
    assert taker.rates == pytest.approx([100_000, 70_000, 49_000])
    taker.rates.clear()
    with pytest.raises(LabError, match="7 messages are lost"):
        relay.flood(taker, print, top=1e9)
    assert len(taker.rates) == relay.ATTEMPTS


def test_states_are_counted_with_their_memory(takers):
    few = relay.Phase("insert", 2000, 20_000, flows=2000, first=1000)
    found = relay.states(takers[0], print, few, replace(UPDATES, flows=2000, first=1000))
    assert found["seconds"] > 0
    assert all(250 < size < 500 for size in found["store_bytes_a_state"])
    with pytest.raises(LabError, match="have kept"):  # they are there already
        relay.states(takers[0], print, few, UPDATES)


def a_round(ours: float, theirs: float) -> dict:
    def one(ns):
        steady = {"cpu_ns": [ns, 2 * ns], "latency_p50_us": ns, "latency_p99_us": ns, "pace": 40_000,
                  "pace_burst": 4000}
        return {**{name: steady for name in (*relay.STEADY, "latency")},
                "flood": {"offered_per_second": ns, "arrived": 6, "seconds": 3, "sent_seconds": 2,
                          "cpu_ns": [ns, ns]}}
    return {relay.OURS: one(ours), relay.THEIRS: one(theirs)}


def test_the_table_has_a_cell_for_everything():
    found = relay.summary([a_round(400, 100), a_round(900, 300), a_round(50, 50)])
    assert found["cpu_ns"]["update"]["sender"] == {"encsync": 400, "bare": 100, "ratio": 3.0}
    assert found["cpu_ns"]["update"]["receiver"]["encsync"] == 800
    assert found["behind_seconds"] == 1
    found["million"] = {"states": 1_000_000, "seconds": 26.0, "rss_bytes_a_state": [350, 360],
                        "update": {"cpu_ns": [1, 2]}}
    table = relay.rows(found)
    assert {len(row) for row in table} == {4}
    assert len(report.as_markdown(table).splitlines()) == len(table) + 1
