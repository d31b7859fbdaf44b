# SPDX-License-Identifier: ISC
"""Through all transitions of both nodes no protocol 240 leaves in clear, and none that arrives in clear
counts. All the time a program on each node tries to send it, another host sends it to each, and every
interface is watched. The control: the same programs see and are seen before the first start, and again
at the end, when the ruleset is gone."""

from __future__ import annotations

import os
import re
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


class Watch:
    """What left, and what was received, on both nodes."""

    # What each says of a packet that passes, of both families.
    SAYS = {"watch": {"sync 4", "sync 6"}, "receive": {"4", "6"}, "leave": {"4", "6"}}

    def __init__(self, pair):
        self.processes, self.senders = [], []
        for node, other in (pair.firewalls[:2], pair.firewalls[1::-1]):
            ends = SYNC[node.name], SYNC[other.name], forged.SIX[node.name], forged.SIX[other.name]
            self.processes += [begin(node, "watch"), begin(node, "receive"),
                               begin(node, "leave", "0.01", *ends)]
            self.senders.append(begin(pair.mallory, "flood", "0.005", *ends))
        self.skipped = [1] * len(self.processes)

    def said(self) -> list[set[str]]:
        """By each process since the last skip(); of a packet received its family."""
        lines = [process.output().splitlines()[skipped:]
                 for process, skipped in zip(self.processes, self.skipped)]
        return [{line.split()[0] if process.name == "receive" else line for line in said}
                for process, said in zip(self.processes, lines)]

    def skip(self) -> None:
        """What left until now; they may be late with saying it."""
        self.skipped = []

        def silent() -> bool:
            before = self.skipped
            self.skipped = [len(process.output().splitlines()) for process in self.processes]
            return self.skipped == before

        wait_for(silent, 20, "nothing more to leave or arrive", poll=1)

    def all_see(self) -> bool:
        return all(said >= self.SAYS[process.name]
                   for process, said in zip(self.processes, self.said()))

    def alive(self) -> bool:
        return all(process.running for process in self.processes + self.senders)


@pytest.fixture(scope="module")
def watched(lab):
    pair = FirewallPair(lab)
    for node, interface in ((pair.mickey, "sync"), (pair.minnie, "sync"), (pair.mallory, "eth0")):
        node.ip(f"addr add {forged.SIX[node.name]}/64 dev {interface} nodad")
    instances = sync.equip(pair)
    watch = Watch(pair)
    wait_for(watch.all_see, 15, "clear packets to leave and arrive everywhere")  # control
    for instance in instances:
        instance.start()
    sync.wait_settled(*instances)
    return Transitions(pair, instances, watch)


class Transitions:
    def __init__(self, pair, instances, watch):
        self.pair, self.instances, self.watch = pair, instances, watch
        self.wait_counted()
        watch.skip()

    def wait_counted(self) -> None:
        """What is sent from now on was refused, on both nodes."""
        before = [sum(instance.refused().values()) for instance in self.instances]
        for instance, was in zip(self.instances, before):
            wait_for(lambda: sum(instance.refused().values()) > was + 40, 10,
                     f"forged packets to be counted by {instance.name}")

    def closed(self, what: str) -> None:
        assert not any(self.watch.said()), f"{what}: {self.watch.said()}"
        assert self.watch.alive(), what

    def in_step(self, what: str) -> None:
        sync.wait_in_step(*self.instances, timeout=60)
        self.wait_counted()
        self.closed(what)

    def nothing_counted(self) -> None:
        for instance in self.instances:
            assert not [f for f in conntrack.table(instance.node) if f.involves(FORGED_INSIDE)]
            assert '"10.66.' not in instance.states_text()


def test_every_transition(watched):
    pair, (mickey, minnie), closed, in_step = (watched.pair, watched.instances, watched.closed,
                                               watched.in_step)
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
    minnie.command("keys", "ppk", "forget", "mickey")  # mickey has forgotten it with the key
    mickey.trust(minnie.node.dir / "minnie.pub")
    in_step("trusted again")
    (charon,) = mickey.charons()
    with open(f"/proc/{charon}/status") as file:
        launcher = next(int(line.split()[1]) for line in file if line.startswith("PPid"))
    os.kill(launcher, signal.SIGKILL)
    assert mickey.daemon.wait() == 1
    closed("the launcher killed")
    mickey.start()
    closed("starting")
    in_step("started again")
    mickey.kill()
    closed("encsyncd killed")
    mickey.start()
    in_step("started after that")
    for instance in watched.instances:
        instance.stop()
    closed("stopped")
    for instance in watched.instances:
        instance.start()
    in_step("both started")
    watched.nothing_counted()


def test_enc0_shows_tcpdump_what_nobody_else_gets(watched):
    """The copies for tcpdump come as packets of no known protocol."""
    pair = watched.pair
    tcpdump = pair.mickey.start("tcpdump", "-i", "enc0", "-n", "-l", "--immediate-mode", "proto", "240")
    wait_for(lambda: "listening on" in tcpdump.errors(), 10, "tcpdump to listen")
    conntrack.insert(pair.minnie, "10.0.0.32", SERVER[0], 2002, 443)
    shown = f"{SYNC['minnie']} > {SYNC['mickey']}:"
    wait_for(lambda: shown in tcpdump.output(), 10, "enc0 to show minnie's states")
    watched.in_step("enc0 watched")
    tcpdump.stop()
    watched.nothing_counted()


def test_a_ruleset_that_is_flushed(watched):
    """Whoever may flush it opens the door to other programs until it is put back. encsyncd itself takes
    nothing by it: it has no socket for clear packets."""
    pair, mickey = watched.pair, watched.instances[0]
    pair.mickey.run("nft", "flush", "ruleset")
    wait_for(lambda: "inet encsync" in pair.mickey.run("nft", "list", "tables").stdout, 10,
             "the ruleset to be put back")
    watched.wait_counted()
    watched.watch.skip()
    watched.in_step("put back")
    watched.nothing_counted()
    assert mickey.command("policy", "verify").returncode == 0


def test_the_watchers_were_awake_all_the_time(watched):
    """The last control: the ruleset outlives encsyncd, and once it is gone, each of them sees."""
    for instance in watched.instances:
        instance.stop()
    watched.closed("stopped at the end")
    for node in watched.pair.firewalls[:2]:
        for table in re.findall(r"table (\S+ \S*encsync\S*)", node.run("nft", "list", "tables").stdout):
            node.run("nft", "delete", "table", *table.split())
    wait_for(watched.watch.all_see, 15, "clear packets to leave and arrive everywhere")
