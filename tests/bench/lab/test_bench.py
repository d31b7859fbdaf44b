# SPDX-License-Identifier: ISC
"""The benchmark measures correctly: pytest tests/bench/lab (as root).

Each figure that could look better because of a fault in the benchmark has a test here in which it
must be bad.
"""

from __future__ import annotations

import json
import os

import pytest

import topology  # first: it adds the lab's library to the path
from lab import NETNS_DIR, Lab, LabError
from measure import ATTEMPTS, Bench, Load, Tools
from pair import bin_dir

import bench as command
import engine
import micro
import report
import systems

FLOWS = 2000


def a_round(**changes) -> dict:
    figures = {
        "flows_per_second": 100.0,
        "cpu_seconds_per_million_flows": {"mickey": 2.0, "minnie": 4.0},
        "wire_bytes_per_flow": 50.0,
        "latency_p50_us": 10.0,
        "latency_p99_us": 20.0,
        "bulk_seconds": 1.0,
        "rss_bytes_per_flow": 100.0,
        "lost": 0,
    }
    return {**figures, **changes}


# ---- figures ---------------------------------------------------------------------------------


def test_ratio_is_the_median_of_the_rounds_own_ratios():
    ours = [a_round(flows_per_second=x) for x in (400.0, 900.0, 50.0)]
    theirs = [a_round(flows_per_second=x) for x in (100.0, 300.0, 50.0)]
    found = report.summary({"encsync": ours, "conntrackd": theirs})
    assert found["ratios"]["flows_per_second"] == 3.0  # not median/median, which is 4
    assert found["ratios"]["cpu_seconds_per_million_flows"] == {"mickey": 1.0, "minnie": 1.0}
    assert found["systems"]["encsync"]["median"]["flows_per_second"] == 400.0


def test_a_figure_of_zero_gives_no_ratio():
    found = report.summary(
        {"encsync": [a_round()], "conntrackd": [a_round(rss_bytes_per_flow=0.0)]}
    )
    assert found["ratios"]["rss_bytes_per_flow"] is None
    assert report.rows(found)  # can be printed


@pytest.mark.parametrize("ours, theirs, ok", [(0, 0, True), (3, 3, True), (0, 5, True),
                                              (1, 0, False), (6, 5, False)])
def test_ok_only_if_nothing_is_lost_that_conntrackd_keeps(ours, theirs, ok):
    rounds = {"encsync": [a_round(lost=ours)], "conntrackd": [a_round(lost=theirs)]}
    assert report.summary(rounds)["ok"] is ok


def test_losses_count_without_an_opponent_too():
    assert report.summary({"encsync": [a_round(lost=1)]})["ok"] is False


def test_tables_have_a_cell_for_everything():
    table = report.rows(report.summary({"encsync": [a_round()], "conntrackd": [a_round()]}))
    assert {len(row) for row in table} == {4}
    assert len(table) == len(report.FIGURES) + 1
    assert len(report.as_markdown(table).splitlines()) == len(table) + 1
    assert len(report.as_text(table).splitlines()) == len(table) + 1


def test_microbenchmarks_are_read():
    text = json.dumps({"benchmarks": [
        {"name": "seal/1400", "run_type": "iteration", "cpu_time": 1.5, "time_unit": "us",
         "bytes_per_second": 1e9, "bytes_per_flow": 42.0},
        {"name": "seal_mean", "run_type": "aggregate", "cpu_time": 1.5, "time_unit": "us"},
    ]})
    assert micro.parse(text) == [{"name": "seal/1400", "nanoseconds": 1500.0,
                                  "bytes_per_second": 1e9, "bytes_per_flow": 42.0}]
    assert len(micro.rows(micro.parse(text))) == 2


def test_a_failed_microbenchmark_is_an_error():
    text = json.dumps({"benchmarks": [
        {"name": "seal", "error_occurred": True, "error_message": "no such cipher"}]})
    with pytest.raises(LabError, match="no such cipher"):
        micro.parse(text)


def test_microbenchmarks_are_found_by_either_name(tmp_path):
    for name in ("bench_esp", "pfsync_bench", "encsyncd"):
        (tmp_path / name).touch()
    assert set(micro.programs(tmp_path)) == {"esp", "pfsync"}
    assert micro.find(tmp_path, "codec").name == "pfsync_bench"
    with pytest.raises(LabError, match="built are: esp, pfsync"):
        micro.find(tmp_path, "state")


def engine_results() -> list[dict]:
    repair = dict(bytes=80.0, messages=8.0, seconds=2.5, asked_for=100.0, bulks=0.0,
                  bulk_bytes=900.0, bulk_messages=90.0)
    return [
        {"name": "Churn/0", "nanoseconds": 1.0, "items_per_second": 9.0, "bytes_per_change": 1.0},
        {"name": "Churn/200000", "nanoseconds": 1.0, "items_per_second": 7.0,
         "bytes_per_change": 120.0},
        {"name": "Bulk/200000", "nanoseconds": 1.0, "items_per_second": 5.0},
        {"name": "Repair/1000000/iterations:1", "nanoseconds": 1.0, **repair},
        {"name": "Sums/1000000", "nanoseconds": 74.0},
    ]


def test_what_the_engine_does_is_taken_from_its_microbenchmarks():
    found = engine.figures(engine_results())
    assert found["changes_per_second"] == 7.0
    assert found["repair"]["differences"] == 100
    assert (found["repair"]["bytes"], found["repair"]["bulk_bytes"]) == (80.0, 900.0)


def test_a_figure_of_the_engine_that_is_missing_is_an_error():
    with pytest.raises(LabError, match="nothing of Repair/1000000"):
        engine.figures([r for r in engine_results() if not r["name"].startswith("Repair")])


