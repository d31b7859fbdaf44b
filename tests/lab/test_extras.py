# SPDX-License-Identifier: ISC
"""What only some flows have: labels, a helper, a timeout policy, expectations. With real traffic,
and after a takeover."""

from __future__ import annotations

import re

import pytest

import sync
from lab import PYTHON, Process, wait_for
from pair import CLIENT, HOST, SERVER, FirewallPair

pytestmark = pytest.mark.daemon

FTP, TFTP, LABELLED, LONG, SHORT, PLAIN = 21, 69, 5300, 5310, 5320, 5330
MORE = 100  # a question of this length gives its flow another label

RULES = f"""
table inet extras {{
    ct helper ftp {{ type "ftp" protocol tcp; }}
    ct helper tftp {{ type "tftp" protocol udp; }}
    ct timeout long {{ protocol udp; l3proto ip; policy = {{ unreplied: 72000, replied: 72000 }}; }}
    ct timeout short {{ protocol udp; l3proto ip; policy = {{ unreplied: 5, replied: 5 }}; }}
    counter labelled {{ }}
    chain prerouting {{
        type filter hook prerouting priority filter
        tcp dport {FTP} ct helper set "ftp"
        udp dport {TFTP} ct helper set "tftp"
        udp dport {LONG} ct timeout set "long"
        udp dport {SHORT} ct timeout set "short"
        udp dport {LABELLED} ct label set 3
        udp dport {LABELLED} udp length {8 + MORE} ct label set 100
    }}
}}
"""
# Only counts packets whose flow has both labels; this node sets no labels itself.
SEES_LABELS = f"""
table inet extras {{
    ct helper ftp {{ type "ftp" protocol tcp; }}
    counter labelled {{ }}
    chain prerouting {{
        type filter hook prerouting priority filter
        tcp dport {FTP} ct helper set "ftp"
        udp dport {LABELLED} ct label 3 ct label 100 counter name "labelled"
    }}
}}
"""

ZONE = """
table inet zone {
    chain prerouting {
        type filter hook prerouting priority raw
        iifname { "inside", "outside" } ct zone set 10
    }
}
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
s.send(question)
assert s.recv(999) == question
"""

# Both ends of an FTP conversation, one step per line of standard input.
FTP_SERVER = """
import re, socket, sys
listening = socket.create_server(("", 21))
print("ready", flush=True)
control, _ = listening.accept()
lines = control.makefile("rwb", buffering=0)
while line := lines.readline():
    print("heard", line, flush=True)
    numbers = re.match(rb"PORT ([0-9,]+)", line)
    if numbers:
        n = [int(x) for x in numbers[1].split(b",")]
        to = ".".join(map(str, n[:4])), n[4] * 256 + n[5]
        print("told", *to, flush=True)
    lines.write(b"200 understood\\r\\n")
    if not numbers:
        continue
    assert sys.stdin.readline() == "connect\\n"
    try:
        data = socket.create_connection(to, timeout=4, source_address=("", 20))
        data.sendall(b"the file")
        data.close()
        print("sent", flush=True)
    except OSError as e:
        print("failed", e, flush=True)
"""
FTP_CLIENT = """
import select, socket, sys
here, server, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
control = socket.create_connection((server, 21), timeout=10)
lines = control.makefile("rwb", buffering=0)
lines.write(b"USER nobody\\r\\n")
lines.readline()
while port:
    data = socket.create_server((here, port))
    lines.write(b"PORT %s,%d,%d\\r\\n" % (here.replace(".", ",").encode(), port >> 8, port & 255))
    lines.readline()
    print("understood", flush=True)
    if data in select.select([data, sys.stdin], [], [])[0]:
        print("got", data.accept()[0].recv(99).decode(), flush=True)
    port = int(sys.stdin.readline() or 0)
"""

