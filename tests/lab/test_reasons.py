# SPDX-License-Identifier: ISC
"""Why a peer is down, and which callers were refused: one line of the log, and `encsync peers`."""

from __future__ import annotations

import re
import time

import pytest

import sync
from lab import wait_for
from pair import SYNC, FirewallPair

pytestmark = [pytest.mark.daemon, pytest.mark.usefixtures("sanitized_command")]

STRANGER = "192.168.1.9"


def lines(instance, *words: str) -> list[str]:
    return [line for line in instance.log().splitlines() if all(word in line for word in words)]


def error(instance, peer: str) -> str:
    return (instance.peer(peer) or {}).get("last_error", "")


def test_a_peer_that_vanishes_and_one_that_leaves(fresh):
    pair = FirewallPair(fresh)
    mickey, minnie = sync.equip(pair)
    for instance in (mickey, minnie):
        instance.start()
    sync.wait_settled(mickey, minnie)
    assert error(mickey, "minnie") == ""
    before = len(lines(mickey, "does not answer"))  # while minnie started
    pair.minnie.ip("link set sync down")
    wait_for(lambda: mickey.peer("minnie")["state"] == "down", 30, "the silence to be noticed")
    assert re.search(r"does not answer", error(mickey, "minnie"))
    assert mickey.command("peers").stdout.count("does not answer") == 1
    (line,) = lines(mickey, "peer minnie: down")
    assert re.search(r"does not answer \(dead peer detection\), nothing heard for \d+ s$", line)
    # Meanwhile the reason stays, and is not logged again and again.
    time.sleep(8)
    assert "does not answer" in error(mickey, "minnie")
    assert len(lines(mickey, "does not answer")) - before <= 3
    pair.minnie.ip("link set sync up")
    sync.wait_settled(mickey, minnie)  # a DELETE would not name an IKE SA that is being made
    assert error(mickey, "minnie") == ""
    # Control: it sends a DELETE.
    minnie.stop()
    wait_for(lambda: mickey.peer("minnie")["state"] != "up", 20, "the end to be noticed")
    wait_for(lambda: lines(mickey, "peer minnie: down: the peer closed its SAs"), 10, "the reason")


def test_who_is_refused_is_named_once(fresh):
    """An initiator at an unknown address, and one with minnie's address and another key."""
    pair = FirewallPair(fresh)
    mickey, minnie = sync.equip(pair, setup={"keysync": "no"})
    stranger = sync.Encsync(fresh.node("stranger"), {"minnie": SYNC["minnie"]}, left=STRANGER)
    fresh.plug(stranger.node, "sync", pair.sync_switch, f"{STRANGER}/24")
    stranger.init_keys()
    stranger.trust(minnie.export_key())
    for instance in (mickey, minnie):
        instance.start()
    sync.wait_in_step(mickey, minnie)
    assert not lines(minnie, "a caller from")
    stranger.start()
    wait_for(lambda: lines(minnie, f"a caller from {STRANGER} began IKEv2"), 20,
             "the stranger to be named")
    time.sleep(12)
    assert len(lines(minnie, STRANGER)) == 1
    assert error(minnie, "mickey") == ""
    stranger.stop()
    # mickey is restarted with an untrusted key: its SAs stay, the refusal is reported.
    old = minnie.peer("mickey")["key"]
    minnie_log = len(minnie.log())
    mickey.command("keys", "rotate", "--what", "identity")
    mickey.command("keys", "retire", "--force")
    refusal = f"a caller from {SYNC['mickey']} as 'mickey': no trusted key matches"
    wait_for(lambda: refusal in error(minnie, "mickey"), 30, "the refusal")
    assert minnie.peer("mickey")["state"] == "up" and minnie.ready()
    assert minnie.peer("mickey")["key"] == old
    time.sleep(10)
    said = minnie.log()[minnie_log:].splitlines()
    assert len([line for line in said if "no trusted key matches" in line]) == 1, said
    assert len(said) < 6, said
    minnie.trust(mickey.export_key())
    wait_for(lambda: error(minnie, "mickey") == "", 60, "the next success to clear it")
    assert minnie.peer("mickey")["key"] != old


def test_each_line_has_its_time(fresh):
    pair = FirewallPair(fresh)
    mickey, minnie = sync.equip(pair)
    mickey.start()
    time_and_name = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} encsyncd: ")
    assert mickey.log() and all(time_and_name.match(line) for line in mickey.log().splitlines())
    assert "charon IKE" not in mickey.log()
