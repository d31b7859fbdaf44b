# SPDX-License-Identifier: ISC
"""nosync with real traffic: flows that match a rule are not sent; all others are, unchanged.

mickey marks flows by nft rules, and puts some of them into zones, by their destination port.
"""

from __future__ import annotations

import pytest

import conntrack
import sync
from conntrack import Flow
from lab import PYTHON, Node, wait_for
from pair import SERVER, SYNC, FirewallPair

pytestmark = pytest.mark.daemon

PLAIN, MARKED, OTHER_MARK, PEERS_MARK = 5300, 5310, 5323, 5340
ZONE_KEPT, ZONE_AT_HOME, PORT_AT_HOME = 5407, 5409, 5500
PORTS = [PLAIN, MARKED, OTHER_MARK, PEERS_MARK, ZONE_KEPT, ZONE_AT_HOME, PORT_AT_HOME]

EXCLUDE, INCLUDE = 100, 200  # a question of this length changes the mark of its flow

MICKEYS_RULES = "mark 0x10/0x10, zone 9, proto udp and port 5500-5510 and src 10.0.0.0/24"
MINNIES_RULES = "mark 0x40/0x40"

RULES = f"""
table inet marks {{
    chain prerouting {{
        type filter hook prerouting priority raw
        udp dport {ZONE_KEPT} ct zone set 7
        udp sport {ZONE_KEPT} ct zone set 7
        udp dport {ZONE_AT_HOME} ct zone set 9
        udp sport {ZONE_AT_HOME} ct zone set 9
    }}
    chain forward {{
        type filter hook forward priority filter - 1
        udp dport {MARKED} ct mark set 0x11
        udp dport {OTHER_MARK} ct mark set 0x23
        udp dport {PEERS_MARK} ct mark set 0x40
        udp dport {PLAIN} udp length {8 + EXCLUDE} ct mark set 0x10
        udp dport {{ {PLAIN}, {OTHER_MARK} }} udp length {8 + INCLUDE} ct mark set 0x8000003
    }}
}}
"""

ECHO = """
import select, socket, sys
sockets = []
for port in sys.argv[1:]:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", int(port)))
    sockets.append(s)
print("ready", flush=True)
while True:
    for s in select.select(sockets, [], [])[0]:
        s.sendto(*s.recvfrom(999))
"""
ASK = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", int(sys.argv[2]) + 1000))
s.connect((sys.argv[1], int(sys.argv[2])))
s.settimeout(10)
question = b"?" * int(sys.argv[3])
for n in range(3):  # the third one makes the flow assured
    s.send(question)
    assert s.recv(999) == question
