# SPDX-License-Identifier: ISC
"""Through all transitions of both nodes no protocol 240 leaves in clear, and none that arrives in clear
counts. All the time a program on each node tries to send it, another host sends it to each, and every
interface is watched. The same programs before the first start are the control."""

from __future__ import annotations

import os
import signal

import pytest

import conntrack
import forged
import sync
from lab import PYTHON, wait_for
from mallory import FORGED_INSIDE
from pair import SERVER, SYNC, FirewallPair

pytestmark = pytest.mark.daemon


def begin(node, *words: str):
    process = node.start(PYTHON, forged.__file__, *words, name=words[0])
    wait_for(process.output, 10, f"{words[0]} to begin")
    return process


def said(process) -> list[str]:
    return process.output().splitlines()[1:]


class Watch:
    """What left, and what was received, on both nodes."""

    def __init__(self, pair):
        self.pair = pair
        self.processes = []
        for node, other in (pair.firewalls[:2], pair.firewalls[1::-1]):
            self.processes += [begin(node, "watch"), begin(node, "receive"),
                               begin(node, "leave", SYNC[node.name], SYNC[other.name])]

    def __enter__(self):
        self.forgers = [begin(self.pair.mallory, "flood", SYNC[a], SYNC[b])
                        for a, b in (("mickey", "minnie"), ("minnie", "mickey"))]
        return self

    def __exit__(self, *_exception):
        for process in self.forgers + self.processes:
            process.kill()

    def found(self) -> list[list[str]]:
        return [said(process) for process in self.processes]


@pytest.fixture(scope="module")
def watched(lab):
    """Both nodes with encsync started once, so that their rulesets are there."""
    pair = FirewallPair(lab)
    instances = sync.equip(pair)
    with Watch(pair) as before:  # control: nothing protects them yet
        wait_for(lambda: all(before.found()), 15, "clear packets to leave and arrive everywhere")
    for instance in instances:
        instance.start()
    sync.wait_in_step(*instances)
    with Watch(pair) as watch:
        yield pair, instances, watch


def test_every_transition(watched):
    pair, (mickey, minnie), watch = watched
    both = mickey, minnie

    def counted() -> int:
        return sum(mickey.refused().values())

    def closed(what: str) -> None:
        found = watch.found()
        assert not any(found), f"{what}: {found}"
        assert all(forger.running for forger in watch.forgers)

    def in_step(what: str) -> None:
        sync.wait_in_step(*both, timeout=60)
        before = counted()
        wait_for(lambda: counted() > before + 20, 10, "forged packets to be counted")
        closed(what)

    in_step("running")
    mickey.each["minnie"] = {"lifepackets": "100000"}
    mickey.reload()
    in_step("reload")
    (charon,) = mickey.charons()
    os.kill(charon, signal.SIGKILL)
    wait_for(lambda: mickey.charons() not in ([], [charon]), 15, "another charon")
    in_step("charon killed")
    mickey.command("keys", "forget", "minnie")
    wait_for(lambda: mickey.peer("minnie")["state"] != "up", 30, "the peer to be cut off")
    conntrack.insert(pair.mickey, "10.0.0.31", SERVER[0], 2001, 443)  # which wants to be sent
    closed("a key forgotten")
    mickey.trust(minnie.node.dir / "minnie.pub")
    in_step("trusted again")
    (charon,) = mickey.charons()
    with open(f"/proc/{charon}/status") as file:
        launcher = next(int(line.split()[1]) for line in file if line.startswith("PPid"))
    os.kill(launcher, signal.SIGKILL)
    assert mickey.daemon.wait(30) == 1
    closed("the launcher killed")
    mickey.start()
    closed("starting")
    in_step("started again")
    mickey.kill()
    closed("encsyncd killed")
    mickey.start()
    in_step("started after that")
    for instance in both:
        instance.stop()
    closed("stopped")
    for instance in both:
        instance.start()
    in_step("both started")
    for node in pair.firewalls[:2]:
        assert not [f for f in conntrack.table(node) if f.involves(FORGED_INSIDE)]


def test_a_ruleset_that_is_flushed(watched):
    """Whoever may flush it opens the door to other programs until it is put back. encsyncd itself takes
    nothing by it: it has no socket for clear packets."""
    pair, instances, _ = watched
    pair.mickey.run("nft", "flush", "ruleset")
    wait_for(lambda: "encsync" in pair.mickey.run("nft", "list", "tables").stdout, 10,
             "the ruleset to be put back")
    sync.wait_in_step(*instances, timeout=60)
    assert not [f for f in conntrack.table(pair.mickey) if f.involves(FORGED_INSIDE)]
    assert '"10.66.' not in instances[0].states_text()
    assert instances[0].command("policy", "verify").returncode == 0