# TFTP's first two packets: the request, and the answer from another port.
TFTP_SERVER = """
import socket, sys
requests = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
requests.bind(("", 69))
print("ready", flush=True)
request, client = requests.recvfrom(999)
print("asked", flush=True)
assert sys.stdin.readline() == "send\\n"
data = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
data.settimeout(3)
data.sendto(b"\\0\\3\\0\\1the file", client)
try:
    print("acknowledged", data.recv(99), flush=True)
except OSError as e:
    print("failed", e, flush=True)
"""
TFTP_CLIENT = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b"\\0\\1file\\0octet\\0", (sys.argv[1], 69))
data, server = s.recvfrom(999)
s.sendto(b"\\0\\4\\0\\1", server)
print("got", data[4:].decode(), flush=True)
"""


def start(fresh, nat: bool = True, rules: str = "", **options):
    pair = FirewallPair(fresh, nat=nat)
    for firewall in pair.firewalls[:2]:
        firewall.nft((RULES if firewall is pair.mickey else SEES_LABELS) + rules)
        firewall.sysctl({"net/netfilter/nf_conntrack_udp_timeout": 300})  # until the takeover is over
    instances = sync.equip(pair, **options)
    for instance in instances:
        instance.start()
    sync.wait_in_step(*instances)
    pair.start_keepalived(pair.mickey)
    pair.wait_owner(pair.mickey)
    return pair, instances


def take_over(pair: FirewallPair) -> None:
    pair.power_off(pair.mickey)
    pair.start_keepalived(pair.minnie)
    pair.wait_owner(pair.minnie)
    pair.wait_ends(gone=pair.mickey)


def ask(pair: FirewallPair, port: int, size: int = 1) -> None:
    pair.client.run(PYTHON, "-c", ASK, SERVER[0], port, size)


def state(instance: sync.Encsync, port: int) -> dict | None:
    found = [s for s in instance.json("states") if s.get("dport") == port]
    return found[0] if found else None


def in_kernel(node, port: int) -> str:
    """conntrack's line for the flow to this port; "" if there is none."""
    lines = [line for line in node.run("conntrack", "-L").stdout.splitlines()
             if f"dport={port} " in line.split("src=", 2)[1]]
    return lines[0] if lines else ""


def seconds_left(line: str) -> int:
    return int(line.split()[2])


def expectations(node) -> list[str]:
    return node.run("conntrack", "-L", "expect").stdout.splitlines()


def test_labels_and_timeouts(fresh):
    pair, (mickey, minnie) = start(fresh)
    echo = pair.server.start(PYTHON, "-c", ECHO, LABELLED, LONG, SHORT, PLAIN, name="echo")
    wait_for(lambda: "ready" in echo.output(), 10, "the echo server")
    for port in (LABELLED, LONG, SHORT, PLAIN):
        ask(pair, port)
    wait_for(lambda: (state(minnie, LABELLED) or {}).get("labels") == [3], 10, "the label")
    ask(pair, LABELLED, MORE)
    wait_for(lambda: state(minnie, LABELLED)["labels"] == [3, 100], 10, "the second label")
    wait_for(lambda: state(minnie, LONG) and state(minnie, PLAIN), 10, "all flows")
    assert "labels" not in state(minnie, PLAIN) and "lifetime" not in state(minnie, PLAIN)
    # A kernel that was interrupted between the timer and its event reports a second less.
    assert state(minnie, LONG)["lifetime"] in (71999, 72000)
    assert "labels 3 100" in minnie.command("states").stdout
    # It times out on mickey after five seconds, and so on minnie.
    wait_for(lambda: not in_kernel(pair.mickey, SHORT), 15, "the short flow to time out")
    wait_for(lambda: not in_kernel(pair.minnie, SHORT), 10, "its copy to go")
    # While their owner lives, copies are kept alive; then each has its own remaining timeout.
    assert seconds_left(in_kernel(pair.minnie, LONG)) < 1000
    take_over(pair)
    wait_for(lambda: seconds_left(in_kernel(pair.minnie, LONG)) > 71000, 10, "the long timeout")
    assert seconds_left(in_kernel(pair.minnie, PLAIN)) < 1000
    # A packet of the flow has both labels.
    ask(pair, LABELLED)
    counter = pair.minnie.run("nft", "list", "counter", "inet", "extras", "labelled").stdout
    assert int(re.search(r"packets (\d+)", counter)[1]) == 1


