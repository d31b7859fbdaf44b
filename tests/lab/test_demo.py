# SPDX-License-Identifier: ISC
"""The demo as a user runs it: exit status, figures, and cleanup."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import pytest

import demo_gateway
from lab import NETNS_DIR, PYTHON
from mallory import Seen

DEMO = Path(__file__).parent / "demo.py"
KEYS = {"download_ok", "idle_session_ok", "udp_ok", "longest_stall_ms", "states_before",
        "states_after", "forged_sent", "forged_accepted", "clear_pfsync_packets_seen",
        "esp_packets_seen", "ok"}


@pytest.fixture(autouse=True)
def own_labs(tmp_path, monkeypatch):
    """--teardown takes down every lab that was kept: not those of a user or of another test."""
    monkeypatch.setenv("ENCSYNC_LAB_STATE_DIR", str(tmp_path / "labs"))


def run(tmp_path, *args) -> tuple[subprocess.CompletedProcess, dict]:
    figures = tmp_path / "figures.json"
    done = subprocess.run([PYTHON, DEMO, "--json", figures, *args], capture_output=True, text=True,
                          timeout=300)
    assert figures.exists(), done.stderr
    return done, json.loads(figures.read_text())


def our_namespaces() -> set[str]:
    return set(os.listdir(NETNS_DIR)) if NETNS_DIR.is_dir() else set()


def test_without_sync_the_sessions_break(tmp_path):
    done, figures = run(tmp_path, "--without-sync")
    assert done.returncode == 0, done.stdout + done.stderr
    assert KEYS <= set(figures) and figures["ok"] is True
    assert not (figures["download_ok"] or figures["idle_session_ok"] or figures["udp_ok"])
    assert figures["forged_sent"] == 1000 and figures["esp_packets_seen"] == 0
    assert figures["states_before"]["mickey"] > 100 > figures["states_before"]["minnie"]
    assert "\033" not in done.stdout  # no colours in a file
    assert "of 10 idle sessions answer" in done.stdout


@pytest.mark.daemon
def test_with_sync_nobody_notices(tmp_path):
    done, figures = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert figures["ok"] is True
    assert figures["download_ok"] and figures["idle_session_ok"] and figures["udp_ok"]
    assert figures["states_before"]["mickey"] == figures["states_before"]["minnie"] > 100
    assert figures["forged_accepted"] == 0 and figures["clear_pfsync_packets_seen"] == 0
    assert figures["esp_packets_seen"] > 0
    assert figures["return_ms"] > 0 and "Still the same download." in done.stdout
    assert figures["states_after"]["mickey"] > 0


GATEWAY_KEYS = {"states", "arrived_ms", "forged_sent", "forged_accepted", "forged_refused",
                "replayed_sent", "replayed_refused", "after_mallory", "after_power_cut", "back_ms",
                "after_outage", "outage_ms", "clear_pfsync_packets_seen", "esp_packets_seen", "ok"}


def test_gateways_without_sync_lose_all_states(tmp_path):
    done, figures = run(tmp_path, "--gateway", "--without-sync")
    assert done.returncode == 0, done.stdout + done.stderr
    assert GATEWAY_KEYS <= set(figures) and figures["ok"] is True
    assert figures["states"] == 2000 and figures["arrived_ms"] is not None
    assert figures["forged_sent"] == 1000 and figures["replayed_sent"] > 0
    assert figures["after_mallory"] == {"donald": 0, "daisy": 0}
    assert figures["clear_pfsync_packets_seen"] > 400 and figures["esp_packets_seen"] == 0
    assert "removed them, as he must" in done.stdout


@pytest.mark.daemon
def test_gateways_keep_all_states(tmp_path):
    done, figures = run(tmp_path, "--gateway")
    assert done.returncode == 0, done.stdout + done.stderr
    assert figures["ok"] is True and " NO " not in done.stdout
    assert figures["after_mallory"] == {"donald": 2000, "daisy": 2000}
    assert figures["forged_sent"] == 1000 <= figures["forged_refused"]
    assert figures["forged_accepted"] == 0 and figures["clear_pfsync_packets_seen"] == 0
    assert figures["esp_packets_seen"] > 0 and figures["replayed_refused"] > 0
    assert figures["after_power_cut"] == 2000 and figures["back_ms"] is not None
    assert figures["after_outage"] == {"donald": 2200, "daisy": 2200}


def test_a_row_that_does_not_hold_makes_it_fail():
    held = demo_gateway.Figures(
        states=2000, arrived_ms=1, forged_sent=1000, replayed_sent=9, replayed_refused=9,
        after_mallory={"donald": 2000, "daisy": 2000}, after_power_cut=2000, back_ms=1,
        outage_ms=1, seen=Seen(esp=9))
    assert held.held() and not held.broke()
    for change in ({"arrived_ms": None}, {"forged_accepted": 1}, {"replayed_refused": 0},
                   {"after_mallory": {"donald": 2000, "daisy": 1999}}, {"after_power_cut": 1999},
                   {"back_ms": None}, {"outage_ms": None}, {"frames_lost": 1},
                   {"seen": Seen(esp=9, clear_pfsync=1)}, {"seen": Seen()}):
        assert not dataclasses.replace(held, **change).held(), change


def test_kept_gateways_are_taken_down(tmp_path):
    done, _ = run(tmp_path, "--gateway", "--without-sync", "--keep")
    assert done.returncode == 0, done.stdout + done.stderr
    entry = next(line for line in done.stdout.splitlines() if "exec" in line and "donald" in line)
    name = entry.split()[3]
    # The firewall goes on without anybody who commands it.
    seen = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
    assert name in our_namespaces() and seen.stdout.split()
    down = subprocess.run([PYTHON, DEMO, "--teardown"], capture_output=True, text=True)
    assert down.returncode == 0 and name not in our_namespaces()


def test_without_the_programs_it_says_so_in_one_line(tmp_path):
    done = subprocess.run([PYTHON, DEMO], capture_output=True, text=True,
                          env={**os.environ, "ENCSYNC_BIN_DIR": str(tmp_path)})
    assert done.returncode == 2
    assert done.stderr == f"demo: no encsyncd in {tmp_path}: run ./run build first\n"


def test_kept_and_taken_down(tmp_path):
    done, _ = run(tmp_path, "--without-sync", "--keep")
    assert done.returncode == 0, done.stdout + done.stderr
    entry = next(line for line in done.stdout.splitlines() if "exec" in line and "minnie" in line)
    name = entry.split()[3]
    assert name in our_namespaces()
    seen = subprocess.run(["ip", "netns", "exec", name, "ip", "-br", "link"], capture_output=True,
                          text=True)
    assert "inside" in seen.stdout and "outside" in seen.stdout and "sync" in seen.stdout
    elsewhere = subprocess.run([PYTHON, DEMO, "--teardown"], capture_output=True, text=True,
                               env={**os.environ, "ENCSYNC_LAB_STATE_DIR": str(tmp_path / "none")})
    assert "no lab to take down" in elsewhere.stdout and name in our_namespaces()
    down = subprocess.run([PYTHON, DEMO, "--teardown"], capture_output=True, text=True)
    assert down.returncode == 0 and name.removesuffix("-minnie") in down.stdout
    assert name not in our_namespaces()
