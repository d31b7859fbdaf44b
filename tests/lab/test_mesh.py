# SPDX-License-Identifier: ISC
"""Eight nodes, each a peer of every other; one of them is removed and added again by reload.

    n1  n2  n3  n4  n5  n6  n7  n8
    |   |   |   |   |   |   |   |
    +---+---+---+---+---+---+---+    192.168.1.0/24
"""

from __future__ import annotations

import pytest

import conntrack
import sync
from lab import wait_for
from pair import SERVER

pytestmark = pytest.mark.daemon

NODES = 8
# Many daemons on few processors: DPD must not fire because one of them had to wait.
PATIENT = {"dpddelay": "10s", "dpdtimeout": "30s"}


@pytest.fixture(scope="module")
def mesh(lab):
    switch = lab.switch("syncsw")
    nodes = [lab.node(f"n{number}") for number in range(1, NODES + 1)]
    address = {node.name: f"192.168.1.{number}" for number, node in enumerate(nodes, 1)}
    for node in nodes:
        lab.plug(node, "sync", switch, f"{address[node.name]}/24")
    instances = [sync.Encsync(node, {name: a for name, a in address.items() if name != node.name},
                              left=address[node.name], conn=PATIENT) for node in nodes]
    sync.introduce(*instances)
    for instance in instances:
        instance.start()
    sync.wait_settled(*instances, timeout=90)
    return instances


def make_flow(instance, port: int) -> None:
    conntrack.insert(instance.node, "10.0.0.30", SERVER[0], port, 443)


def ports(instance) -> set[int]:
    return {flow.orig.sport for flow in conntrack.table(instance.node)
            if flow.involves("10.0.0.30")}


def wait_ports(instances, expected: set[int]) -> None:
    for instance in instances:
        wait_for(lambda: ports(instance) == expected, 30,
                 f"{instance.name} to hold exactly {sorted(expected)}", 0.1)


def test_a_flow_on_each_is_on_all(mesh):
    for number, instance in enumerate(mesh, 1):
        make_flow(instance, 2000 + number)
    wait_ports(mesh, {2000 + number for number in range(1, NODES + 1)})


def test_one_is_taken_out_and_put_back_and_no_other_notices(mesh):
    n1, n2, *_, n8 = mesh
    before = {instance.name: instance.spis() for instance in mesh}
    held = ports(n1)
    address = n1.peers.pop("n8")
    assert "removed n8" in n1.reload().stdout

    # Only the SAs between the two are removed; no state is.
    assert n1.peer("n8") is None
    rest = {f"n{number}" for number in range(2, NODES)}
    assert n1.spis() == {sa for sa in before["n1"] if sa[0] != "n8"}
    wait_for(lambda: n8.peer("n1")["state"] != "up", 40, "n8 to see that it is not wanted")
    for instance in mesh[1:-1]:
        assert instance.spis() == before[instance.name]
    assert n8.spis(*rest) == {sa for sa in before["n8"] if sa[0] in rest}
    assert ports(n1) == held
    # The others still hear n8, which has flows: n1 must not be promoted without it.
    wait_for(lambda: " hears n8, which has flows" in n1.status()["why"], 20, "n1 to miss n8")
    wait_for(lambda: n8.status()["missing_edges"], 20, "n8 to miss n1")
    assert n2.ready()

    # Control: n8's changes no longer arrive here, but on all other nodes; n2's do.
    make_flow(n8, 3008)
    make_flow(n2, 3002)
    wait_ports(mesh[1:], held | {3002, 3008})
    wait_ports([n1], held | {3002})

    n1.peers["n8"] = address
    assert "added n8" in n1.reload().stdout
    sync.wait_in_step(*mesh, timeout=60)
    wait_ports(mesh, held | {3002, 3008})
    assert n1.spis(*rest) == {sa for sa in before["n1"] if sa[0] in rest}
    for instance in mesh[1:-1]:
        assert instance.spis() == before[instance.name]
    # The owner is known again: a flow that n8 deletes is removed here, too.
    conntrack.delete(n8.node, "10.0.0.30", SERVER[0], 3008, 443)
    conntrack.delete(n8.node, "10.0.0.30", SERVER[0], 2008, 443)
    wait_ports(mesh, (held | {3002}) - {2008})


def test_one_cut_link_of_many_is_named_by_both_its_ends(mesh):
    n1, n2, *rest = mesh
    n1.node.nft("""table inet cut {
        chain from_it { type filter hook input priority -400; ip saddr 192.168.1.2 drop; }
        chain to_it { type filter hook output priority -400; ip daddr 192.168.1.2 drop; }
    }""")
    for one, other in ((n1, n2), (n2, n1)):
        wait_for(lambda: f" hears {other.name}, which has flows" in one.status()["why"], 40,
                 f"{one.name} to miss {other.name}")
    wait_for(lambda: all(instance.ready() for instance in rest), 20, "the others to be ready")
    wait_for(lambda: len(n1.status()["missing_edges"]) == len(rest), 20, "all of them to name it")
    n1.node.run("nft", "delete", "table", "inet", "cut")
    sync.wait_in_step(*mesh, timeout=60)
