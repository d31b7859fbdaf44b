# SPDX-License-Identifier: ISC
"""The lab itself: it has the described network, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

import conntrack
from lab import (NETNS_DIR, PYTHON, STATE_DIR, LabError, kept_labs, start_time,
                 take_down, wait_for)
from pair import SYNC, VIP_INSIDE, VIP_OUTSIDE, FirewallPair

HERE = Path(__file__).parent

# A lab in a separate program: it prints what it made, and then waits or fails.
PROGRAM = """
import sys
sys.path.insert(0, {here!r})
from lab import Lab
with Lab() as lab:
    node, other = lab.node("a"), lab.node("b")
    lab.cable(node, "eth0", other, "eth0")
    # The shell dies at once; what it started becomes an orphan.
    node.start("sh", "-c", "sleep 1000 & sleep 1000 & sleep 1000")
    node.start("sh", "-c", "setsid sleep 1000 &").wait()
    while len(pids := node.tree()) < 5:
        pass
    print(lab.prefix, lab.dir, *pids, flush=True)
    {end}
"""


def namespaces(prefix: str) -> list[str]:
    found = os.listdir(NETNS_DIR) if NETNS_DIR.is_dir() else []
    return [name for name in found if name.startswith(prefix)]


def run_program(end: str) -> tuple[subprocess.Popen, str, Path, dict[int, int | None]]:
    program = subprocess.Popen([PYTHON, "-c", PROGRAM.format(here=str(HERE), end=end)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    words = program.stdout.readline().split()
    assert len(words) >= 7, program.stderr.read()
    return program, words[0], Path(words[1]), {int(w): start_time(int(w)) for w in words[2:]}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_takes_all_down(number):
    program, prefix, folder, pids = run_program("import time; time.sleep(1000)")
    assert len(namespaces(prefix)) == 2 and folder.is_dir() and all(pids.values())
    program.send_signal(number)
    program.wait(60)
    assert namespaces(prefix) == [] and not folder.exists()
    assert [pid for pid, at in pids.items() if start_time(pid) == at] == []


def test_an_exception_takes_all_down_and_is_seen():
    program, prefix, folder, pids = run_program("raise RuntimeError('as planned')")
    _, errors = program.communicate(timeout=60)
    assert program.returncode == 1 and "as planned" in errors
    assert namespaces(prefix) == [] and not folder.exists()
    assert [pid for pid, at in pids.items() if start_time(pid) == at] == []


@pytest.mark.parametrize("end", ["lab.keep = True", "import os; os.kill(os.getpid(), 9)"])
def test_a_lab_that_outlives_its_program_can_be_taken_down(end):
    program, prefix, folder, pids = run_program(end)
    program.wait(60)
    assert len(namespaces(prefix)) == 2
    file = STATE_DIR / f"{prefix.rstrip('-')}.json"
    assert file in kept_labs()
    take_down(file)
    assert namespaces(prefix) == [] and not folder.exists() and not file.exists()


def test_a_lab_in_use_is_not_taken_for_one_left_over(fresh):
    fresh.node("a")
    assert STATE_DIR / f"{fresh.prefix.rstrip('-')}.json" not in kept_labs()


def test_leftovers_are_seen(fresh):
    node = fresh.node("a")
    process = node.start("sleep", "1000")
    assert fresh.leftovers() == [f"process {process.pid} (sleep)", f"namespace {node.netns}"]


LEAVES_SOMETHING = """
import subprocess, sys
sys.path.insert(0, {here!r})
from lab import Lab
with Lab(strict=True) as lab:
    print(lab.dir, flush=True)
    quiet = subprocess.DEVNULL
    {left}