def ftp(pair: FirewallPair, port: int) -> tuple[Process, Process]:
    """An FTP session up to the point where the server may open the data connection."""
    server = pair.server.start(PYTHON, "-c", FTP_SERVER, name="ftpd", stdin=True)
    wait_for(lambda: "ready" in server.output(), 10, "the FTP server")
    client = pair.client.start(PYTHON, "-c", FTP_CLIENT, CLIENT[0], SERVER[0], port, name="ftp",
                               stdin=True)
    wait_for(lambda: "understood" in client.output(), 10, "the answer to PORT")
    return server, client


@pytest.mark.parametrize("nat, rules", [(True, ""), (False, ""), (True, ZONE), (False, ZONE)],
                         ids=["nat", "routed", "nat in a zone", "routed in a zone"])
def test_an_expected_connection_comes_after_the_takeover(fresh, nat, rules):
    pair, (mickey, minnie) = start(fresh, nat, rules)
    server, client = ftp(pair, 51210)
    assert len(expectations(pair.mickey)) == 1
    wait_for(lambda: len(expectations(pair.minnie)) == 1, 10, "the expectation's copy")
    assert "helper=ftp" in in_kernel(pair.minnie, FTP)
    assert state(minnie, FTP)["expectations"] == 1
    assert state(minnie, FTP)["zone"] == (10 if rules else 0)
    take_over(pair)
    server.say("connect")
    wait_for(lambda: "sent" in server.output() or "failed" in server.output(), 10, "an end")
    assert "sent" in server.output()
    wait_for(lambda: "got the file" in client.output(), 10, "the data")
    # It is used up, here as on the other node.
    assert expectations(pair.minnie) == []
    wait_for(lambda: "expectations" not in state(minnie, FTP), 10, "minnie to know")


def test_an_expected_connection_by_another_way_comes_once(fresh):
    """The data passes minnie, while the control connection is mickey's, who does not see it. An
    expectation lets in one connection, however often its owner names it."""
    pair, (mickey, minnie) = start(fresh, nat=False)
    server, client = ftp(pair, 51210)
    wait_for(lambda: len(expectations(pair.minnie)) == 1, 10, "the expectation's copy")
    pair.server.ip(f"route replace {CLIENT[0]} via {SERVER[0].rpartition('.')[0]}.{HOST['minnie']}")
    pair.client.ip(f"route replace {SERVER[0]} via {CLIENT[0].rpartition('.')[0]}.{HOST['minnie']}")
    server.say("connect")
    wait_for(lambda: "got the file" in client.output(), 10, "the data")
    assert state(minnie, FTP)["owner"] == "mickey"
    assert len(expectations(pair.mickey)) == 1  # which no connection has passed there
    # Both compare what they have several times meanwhile, and mickey names all again.
    checks = mickey.peer("minnie")["check"]["checks"]
    wait_for(lambda: mickey.peer("minnie")["check"]["checks"] > checks + 3, 60, "checks")
    minnie.command("bulk", "mickey")
    wait_for(lambda: minnie.peer("mickey")["in_step"], 20, "a bulk update")
    assert expectations(pair.minnie) == []
    assert "expectations" not in state(minnie, FTP)
    assert minnie.peer("mickey")["check"]["equal"]


def test_without_the_expectation_the_connection_is_refused(fresh):
    """A peer that is treated as a pf firewall is sent flows, and nothing else."""
    pair, (mickey, minnie) = start(fresh, nat=False, conn={"wire": "openbsd"})
    server, client = ftp(pair, 51210)
    assert len(expectations(pair.mickey)) == 1
    wait_for(lambda: state(minnie, FTP), 10, "the control connection's copy")
    take_over(pair)
    assert expectations(pair.minnie) == []
    server.say("connect")
    wait_for(lambda: "failed" in server.output(), 10, "the connection to fail")
    assert "got" not in client.output()


def tftp(pair: FirewallPair) -> tuple[Process, Process]:
    """A transfer up to the point where the server may answer the request."""
    server = pair.server.start(PYTHON, "-c", TFTP_SERVER, name="tftpd", stdin=True)
    wait_for(lambda: "ready" in server.output(), 10, "the TFTP server")
    client = pair.client.start(PYTHON, "-c", TFTP_CLIENT, SERVER[0], name="tftp")
    wait_for(lambda: "asked" in server.output(), 10, "the request")
    return server, client


