# SPDX-License-Identifier: ISC
"""Two firewalls that have encsync from the package: set up by the commands that it says, upgraded and
downgraded under load, one node after the other."""

from __future__ import annotations

import json
import re

import pytest

import conntrack
import sync
from lab import wait_for
from machine import Machine
from pair import SERVER, SYNC
from traffic import Sessions

OTHER = {"mickey": "minnie", "minnie": "mickey"}


def status(machine: Machine) -> dict:
    return json.loads(machine.run("encsync", "status", "--json").stdout)


def wait_ready(*machines: Machine) -> None:
    for machine in machines:
        wait_for(lambda: machine.run("encsync", "status", "--ready", check=False).returncode == 0,
                 30, f"{machine.node.name} to be ready", poll=0.3)


def set_up(machines: list[Machine]) -> None:
    """encsync setup on both at once, as two people do it."""
    screens = []
    for machine in machines:
        name, other = machine.node.name, OTHER[machine.node.name]
        setup = ("encsync", "setup", "--node", name, "--peer", other, "--right", SYNC[other], "--pair")
        screens.append(machine.node.start(*machine.argv(*setup), name="setup", stdin=True))
    assert len({sync.code_shown(screen) for screen in screens}) == 1
    for screen in screens:
        screen.say("yes")
    for screen in screens:
        assert screen.wait() == 0, screen.last_words()


@pytest.fixture(scope="module")
def machines(pair, root, packages):
    """In step, with keepalived; mickey is active."""
    for node in (pair.mickey, pair.minnie):
        node.sysctl({"net/netfilter/nf_conntrack_events": 1})
    both = [Machine(node, root, packages) for node in (pair.mickey, pair.minnie)]
    for machine in both:
        said = machine.apt("install", "/packages/encsync.deb").stdout
        starter, setup, start, _ = re.findall(r"^  \d\. (.*?)(?:   .*)?$", said, re.M)
        machine.run(*starter.split())
        assert setup == "encsync setup"
    set_up(both)
    for machine in both:
        machine.run(*start.split())
    wait_ready(*both)
    promote(pair, both[0])
    pair.wait_owner(pair.mickey)
    promote(pair, both[1])
    wait_for(lambda: [status(machine)["role"] for machine in both] == ["active", "standby"], 10,
             "keepalived to tell both their roles")
    yield both
    for machine in both:
        machine.end()


def promote(pair, machine: Machine) -> None:
    """keepalived beside the machine, with the check of conf/keepalived.conf in it."""
    check = "'grep -qx active /run/encsync/role || encsync status --ready'"
    pair.start_keepalived(machine.node, ready=machine.argv("sh", "-c", check),
                          role=machine.argv("encsync", "role"))


def same_flows(pair) -> bool:
    a, b = (conntrack.keys(pair.flows(node)) for node in (pair.mickey, pair.minnie))
    return bool(a) and a == b


def versions(machines) -> list[str]:
    return [machine.run("dpkg-query", "-W", "-f", "${Version}", "encsync").stdout
            for machine in machines]


def test_the_commands_that_it_says_make_a_pair(machines, pair):
    conntrack.insert(pair.mickey, "10.0.0.10", SERVER[0], 1, 2)
    wait_for(lambda: conntrack.keys(pair.flows(pair.minnie)), 10, "the flow to arrive")
    for machine in machines:
        assert status(machine)["ready"]
        machine.run("encsync", "doctor")  # fails if anything is bad
        # What systemd really takes away, of the process as it runs.
        pid = machine.run("systemctl", "show", "-P", "MainPID", "encsync").stdout.strip()
        held = machine.run("cat", f"/proc/{pid}/status").stdout
        assert re.search(r"^NoNewPrivs:\t1$", held, re.M) and re.search(r"^Seccomp:\t2$", held, re.M)


def test_an_upgrade_of_one_after_the_other_loses_nothing(machines, pair):
    mickey, minnie = machines
    before = versions(machines)
    sessions = Sessions(pair, rate=200_000)  # the download lasts until after the takeover
    sessions.start()
    try:
        load = sessions.start_flows(20_000, 300)
        for machine in (minnie, mickey):  # the active one last
            was = machine.run("systemctl", "show", "-P", "MainPID", "encsync").stdout
            machine.apt("install", "/packages/encsync_99.deb")
            assert machine.active()
            assert machine.run("systemctl", "show", "-P", "MainPID", "encsync").stdout != was
            wait_ready(*machines)
            assert pair.owner() is pair.mickey
        assert versions(machines) == ["99", "99"] != before
        assert load.process.running, "the load has ended too early"
        assert load.wait("flows", 120)["answered"] == 20_000
        wait_for(lambda: same_flows(pair), 30, "the same flows on both")
        pair.keepalived["mickey"].stop()
        pair.wait_owner(pair.minnie)
        sessions.hurry()
        outcome = sessions.finish()
        assert outcome.ok, outcome
    finally:
        sessions.stop()


def test_a_downgrade_goes_as_well(machines, pair):
    for machine in machines:
        machine.apt("install", "--allow-downgrades", "/packages/encsync.deb")
    assert "99" not in versions(machines)
    wait_ready(*machines)
    wait_for(lambda: same_flows(pair), 30, "the same flows on both")
