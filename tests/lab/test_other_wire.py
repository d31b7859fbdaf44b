# SPDX-License-Identifier: ISC
"""A pf firewall behind a gateway comes back as another system, or as another release of its own,
while the gateway's `wire` is still that of the old one (two_pf.py)."""

from __future__ import annotations

import pytest

import sites
from lab import wait_for
from pf_firewall import PfFirewall
from two_pf import build, wait_same

pytestmark = pytest.mark.daemon


def come_back(both: sites.Sites, wire: str) -> PfFirewall:
    """donald is switched off, and what is switched on again speaks this."""
    both.mickey.power_off()
    wait_for(lambda: not both.mickey.encsync.ready(), 10, "mickey to miss donald")
    both.mickey.wire = wire
    return both.mickey.power_on()


def error(both: sites.Sites) -> str:
    return both.mickey.encsync.peer("donald")["last_error"]


def set_wire(both: sites.Sites, wire: str) -> None:
    """What the messages ask for. The process stays."""
    mickey = both.mickey.encsync
    pid = mickey.daemon.pid
    mickey.each["donald"]["wire"] = wire
    mickey.reload()
    both.wait_ready()
    assert mickey.daemon.running and mickey.daemon.pid == pid
    wait_for(lambda: error(both) == "", 10, "nothing to be wrong any more")


def test_another_system(fresh):
    both = build(fresh, "openbsd")
    mickey = both.mickey.encsync
    both.mickey.pf.create(100)
    both.minnie.pf.create(100)
    wait_same(both.mickey.pf, both.minnie.pf, 200)
    before = both.minnie.pf.digest()
    # As what it was: all is well.
    donald, daisy = come_back(both, "openbsd"), both.minnie.pf
    wait_same(donald, daisy, 200)
    assert error(both) == "" and "pfsync_bad_version" not in mickey.refused()
    donald = come_back(both, "freebsd-1400")
    ours = donald.create(10)
    wrong = ("its packets are not understood: it speaks pfsync version 5 (freebsd-1400), and version "
             "6 was expected (wire=encsync or openbsd)")
    wait_for(lambda: error(both) == wrong, 20, "the version to be named")
    assert mickey.refused()["pfsync_bad_version"] > 0
    assert mickey.status()["why"] == f"peer donald: {wrong}"
    shown = mickey.command("status").stdout
    assert f"NOT ready: peer donald: {wrong}" in shown and f"donald: {wrong}" in shown
    wait_for(lambda: f"peer donald: {wrong}" in mickey.log(), 10, "it to be logged")
    assert daisy.digest() == before and donald.ids() == set(ours), "and nothing passes"
    assert donald.stats()["counts"]["badver"] > 0
    # It passes with the new wire, all of it, in both directions.
    set_wire(both, "freebsd-1400")
    wait_same(donald, daisy, 210)
    assert "peer donald: is understood now" not in mickey.log(), "it is another conn"
    daisy.create(10)
    donald.update(ours)
    donald.remove(ours[:5])
    wait_same(donald, daisy, 215)


def test_another_release(fresh):
    """FreeBSD 14 reads what 13 writes, but not the other way round."""
    both = build(fresh, "freebsd-1301")
    mickey = both.mickey.encsync
    both.mickey.pf.create(100)
    both.minnie.pf.create(100)
    wait_same(both.mickey.pf, both.minnie.pf, 200)
    assert error(both) == "" and mickey.peer("donald")["relay"]["other_wire"] == 0
    # The upgrade: named, and all passes nevertheless; daisy is still the old release.
    donald, daisy = come_back(both, "freebsd-1400"), both.minnie.pf
    donald.create(10)
    wait_same(donald, daisy, 210)
    wrong = "it sends states of freebsd-1400, and wire=freebsd-1301 here: change that, and reload"
    wait_for(lambda: error(both) == wrong, 10, "the release to be named")
    assert mickey.ready() and mickey.peer("donald")["relay"]["other_wire"] >= 10
    wait_for(lambda: f"peer donald: {wrong}" in mickey.log(), 10, "it to be logged")
    assert daisy.stats()["counts"].get("badact", 0) == 0
    set_wire(both, "freebsd-1400")
    donald.create(10)
    wait_same(donald, daisy, 220)
    assert mickey.peer("donald")["relay"]["other_wire"] == 0
    # The way back: it cannot read what it gets, which the reload changes.
    donald = come_back(both, "freebsd-1301")
    donald.create(10)
    wait_for(lambda: "it sends states of freebsd-1301, and wire=freebsd-1400" in error(both), 10,
             "the old release to be named")
    with pytest.raises(Exception, match="in vain"):
        wait_same(donald, daisy, 230, timeout=3)
    assert donald.stats()["counts"]["badact"] > 0 and daisy.digest()["states"] == 230
    set_wire(both, "freebsd-1301")
    wait_same(donald, daisy, 230)
