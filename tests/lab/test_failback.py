# SPDX-License-Identifier: ISC
"""Traffic that returns: a download moves to the other firewall, and back to the first one.

The first firewall's own entry has tracked the download's sequence numbers until it moved. The
packets that return are far beyond that window and would be INVALID: not translated, and dropped.
"""

from __future__ import annotations

import re

import pytest

import sync
from lab import Node, wait_for
from pair import SERVER, VIP_INSIDE, VIP_OUTSIDE, FirewallPair
from traffic import BASE, Program

pytestmark = pytest.mark.daemon

RATE = 20_000_000
FAR = 20_000_000  # bytes: beyond the largest window that a receiver here offers


class Download:
    """An endless one, from the pair's server to its client."""

    def __init__(self, pair: FirewallPair):
        self.pair = pair
        self.server = Program(pair.server, "server", BASE[4], 1 << 40, RATE)
        self.server.wait("ready")
        self.client = Program(pair.client, "download", SERVER[0], BASE[4])
        self.passes("begins", 1_000_000)

    def got(self) -> int:
        return (self.client.last("progress") or {}).get("got", 0)

    def passes(self, where: str, amount: int = FAR) -> None:
        assert self.client.last("end") is None
        goal = self.got() + amount
        wait_for(lambda: self.got() >= goal, 60, f"the download to go on: it {where}")

    def stands_still(self, node: Node) -> None:
        """Four more of its packets are refused, and no data arrives meanwhile."""
        def refused(since: int, more: int) -> None:
            wait_for(lambda: invalid(node) >= since + more, 60, f"{node.name} to refuse packets")

        refused(0, 1)
        first, got = invalid(node), self.got()
        refused(first, 4)
        # Data that was in flight when the first packet was refused may still arrive.
        assert self.got() < got + FAR // 4
        first, got = invalid(node), self.got()
        refused(first, 1)
        assert self.got() == got

    def stop(self) -> None:
        for program in (self.client, self.server):
            program.process.kill()


def invalid(node: Node) -> int:
    """Packets that conntrack has marked invalid. They are not translated, so those of a download
    behind NAT are addressed to the firewall itself."""
    return sum(map(int, re.findall(r"\binvalid=(\d+)", node.run("conntrack", "-S").stdout)))


def serve(pair: FirewallPair, node: Node) -> None:
    """The shared addresses move to this node, as keepalived moves them."""
    for other in pair.firewalls:
        for side, vips in (("inside", VIP_INSIDE), ("outside", VIP_OUTSIDE)):
            verb = "add" if other is node else "del"
            held = vips[0] in other.addresses(side)
            if held != (other is node):
                other.ip(f"addr {verb} {vips[0]}/24 dev {side}")
    for end in (pair.client, pair.server):
        end.ip("neigh flush dev eth0")


def set_roles(instances: list[sync.Encsync], *roles: str) -> None:
    for instance, role in zip(instances, roles):
        instance.command("role", role)

    def told() -> bool:
        return all(peer["role"] == role or peer["state"] != "up"
                   for instance, role in zip(reversed(instances), roles)
                   for peer in instance.status()["peers"])

    wait_for(told, 10, "both to know each other's role")


@pytest.fixture
def download(pair):
    serve(pair, pair.mickey)
    running = Download(pair)
    yield running
    running.stop()


def test_maintenance_of_the_first_node(fresh):
    """keepalived is stopped and the role set, first on one, then on the other."""
    pair = FirewallPair(fresh)
    instances = sync.begin(pair)
    sync.promote(pair, instances)
    wait_for(lambda: [i.status()["role"] for i in instances] == ["active", "standby"], 10,
             "keepalived to tell both their roles")
    download = Download(pair)
    for here, there in (instances, reversed(instances)):
        pair.keepalived[here.name].stop()
        here.command("role", "standby")
        pair.wait_owner(there.node)
        download.passes(f"moved to {there.name}")
        wait_for(lambda: here.status()["own"] == 0, 10, f"{here.name} to own nothing")
        pair.start_keepalived(here.node, ready=here.check_argv(),
                              role=here.argv("role"))
        wait_for(lambda: "BACKUP STATE" in pair.keepalived[here.name].output()
                 + pair.keepalived[here.name].errors(), 15, f"{here.name} to stand by")
    download.stop()


def test_role_auto(pair, instances, download):
    """No role is set at any time."""
    for node in (pair.minnie, pair.mickey, pair.minnie, pair.mickey):
        serve(pair, node)
        download.passes(f"moved to {node.name}")


def test_the_one_active_node_stays_strict(pair, instances, download):
    """Control: if the roles say that all packets pass here, sequence numbers are checked."""
    set_roles(instances, "active", "standby")
    download.stop()
    late = Download(pair)  # began after the roles were set
    serve(pair, pair.minnie)
    late.passes("moved to minnie")
    serve(pair, pair.mickey)
    late.stands_still(pair.mickey)
    # As soon as mickey learns of the other active node, it makes the entries liberal.
    set_roles(instances, "active", "active")
    late.passes("is at mickey again")
    late.stop()
    set_roles(instances, "auto", "auto")


def test_a_split_that_heals(pair, instances, download):
    mickey, minnie = instances
    set_roles(instances, "active", "standby")
    pair.mickey.ip("link set sync down")
    wait_for(lambda: all(i.status()["peers"][0]["state"] != "up" for i in instances), 30,
             "both to miss each other")
    set_roles(instances, "active", "active")
    for node in (pair.minnie, pair.mickey, pair.minnie):
        serve(pair, node)
        download.passes(f"moved to {node.name} in the split")
    pair.mickey.ip("link set sync up")
    sync.wait_in_step(*instances, timeout=60)
    set_roles(instances, "active", "standby")
    serve(pair, pair.mickey)
    download.passes("is at mickey again")
    set_roles(instances, "auto", "auto")


def test_without_encsync_it_stands_still(pair, instances, download):
    """Control: mickey's daemon is killed, so its entries are not made liberal. A restarted daemon
    does so at once."""
    mickey = instances[0]
    set_roles(instances, "active", "standby")
    download.stop()
    late = Download(pair)
    mickey.kill()
    serve(pair, pair.minnie)
    late.passes("moved to minnie")
    serve(pair, pair.mickey)
    late.stands_still(pair.mickey)
    mickey.start()
    late.passes("is at mickey again, and encsync runs")
    late.stop()
    sync.wait_in_step(*instances)
    set_roles(instances, "auto", "auto")
