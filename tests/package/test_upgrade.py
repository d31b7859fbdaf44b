# SPDX-License-Identifier: ISC
"""Two firewalls that have encsync from the package: set up by the commands that it says, upgraded and
downgraded under load, one node after the other."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

import conntrack
from lab import wait_for
from machine import Machine
from pair import SERVER, SYNC, VIP_INSIDE, VIP_OUTSIDE
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
    screens = [subprocess.Popen(
        machine.argv("encsync", "setup", "--node", machine.node.name, "--peer", other, "--right",
                     SYNC[other], "--pair"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for machine in machines for other in [OTHER[machine.node.name]]]
    codes = set()
    for screen in screens:
        seen = ""
        while not (found := re.search(r"^ {4}(\d{4} \d{4})$", seen, re.M)):
            line = screen.stdout.readline()
            assert line, seen
            seen += line
        codes.add(found[1])
    assert len(codes) == 1
    for screen in screens:
        screen.stdin.write("yes\n")
        screen.stdin.flush()
    for screen in screens:
        assert screen.wait(60) == 0, screen.stdout.read()


@pytest.fixture(scope="module")
def machines(pair, root, packages):
    """In step, mickey active, with the addresses of the clients' and the server's gateway."""
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
    move_to(pair, both[0], both[1])
    yield both
    for machine in both:
        machine.end()


def move_to(pair, there: Machine, here: Machine) -> None:
    """What keepalived would do."""
    addresses = ((VIP_INSIDE, "inside"), (VIP_OUTSIDE, "outside"))
    here.run("encsync", "role", "standby")
    for vips, side in addresses:
        for vip in vips:
            length = 64 if ":" in vip else 24
            if vip in here.node.addresses(side):
                here.node.ip(f"addr del {vip}/{length} dev {side}")
            there.node.ip(f"addr add {vip}/{length} dev {side} nodad")
    there.run("encsync", "role", "active")
    # The switches and the hosts hear of it, as by keepalived's announcements.
    for node, vip, side in ((pair.client, VIP_INSIDE, "inside"), (pair.server, VIP_OUTSIDE, "outside")):
        mac = there.node.mac(side)
        for address in vip:
            node.ip(f"neigh replace {address} lladdr {mac} dev eth0 nud reachable")


def same_flows(pair) -> bool:
    a, b = (conntrack.keys(pair.flows(node)) for node in (pair.mickey, pair.minnie))
    return bool(a) and a == b


def versions(machines) -> list[str]:
    return [machine.run("dpkg-query", "-W", "-f", "${Version}", "encsync").stdout
            for machine in machines]


def test_the_commands_that_it_says_make_a_pair(machines, pair):
    mickey, minnie = machines
    conntrack.insert(pair.mickey, "10.0.0.10", SERVER[0], 1, 2)
    wait_for(lambda: conntrack.keys(pair.flows(pair.minnie)), 10, "the flow to arrive")
    for machine in machines:
        assert status(machine)["ready"]
        doctor = machine.run("encsync", "doctor", check=False)
        assert "wrong" not in doctor.stdout, doctor.stdout
        # What systemd really takes away, of the process as it runs.
        pid = machine.run("systemctl", "show", "-P", "MainPID", "encsync").stdout.strip()
        held = machine.run("cat", f"/proc/{pid}/status").stdout
        assert re.search(r"^NoNewPrivs:\t1$", held, re.M) and re.search(r"^Seccomp:\t2$", held, re.M)


def test_an_upgrade_of_one_after_the_other_loses_nothing(machines, pair, packages):
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
        assert versions(machines) == ["99", "99"] != before
        assert load.process.running, "the load has ended too early"
        assert load.wait("flows", 120)["answered"] == 20_000
        wait_for(lambda: same_flows(pair), 30, "the same flows on both")
        move_to(pair, minnie, mickey)
        sessions.hurry()
        outcome = sessions.finish()
        assert outcome.ok, outcome
    finally:
        sessions.stop()
        move_to(pair, mickey, minnie)


def test_a_downgrade_goes_as_well(machines, pair):
    for machine in machines:
        machine.apt("install", "--allow-downgrades", "/packages/encsync.deb")
    assert "99" not in versions(machines)
    wait_ready(*machines)
    wait_for(lambda: same_flows(pair), 30, "the same flows on both")
