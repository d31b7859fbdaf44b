# SPDX-License-Identifier: ISC
"""The alert rules and the dashboard: what they ask for exists, each alert fires for its reason and is
silent without it, and the trouble table in docs/operation.md names each."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from conftest import REPOSITORY
from promtool import promtool

RULES = "usr/local/share/encsync/prometheus/encsync.rules.yml"
DASHBOARD = "usr/local/share/encsync/grafana/encsync.json"
METRIC = re.compile(r"\bencsync_\w+")
DAY = 86400

NODE = 'job="encsync", instance="mickey"'
PEER = f'{NODE}, peer="minnie"'
UP, DOWN = f"encsync_peer_up{{{PEER}}} 1", f"encsync_peer_up{{{PEER}}} 0"


def failed(reason: str, *also: str) -> tuple[list[str], list[str]]:
    """Negotiations that fail, with the peer down; and up, when anyone may have caused them."""
    series = f'encsync_peer_ike_failed_total{{{PEER}, reason="{reason}"}}'
    return [f"{series} 0+1x60", DOWN], [f"{series} 0+1x60", UP]


def gauge(name: str, labels: str, firing: float = 1, silent: float = 0):
    series = f"encsync_{name}{{{labels}}}"
    return [f"{series} {firing}"], [f"{series} {silent}"]


def counter(name: str, labels: str):
    """That counts, and that has counted once long ago."""
    series = f"encsync_{name}_total{{{labels}}}"
    return [f"{series} 0+3x60"], [f"{series} 3"]


def complaint(name: str):
    return gauge("machine_complaint", f'{NODE}, name="{name}"')


# Series with which the alert fires, and some like them with which it does not. A value without
# an expansion stays for an hour.
DROPPED = f'encsync_refused_total{{{NODE}, reason="dropped_in_kernel"}}'
CASES = {
    "EncsyncDown": ([f"up{{{NODE}}} 0"], [f"up{{{NODE}}} 1", 'up{job="other"} 0']),
    "EncsyncNotReady": gauge("unready", f'{NODE}, reason="no_room"'),
    "EncsyncRulesetMissing": gauge("ruleset_in_place", NODE, firing=0, silent=1),
    "EncsyncOutsideTunnel": (
        counter("refused", f'{NODE}, reason="not_through_tunnel_in"')[0],
        counter("refused", f'{NODE}, reason="unknown_spi"')[0]
        + counter("refused", f'{NODE}, reason="wrong_mac"')[1]),
    "EncsyncStrangers": counter("refused", f'{NODE}, reason="unknown_source"'),
    "EncsyncCharonRestarts": counter("charon_restarts", NODE),
    "EncsyncRolesConflict": gauge("role_conflict", NODE),
    "EncsyncNodeNotHeard": gauge("missing_edges", NODE),
    "EncsyncIdentityOverdue": gauge("identity_overdue", NODE),
    # promtool's time begins with 1970.
    "EncsyncCertificateExpires": gauge("certificate_not_after_timestamp_seconds",
                                       f'{NODE}, file="ca.pem"', 29 * DAY, 31 * DAY),
    "EncsyncCertificateExpired": gauge("certificate_not_after_timestamp_seconds",
                                       f'{NODE}, file="ca.pem"', 60, 2 * DAY),
    "EncsyncEventsOff": complaint("nf_conntrack_events"),
    "EncsyncTableTooSmall": complaint("nf_conntrack_max"),
    "EncsyncFewBuckets": complaint("nf_conntrack_buckets"),
    "EncsyncTrackingDiffers": complaint("nf_conntrack_tcp_be_liberal"),
    "EncsyncReversePathDrops": complaint("rp_filter"),
    "EncsyncTableChangedByOthers": complaint("removed_by_others"),
    "EncsyncNatClash": counter("table_clashes", NODE),
    "EncsyncEventsLost": counter("table_overruns", NODE),
    "EncsyncPeerDown": ([DOWN], [UP]),
    "EncsyncAuthenticationFails": failed("authentication"),
    "EncsyncNoProposal": failed("no_proposal"),
    "EncsyncPeerDoesNotAnswer": failed("no_answer"),
    "EncsyncFlooded": counter("peer_ike_failed", f'{PEER}, reason="flooded"'),
    "EncsyncUdpFlood": ([f'{DROPPED} 0+120000x60'], [f'{DROPPED} 0+600x60']),
    "EncsyncPeerSilent": ([DOWN, f'encsync_peer_sa_age_seconds{{{PEER}, direction="out"}} 60+60x60'],
                          [DOWN, f'encsync_peer_sa_age_seconds{{{PEER}, direction="out"}} 1']),
    "EncsyncPeerNotUnderstood": gauge("peer_not_understood", PEER),
    "EncsyncPacketsRewritten": (
        counter("peer_refused", f'{PEER}, reason="bad_ttl"')[0],
        counter("peer_refused", f'{PEER}, reason="stale"')[0]),
    "EncsyncTakenForPf": gauge("peer_taken_for_pf", PEER),
    "EncsyncOtherDialect": counter("peer_relay_other_wire", PEER),
    "EncsyncLoop": counter("peer_relay_looped", PEER),
    "EncsyncLag": gauge("peer_lag_seconds", PEER, 6, 1),
    "EncsyncBulkStuck": gauge("peer_bulk_arriving", PEER),
    "EncsyncNoRoom": gauge("peer_missing_states", f'{PEER}, reason="no_room"', 17, 0),
    "EncsyncStatesMissing": (
        gauge("peer_missing_states", f'{PEER}, reason="vanished"', 17)[0],
        gauge("peer_missing_states", f'{PEER}, reason="no_room"', 17)[0]),
    "EncsyncPathMtu": (
        [f"encsync_peer_mtu_bytes{{{PEER}}} 1400", f"encsync_peer_mtu_configured_bytes{{{PEER}}} 1500"],
        [f"encsync_peer_mtu_bytes{{{PEER}}} 1500", f"encsync_peer_mtu_configured_bytes{{{PEER}}} 1500"]),
}


def documented() -> set[str]:
    """All metrics, by the tables of docs/metrics.md, which a unit test compares with the program."""
    page = (REPOSITORY / "docs/metrics.md").read_text()
    return set(re.findall(r"^\| `(encsync_\w+)` \|", page, re.M))


@pytest.fixture(scope="module")
def rules(destdir) -> Path:
    return destdir / RULES


@pytest.fixture(scope="module")
def alerts(rules) -> list[dict]:
    (group,) = yaml.safe_load(rules.read_text())["groups"]
    return group["rules"]


def series_of(lines: list[str]) -> list[dict]:
    found = []
    for line in lines:
        series, _, values = line.rpartition(" ")
        found.append({"series": series,
                      "values": values if "x" in values else f"{values}+0x60"})
    return found


def silent_test(alert: str, lines: list[str]) -> dict:
    return {"interval": "1m", "input_series": series_of(lines),
            "alert_rule_test": [{"eval_time": "30m", "alertname": alert, "exp_alerts": []}]}


def run_tests(rules: Path, scratch: Path, tests: list[dict]) -> subprocess.CompletedProcess:
    """All at once: promtool takes longer to start than to test."""
    file = scratch / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(rules)], "tests": tests}))
    return promtool("test", "rules", file)


def test_the_rules_are_good(rules, alerts, tmp_path):
    done = promtool("check", "rules", rules)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {alert["labels"]["severity"] for alert in alerts} == {"critical", "warning", "info"}
    bad = tmp_path / "bad.yml"
    bad.write_text(rules.read_text().replace("== 0", "=== 0"))
    assert promtool("check", "rules", bad).returncode != 0


def test_each_alert_has_a_case(alerts):
    assert [alert["alert"] for alert in alerts] == list(CASES)


def test_they_are_silent_where_nothing_is_wrong(rules, tmp_path):
    tests = [silent_test(alert, silent) for alert, (_, silent) in CASES.items()]
    done = run_tests(rules, tmp_path, tests)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_fires(rules, alerts, tmp_path):
    """promtool is told that all are silent, and shows what it got instead."""
    tests = [silent_test(alert, lines) for alert, (lines, _) in CASES.items()]
    done = run_tests(rules, tmp_path, tests)
    said = re.split(r"alertname: *(\w+), *time: 30m,", done.stdout + done.stderr)
    got = dict(zip(said[1::2], said[2::2]))
    assert list(got) == list(CASES), done.stdout + done.stderr
    for rule in alerts:
        text = got[rule["alert"]]
        assert f'severity="{rule["labels"]["severity"]}"' in text
        # The summary says of whom it is, and names no label that is not there.
        summary = re.search(r'summary="([^}]*)"', text)[1]
        assert "mickey" in summary or "minnie" in summary or "{{" not in rule["annotations"]["summary"]
        assert "no value" not in text and "error" not in summary, text


def test_queries_name_metrics_that_exist(alerts, destdir):
    known = documented()
    assert len(known) > 100
    stems = known | {f"{name}_{part}" for name in known if "latency" in name
                     for part in ("bucket", "sum", "count")}
    dashboard = json.loads((destdir / DASHBOARD).read_text())
    queries = {alert["alert"]: alert["expr"] for alert in alerts}
    queries |= {f'{panel["title"]}: {target["legendFormat"]}': target["expr"]
                for panel in dashboard["panels"] for target in panel.get("targets", [])}
    queries |= {variable["name"]: variable["definition"]
                for variable in dashboard["templating"]["list"] if "definition" in variable}
    for name, query in queries.items():
        asked = set(METRIC.findall(query))
        assert asked <= stems, name
        assert asked or name == "EncsyncDown"


def test_the_dashboard_can_be_shown(destdir, tmp_path):
    """Its queries are PromQL, by making a rule of each; no two panels lie on each other."""
    dashboard = json.loads((destdir / DASHBOARD).read_text())
    exprs = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(exprs) > 20
    recorded = [{"record": f"panel:{n}", "expr": expr.replace("$__rate_interval", "5m")}
                for n, expr in enumerate(exprs)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    done = promtool("check", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    cells = [(x, y) for place in places for x in range(place["x"], place["x"] + place["w"])
             for y in range(place["y"], place["y"] + place["h"])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def test_each_alert_is_in_the_documentation(alerts):
    page = (REPOSITORY / "docs/operation.md").read_text()
    named = set(re.findall(r"`(Encsync\w+)`", page))
    assert named == {alert["alert"] for alert in alerts}
