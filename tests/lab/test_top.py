# SPDX-License-Identifier: ISC
"""The live view, `encsync top`, on a real terminal (tmux's), and bulk updates on one."""

from __future__ import annotations

import signal

import pytest

import conntrack
import sync
from lab import wait_for
from terminal import Terminal

pytestmark = [pytest.mark.daemon, pytest.mark.usefixtures("sanitized_command")]


@pytest.fixture
def terminals():
    opened: list[Terminal] = []

    def open_one(*args, **options) -> Terminal:
        opened.append(Terminal(*args, **options))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.close()


@pytest.fixture
def pair_in_step(pair, instances):
    """Both are in step, and have no flow."""
    conntrack.flush(pair.mickey)
    sync.wait_in_step(*instances)
    wait_for(lambda: all(i.status()["states"] == 0 for i in instances), 20, "empty tables")
    return pair, *instances


def test_shows_the_node_its_peer_and_what_happens(pair_in_step, terminals):
    pair, mickey, minnie = pair_in_step
    terminal = terminals(pair.mickey, mickey.argv("top"))
    screen = terminal.wait("minnie ")
    assert screen.splitlines()[0].startswith("encsync top: mickey, auto")
    assert "ready to be promoted; encsyncd" in screen
    peer = next(line for line in screen.splitlines() if line.startswith("minnie "))
    assert peer.split()[:4] == ["minnie", "up", "auto", "yes"]
    assert max(map(len, screen.splitlines())) <= 80 and len(screen.splitlines()) <= 24
    # Flows of one host, and fewer of another.
    conntrack.insert_many(pair.mickey, 30, "10.0.7", proto="udp")
    terminal.press("Space")
    terminal.wait("states 30: own 30")
    wait_for(lambda: "states 30" in terminal.screen() and "BY SOURCE" in terminal.screen(), 20,
             "talkers")
    terminal.press("t")
    terminal.wait("BY DESTINATION")
    terminal.press("t")
    assert " udp " in terminal.wait("BY SERVICE")
    # The rate of events has left its mark, and the peer has heard of them.
    assert any(block in terminal.screen() for block in "▁▂▃▄▅▆▇█")
    minnie.stop()
    terminal.wait("minnie: not in step")
    peer = next(line for line in terminal.lines() if line.startswith("minnie "))
    assert peer.split()[3] == "NO"
    minnie.start()


def test_keys_sizes_and_the_way_out(pair_in_step, terminals):
    pair, mickey, _ = pair_in_step
    terminal = terminals(pair.mickey, mickey.argv("top"), unicode=False)
    terminal.wait("every 1 s")
    terminal.press("h")
    assert "quit" in terminal.wait("ask again at once")
    terminal.press("h")
    terminal.wait("WHAT HAPPENED")
    for pause in ("2", "5", "10", "1"):
        terminal.press("d")
        terminal.wait(f"every {pause} s")
    for columns, rows in ((40, 10), (10, 3), (200, 60), (80, 24)):
        terminal.resize(columns, rows)
        wait_for(lambda: len(terminal.lines()[0]) <= columns and "encsync" in terminal.screen(),
                 20, "the picture")
    conntrack.insert_many(pair.mickey, 5, "10.0.7", proto="udp")
    wait_for(lambda: terminal.wait("events/s").split("events/s")[1].splitlines()[0].rstrip()[-1:]
             in "#.:-=+*", 20, "a mark of the events, without Unicode")
    terminal.press("q")
    assert "WHAT HAPPENED" not in terminal.wait("exit status 0")


def test_outlives_the_daemon(pair_in_step, terminals):
    pair, mickey, _ = pair_in_step
    terminal = terminals(pair.mickey, mickey.argv("top"))
    terminal.wait("minnie ")
    mickey.stop()
    terminal.wait("encsyncd is not running")
    assert "minnie " in terminal.screen()  # as it was
    mickey.start()
    terminal.wait("encsyncd answers again")
    terminal.press("C-c")
    terminal.wait("exit status")


def test_refuses_what_it_cannot_show(pair_in_step, terminals):
    pair, mickey, _ = pair_in_step
    for argv, why in (
            (mickey.argv("top"), "this is for a terminal; scripts have status --watch --json"),
            (mickey.argv("top", "--json"), "--json is not for it"),
            ([*mickey.argv()[:3], "--run-dir", "/nowhere", "top"], "encsyncd is not running")):
        refused = pair.mickey.run(*argv, check=False)
        assert refused.returncode != 0 and why in refused.stderr and refused.stdout == ""
    terminal = terminals(pair.mickey, mickey.argv("top"), kind="no-such-terminal")
    terminal.wait("the terminal is of an unknown kind: TERM=no-such-terminal")
    terminal.wait("exit status 1")


def test_talkers(pair_in_step):
    pair, mickey, _ = pair_in_step
    assert mickey.json("talkers") == []
    conntrack.insert_many(pair.mickey, 30, "10.0.7", proto="udp")
    wait_for(lambda: mickey.status()["states"] == 30, 10, "the flows")
    for by in ("source", "destination", "service"):
        found = mickey.json("talkers", "--by", by)
        assert sum(each["states"] for each in found) == 30
    assert {each["name"].split()[0] for each in found} == {"udp"}
    lines = mickey.command("talkers", "--by", "service").stdout.splitlines()
    assert lines[0].split() == ["STATES", "SHARE", "SERVICE"]
    refused = mickey.command("talkers", "--by", "weight", check=False)
    assert refused.returncode == 2 and "weight" in refused.stderr


def test_a_bulk_update_shows_how_far_it_is(pair_in_step, terminals):
    pair, mickey, minnie = pair_in_step
    conntrack.insert_many(pair.mickey, 3000, "10.0.7", proto="udp")
    wait_for(lambda: minnie.status()["states"] == 3000, 30, "the flows")
    terminal = terminals(pair.minnie, minnie.argv("bulk", "mickey"))
    assert "mickey: asked for all states" in terminal.wait("mickey: all states are here")
    terminal.wait("exit status 0")
    terminal.close()
    # A peer that says nothing more.
    mickey.signal_all(signal.SIGSTOP)
    try:
        silent = terminals(pair.minnie, minnie.argv("bulk", "mickey"))
        silent.wait("encsync: mickey: it is not up")
        silent.wait("exit status 1")
    finally:
        mickey.signal_all(signal.SIGCONT)
    sync.wait_in_step(mickey, minnie)