"""


@pytest.mark.parametrize("left, seen", [
    ("pass", None),
    ("subprocess.run(['nft', 'add', 'table', 'inet', 'stray'], check=True)",
     "left behind: nft table inet stray"),
    ("subprocess.run('ip link add stray0 type veth peer stray1'.split(), check=True)",
     "left behind: interface stray0, interface stray1"),
    ("print(subprocess.Popen(['sleep', '1000'], stdout=quiet, stderr=quiet).pid)", "(sleep)"),
    ("subprocess.run(['mount', '-t', 'tmpfs', 'x', lab.dir], check=True)",
     "left behind: folder "),
], ids=["nothing", "table", "interface", "process", "folder"])
def test_what_is_left_elsewhere_is_seen(left, seen):
    """In namespaces of its own, which remove everything that is left."""
    program = subprocess.run(["unshare", "--net", "--mount", PYTHON, "-c",
                              LEAVES_SOMETHING.format(here=str(HERE), left=left)],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    folder, *pids = program.stdout.split()
    try:
        assert (program.returncode == 0) == (seen is None), program.stderr
        assert seen is None or seen in program.stderr
        assert Path(folder).exists() == (seen is not None and "folder" in seen)
    finally:
        for pid in map(int, pids):
            os.kill(pid, signal.SIGKILL)
        if Path(folder).exists():
            Path(folder).rmdir()


def test_a_command_that_fails_says_so(fresh):
    node = fresh.node("a")
    with pytest.raises(LabError, match="a: sh -c .*: status 3: oh no"):
        node.run("sh", "-c", "echo oh no >&2; exit 3")
    with pytest.raises(LabError, match="Cannot find device"):
        node.ip("link set nothing up")
    with pytest.raises(LabError, match="waited 0.1 s in vain: the impossible"):
        wait_for(lambda: False, 0.1, "the impossible", exactly=True)


def test_power_loss_leaves_no_process_and_no_word(fresh):
    pair = FirewallPair(fresh)
    pair.start_keepalived(pair.mickey)
    pair.wait_owner(pair.mickey)
    pair.start_keepalived(pair.minnie)
    conntrack.insert(pair.mickey, "10.0.0.10", "203.0.113.10", 1, 2)
    assert pair.power_off(pair.mickey) >= 2
    assert pair.mickey.tree() == [] and conntrack.table(pair.mickey) == set()
    pair.wait_owner(pair.minnie)
    log = pair.keepalived["mickey"].output() + pair.keepalived["mickey"].errors()
    assert "Entering MASTER STATE" in log
    assert "0 priority" not in log and "FAULT" not in log  # no orderly shutdown
    pair.power_on(pair.mickey)
    assert not set(VIP_INSIDE + VIP_OUTSIDE) & (pair.mickey.addresses("inside")
                                                | pair.mickey.addresses("outside"))
    assert pair.owner() is pair.minnie


def listeners_hear(listener, interface, sender, address) -> bool:
    """Does the listener receive a frame between two others?"""
    dump = listener.start("tcpdump", "-i", interface, "-n", "-l", "--immediate-mode", "udp port 9")
    wait_for(lambda: "listening on" in dump.errors(), 10, "tcpdump to listen")
    send = ("import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "for n in range(20): s.sendto(b'x', (sys.argv[1], 9))")
    sender.run(PYTHON, "-c", send, address)
    # Frames are in order: once the frame to the listener is in the capture, earlier ones are, too.
    own = next(a for a in listener.addresses(interface) if "." in a)
    sender.run(PYTHON, "-c", send, own)
    wait_for(lambda: f"> {own}.9" in dump.output(), 5, "its own frames")
    dump.stop()
    return f"> {address}.9" in dump.output()


def test_the_sync_switch_floods_and_the_others_learn(lab, pair):
    def meet(sender, address, interface):  # so that the switch learns its port
        wait_for(lambda: sender.run(PYTHON, "-c", (
            "import socket, sys; s = socket.socket(); s.settimeout(1)\n"
            "sys.exit(s.connect_ex((sys.argv[1], 9)) != 111)"), address,
            check=False).returncode == 0, 5, "the two to meet")

    # An ICMP or TCP answer shows that the path is known in both directions.
    pair.minnie.nft("add rule inet firewall input tcp dport 9 accept")
    meet(pair.mickey, SYNC["minnie"], "sync")
    assert listeners_hear(pair.mallory, "eth0", pair.mickey, SYNC["minnie"])
    meet(pair.mickey, "10.0.0.3", "inside")
    assert not listeners_hear(pair.client, "eth0", pair.mickey, "10.0.0.3")


@pytest.mark.parametrize("line, flow", [
    ("ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.0.10 dst=203.0.113.10 sport=41 dport=80 "
     "src=203.0.113.10 dst=203.0.113.1 sport=80 dport=59 [ASSURED] mark=7 zone=3 use=1",
     conntrack.Flow("tcp", conntrack.Half("10.0.0.10", "203.0.113.10", 41, 80),
                    conntrack.Half("203.0.113.10", "203.0.113.1", 80, 59), "ESTABLISHED", True,
                    7, 3)),
    ("ipv6     10 udp      17 29 src=2001:db8::1 dst=2001:db8::2 sport=1 dport=2 [UNREPLIED] "
     "src=2001:db8::2 dst=2001:db8::1 sport=2 dport=1 mark=0 use=1",
     conntrack.Flow("udp", conntrack.Half("2001:db8::1", "2001:db8::2", 1, 2),
                    conntrack.Half("2001:db8::2", "2001:db8::1", 2, 1), "", False, 0, 0)),
    ("ipv4     2 icmp     1 28 src=1.1.1.1 dst=2.2.2.2 type=8 code=0 id=77 src=2.2.2.2 "
     "dst=1.1.1.1 type=0 code=0 id=77 mark=0 use=1",
     conntrack.Flow("icmp", conntrack.Half("1.1.1.1", "2.2.2.2", 77, 2048),
                    conntrack.Half("2.2.2.2", "1.1.1.1", 77, 0), "", False, 0, 0)),
    ("ipv4     2 unknown  112 599 src=10.0.0.2 dst=224.0.0.18 [UNREPLIED] src=224.0.0.18 "
     "dst=10.0.0.2 mark=0 use=1",
     conntrack.Flow("unknown", conntrack.Half("10.0.0.2", "224.0.0.18", 0, 0),
                    conntrack.Half("224.0.0.18", "10.0.0.2", 0, 0), "", False, 0, 0)),
    ("conntrack v1.4.7 (conntrack-tools): 4 flow entries have been shown.", None),
    ("", None),
])
def test_conntrack_lines(line, flow):
    assert conntrack.parse_line(line) == flow


def test_conntrack_tables_compare(fresh):
    a, b = fresh.node("a"), fresh.node("b")
    for node in (a, b):
        conntrack.insert_many(node, 300)
    assert len(conntrack.table(a)) == 300 and conntrack.table(a) == conntrack.table(b)
    conntrack.delete(b, "10.0.0.20", "203.0.113.10", 1024, 443)
    (missing,) = conntrack.table(a) - conntrack.table(b)
    assert missing.orig == conntrack.Half("10.0.0.20", "203.0.113.10", 1024, 443)
    conntrack.flush(a)
    assert conntrack.table(a) == set()