"""


@pytest.fixture(scope="module")
def playground(lab):
    pair = FirewallPair(lab)
    both = [sync.Encsync(pair.mickey, {"minnie": SYNC["minnie"]}, left=SYNC["mickey"],
                         setup={"nosync": MICKEYS_RULES}),
            sync.Encsync(pair.minnie, {"mickey": SYNC["mickey"]}, left=SYNC["minnie"],
                         setup={"nosync": MINNIES_RULES})]
    sync.introduce(*both)
    open_for_traffic(pair, both)
    return pair, both


def open_for_traffic(pair: FirewallPair, instances: list[sync.Encsync]) -> None:
    for instance in instances:
        instance.start()
    sync.wait_in_step(*instances)
    pair.start_keepalived(pair.mickey)
    pair.wait_owner(pair.mickey)
    pair.mickey.nft(RULES)
    echo = pair.server.start(PYTHON, "-c", ECHO, *PORTS, name="echo")
    wait_for(lambda: "ready" in echo.output(), 10, "the echo server")


def exchange(pair: FirewallPair, port: int, size: int = 1) -> None:
    pair.client.run(PYTHON, "-c", ASK, SERVER[0], port, size)


def find(node: Node, port: int) -> Flow | None:
    """The flow to this port."""
    found = [flow for flow in conntrack.table(node) if flow.orig.dport == port]
    assert len(found) < 2
    return found[0] if found else None


def bring_along(pair: FirewallPair, port: int = PLAIN) -> None:
    """A new flow that matches no rule: once it has arrived, earlier ones would have, too."""
    assert find(pair.mickey, port) is None
    exchange(pair, port)
    wait_for(lambda: find(pair.minnie, port), 10, f"the flow to port {port} to reach minnie")


@pytest.mark.parametrize("port", [MARKED, ZONE_AT_HOME, PORT_AT_HOME], ids=["mark", "zone", "port"])
def test_what_a_rule_names_stays_at_home(playground, port):
    pair, _ = playground
    conntrack.flush(pair.mickey)
    exchange(pair, port)
    bring_along(pair)
    assert find(pair.mickey, port) is not None
    assert find(pair.minnie, port) is None
    # A dump does not report it, just like an event.
    for instance in playground[1]:
        instance.command("bulk")
    bring_along(pair, OTHER_MARK)
    assert find(pair.minnie, port) is None


def test_marks_and_zones_are_kept(playground):
    pair, _ = playground
    conntrack.flush(pair.mickey)
    for port in (OTHER_MARK, ZONE_KEPT, PLAIN):
        exchange(pair, port)
    for port, mark, zone in ((OTHER_MARK, 0x23, 0), (ZONE_KEPT, 0, 7), (PLAIN, 0, 0)):
        wait_for(lambda: find(pair.minnie, port), 10, f"the flow to port {port} to reach minnie")
        for node in pair.firewalls:
            flow = find(node, port)
            assert (flow.mark, flow.zone) == (mark, zone), (node.name, port)
        assert find(pair.minnie, port).key == find(pair.mickey, port).key


def test_a_flow_that_is_marked_later_is_withdrawn_and_comes_back(playground):
    pair, (mickey, _) = playground
    conntrack.flush(pair.mickey)
    for port in (PLAIN, OTHER_MARK):
        exchange(pair, port)
    wait_for(lambda: find(pair.minnie, PLAIN) and find(pair.minnie, OTHER_MARK), 10, "both flows")
    exchange(pair, PLAIN, EXCLUDE)
    wait_for(lambda: find(pair.minnie, PLAIN) is None, 10, "minnie to drop her copy")
    assert find(pair.mickey, PLAIN).mark == 0x10
    assert find(pair.minnie, OTHER_MARK) is not None
    assert str(PLAIN) not in mickey.states_text()
    exchange(pair, PLAIN, INCLUDE)
    wait_for(lambda: find(pair.minnie, PLAIN), 10, "the flow to come back")
    assert find(pair.minnie, PLAIN).mark == 0x8000003


def test_a_mark_that_changes_follows(playground):
    pair, _ = playground
    conntrack.flush(pair.mickey)
    exchange(pair, OTHER_MARK)
    wait_for(lambda: find(pair.minnie, OTHER_MARK), 10, "the flow")
    assert find(pair.minnie, OTHER_MARK).mark == 0x23
    exchange(pair, OTHER_MARK, INCLUDE)
    wait_for(lambda: find(pair.minnie, OTHER_MARK).mark == 0x8000003, 10, "the new mark")


def test_what_a_peer_sends_is_taken_whatever_our_own_rules(playground):
    """minnie's rule is about what minnie sends: mickey's flow with that mark arrives and stays."""
    pair, (_, minnie) = playground
    conntrack.flush(pair.mickey)
    exchange(pair, PEERS_MARK)
    wait_for(lambda: find(pair.minnie, PEERS_MARK), 10, "the flow to reach minnie")
    exchange(pair, PLAIN)
    wait_for(lambda: find(pair.minnie, PLAIN), 10, "another one behind it")
    assert find(pair.minnie, PEERS_MARK).mark == find(pair.mickey, PEERS_MARK).mark == 0x40
    # A packet of it passes minnie, the answer passes mickey: minnie sends nothing about it, and
    # mickey's entry stays.
    pair.minnie.nft(RULES.replace("0x40", "0x41"))
    pair.client.ip(f"route add {SERVER[0]} via 10.0.0.3")
    exchange(pair, PEERS_MARK)
    pair.client.ip(f"route del {SERVER[0]} via 10.0.0.3")
    assert find(pair.minnie, PEERS_MARK).mark == 0x41
    exchange(pair, OTHER_MARK)
    wait_for(lambda: find(pair.minnie, OTHER_MARK), 10, "another one behind it")
    assert find(pair.mickey, PEERS_MARK).mark == 0x40
    assert find(pair.minnie, PEERS_MARK).mark == 0x41
    # Control: mickey is never sent a flow of minnie's own with that mark.
    insert = ["conntrack", "-I", "-p", "udp", "-s", "10.0.0.30", "-d", SERVER[0], "--sport", 1,
              "-t", 60]
    pair.minnie.run(*insert, "--dport", 5601, "--mark", 0x40)
    pair.minnie.run(*insert, "--dport", 5602, "--mark", 0x20)
    wait_for(lambda: find(pair.mickey, 5602), 10, "minnie's own flow without that mark")
    assert find(pair.mickey, 5601) is None
    assert find(pair.minnie, 5601) is not None


def test_what_one_peer_is_not_told_the_other_is(fresh):
    """mickey's rules for donald apply to donald only: minnie is sent everything."""
    pair = FirewallPair(fresh, donald=True)
    instances = sync.equip(pair)
    mickey, _, at_donald = instances
    mickey.each["donald"] = {"nosync": "mark 0x10/0x10, port 5500-5510 and proto udp"}
    mickey.write_config()
    open_for_traffic(pair, instances)
    donald = pair.firewalls[2]
    for port in (MARKED, PORT_AT_HOME, PLAIN):
        exchange(pair, port)
        wait_for(lambda: find(pair.minnie, port), 10, f"the flow to port {port} to reach minnie")
    wait_for(lambda: find(donald, PLAIN), 10, "the flow without a rule to reach donald")

    def at_home() -> bool:
        return find(donald, MARKED) is None and find(donald, PORT_AT_HOME) is None

    assert at_home()
    assert mickey.peer("donald")["suppressed"] == 2
    assert mickey.peer("minnie")["suppressed"] == 0
    # Neither in a bulk update nor as a live update.
    received = at_donald.peer("mickey")["bulk"]["received"]
    at_donald.command("bulk", "mickey")
    wait_for(lambda: at_donald.peer("mickey")["bulk"]["received"] > received, 10, "the bulk update")
    assert at_home()
    # A new mark removes the flow from donald only; without the mark it is added again.
    exchange(pair, PLAIN, EXCLUDE)
    wait_for(lambda: find(donald, PLAIN) is None, 10, "donald to drop his copy")
    wait_for(lambda: find(pair.minnie, PLAIN).mark == 0x10, 10, "minnie to see the mark")
    exchange(pair, PLAIN, INCLUDE)
    wait_for(lambda: find(donald, PLAIN), 10, "the flow to come back to donald")
    assert find(donald, PLAIN).mark == 0x8000003
    # The digests show no difference.
    assert at_donald.peer("mickey")["check"]["repairs"] == 0