@pytest.mark.parametrize("nat", [True, False], ids=["nat", "routed"])
def test_what_the_first_packet_expects_comes_after_the_takeover(fresh, nat):
    pair, (mickey, minnie) = start(fresh, nat)
    server, client = tftp(pair)
    assert len(expectations(pair.mickey)) == 1
    wait_for(lambda: len(expectations(pair.minnie)) == 1, 10, "the expectation's copy")
    assert state(minnie, TFTP)["expectations"] == 1
    take_over(pair)
    server.say("send")
    wait_for(lambda: "acknowledged" in server.output() or "failed" in server.output(), 10, "an end")
    assert "acknowledged" in server.output()
    wait_for(lambda: "got the file" in client.output(), 10, "the client to say so")
    counts = minnie.status()["table"]["expectations"]
    assert counts["early"] == 0 and counts["without_master"] == 0


def test_without_what_the_first_packet_expects_the_data_is_refused(fresh):
    pair, (mickey, minnie) = start(fresh, nat=False, conn={"wire": "openbsd"})
    server, client = tftp(pair)
    assert len(expectations(pair.mickey)) == 1
    wait_for(lambda: state(minnie, TFTP), 10, "the request's copy")
    take_over(pair)
    assert expectations(pair.minnie) == []
    server.say("send")
    wait_for(lambda: "failed" in server.output(), 10, "the transfer to fail")
    assert "got" not in client.output()


def test_the_control_connection_goes_on_though_its_numbers_have_moved(fresh):
    """The translated address is two digits longer than the client's own."""
    pair, (mickey, minnie) = start(fresh)
    server, client = ftp(pair, 51210)
    wait_for(lambda: state(minnie, FTP).get("seq_adjust"), 10, "how far they have moved")
    assert state(minnie, FTP)["seq_adjust"] == [2, 0]
    take_over(pair)
    server.say("connect")
    wait_for(lambda: "got the file" in client.output(), 10, "the data")
    client.say("51299")
    wait_for(lambda: client.output().count("understood") == 2, 10, "the answer to another PORT")
    wait_for(lambda: state(minnie, FTP)["seq_adjust"] == [4, 0], 10, "minnie to have moved on")


def test_without_the_adjustment_the_server_misses_what_it_takes_for_old(fresh):
    pair, (mickey, minnie) = start(fresh, conn={"wire": "openbsd"})
    server, client = ftp(pair, 51210)
    wait_for(lambda: state(minnie, FTP), 10, "the control connection's copy")
    take_over(pair)
    server.say("connect")
    wait_for(lambda: "failed" in server.output(), 10, "the data connection to fail")
    client.say("51299")
    wait_for(lambda: "heard b'RT 10,0,0,10,200,99" in server.output(), 10, "half a command")


def test_an_expectation_that_ends_ends_everywhere(fresh):
    pair, (mickey, minnie) = start(fresh, nat=False)
    server, client = ftp(pair, 51210)
    wait_for(lambda: len(expectations(pair.minnie)) == 1, 10, "the expectation's copy")
    # A restarted daemon finds it, whether it exists or not.
    pair.minnie.run("conntrack", "-F", "expect")
    minnie.restart()
    sync.wait_in_step(mickey, minnie)
    wait_for(lambda: len(expectations(pair.minnie)) == 1, 10, "the copy to be back")
    server.say("connect")
    wait_for(lambda: "got the file" in client.output(), 10, "the data")
    assert expectations(pair.mickey) == []
    wait_for(lambda: expectations(pair.minnie) == [], 10, "the copy to go")
    client.say("51299")
    wait_for(lambda: client.output().count("understood") == 2, 10, "the second PORT")
    wait_for(lambda: "dport=51299" in "".join(expectations(pair.minnie)), 10, "its copy")
    client.kill()
    pair.mickey.run("conntrack", "-F", "expect")
    wait_for(lambda: expectations(pair.minnie) == [], 10, "the copy to go")