def test_unknown_names_are_refused():
    with pytest.raises(LabError, match="no microbenchmark is called nonsense"):
        command.run_micro(["nonsense"])
    with pytest.raises(SystemExit):
        command.arguments(["--rounds", "0"])


class Lossy(Bench):
    """A bench whose bursts lose flows above a certain rate."""

    def __init__(self, keeps_up_to: float):
        self.keeps_up_to = keeps_up_to
        self.paces = []

    def start_empty(self, system):
        pass

    def burst(self, system, flows, rate):
        offered = rate or 100_000.0
        self.paces.append(offered)
        lost = 0 if offered <= self.keeps_up_to else 7
        return {"lost": lost, "offered_per_second": offered}


def test_a_lossy_burst_is_offered_again_slower():
    lossy = Lossy(keeps_up_to=30_000)
    burst, lost_before = lossy._burst_without_loss(None, FLOWS)
    assert lossy.paces == [100_000, 50_000, 25_000]
    assert (burst["lost"], lost_before) == (0, 14)


def test_whoever_always_loses_is_not_tried_for_ever():
    lossy = Lossy(keeps_up_to=0)
    burst, lost_before = lossy._burst_without_loss(None, FLOWS)
    assert len(lossy.paces) == ATTEMPTS
    assert burst["lost"] + lost_before == 7 * ATTEMPTS


# ---- the lab ---------------------------------------------------------------------------------

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")
needs_tools = pytest.mark.skipif(
    not Tools(bin_dir()).flood.exists(), reason="lab_flood and lab_tables are not built"
)


@pytest.fixture(scope="module")
def lab():
    with topology.Limits(FLOWS), Lab() as made:
        topology.build(made)
        yield made


@pytest.fixture
def bench(lab):
    for name in topology.FIREWALLS:
        lab.nodes[name].run("conntrack", "-F")
    return Bench(lab, Tools(bin_dir()), lambda line: None)


def tables(lab, *more) -> dict:
    paths = [NETNS_DIR / lab.nodes[name].netns for name in topology.FIREWALLS]
    return json.loads(lab.nodes["mickey"].run(Tools(bin_dir()).tables, *paths, *more).stdout)


def entry(node, port, reply_to="10.64.0.9"):
    node.run(
        *("conntrack", "-I", "-p", "udp", "-t", "600", "-s", "10.64.0.9", "-d", "198.18.0.9"),
        *("--sport", port, "--dport", 53, "-r", "198.18.0.9", "-q", reply_to),
        *("--reply-port-src", 53, "--reply-port-dst", port),
    )


@needs_root
@needs_tools
def test_tables_tell_a_copy_from_a_likeness(lab, bench):
    mickey, minnie = (lab.nodes[name] for name in topology.FIREWALLS)
    entry(mickey, 1001)
    entry(mickey, 1002)
    entry(minnie, 1001)
    entry(minnie, 1003)
    assert {k: tables(lab)[k] for k in ("flows", "lost", "extra")} == {
        "flows": 2, "lost": 1, "extra": 1}
    # The same client and server, but replies have another destination.
    entry(minnie, 1002, reply_to="10.64.0.10")
    assert tables(lab)["lost"] == 1
    minnie.run("conntrack", "-D", "-p", "udp", "--sport", 1002)
    entry(minnie, 1002)
    seen = tables(lab)
    assert (seen["flows"], seen["lost"], seen["extra"]) == (2, 0, 1)
    assert seen["latency_us"]["p50"] > 0
    assert tables(lab, "--since", seen["last_ns"])["flows"] == 0


@needs_root
@needs_tools
@pytest.mark.parametrize("kind", Load.KINDS)
def test_every_flow_of_the_load_is_a_new_entry(lab, bench, kind):
    count = topology.FlowCount(lab.nodes["mickey"])
    load = Load(lab, Tools(bin_dir()), kind)
    load.offer(FLOWS + 1, senders=2)
    load.offer(FLOWS, rate=20_000)
    assert count() == 2 * FLOWS + 1


@needs_root
@needs_tools
def test_entries_that_are_there_already_fail_the_load(lab, bench):
    Load(lab, Tools(bin_dir()), "entries").offer(FLOWS)
    with pytest.raises(LabError, match="File exists"):
        Load(lab, Tools(bin_dir()), "entries").offer(FLOWS)


@needs_root
@needs_tools
def test_without_synchronization_all_is_lost(lab, bench):
    seen = bench.offer_without_watching(systems.Nothing(lab), FLOWS)
    assert (seen["flows"], seen["lost"]) == (FLOWS, FLOWS)
    with pytest.raises(LabError, match="nothing brought no flow over"):
        bench.round(systems.Nothing(lab), FLOWS)


@needs_root
@needs_tools
@pytest.mark.parametrize("make", [systems.Conntrackd, systems.Encsync])
def test_a_round(lab, bench, make):
    system = make(lab)
    if why := system.available():
        pytest.skip(why)
    figures = bench.round(system, FLOWS)
    assert figures["lost"] == 0
    assert set(a_round()) <= set(figures)
    for key in ("flows_per_second", "wire_bytes_per_flow", "latency_p50_us", "bulk_seconds"):
        assert figures[key] > 0
    assert figures["latency_p50_us"] <= figures["latency_p99_us"]
    assert not system.processes  # both have ended


@needs_root
def test_limits_are_put_back():
    file = topology.SYSCTLS / "nf_conntrack_max"
    before = int(file.read_text())
    with pytest.raises(RuntimeError, match="in between"):
        with topology.Limits(before):
            assert int(file.read_text()) == 4 * before
            raise RuntimeError("in between")
    assert int(file.read_text()) == before
