# SPDX-License-Identifier: ISC
"""Who sets a node's role, in which order, and what is reported if the roles do not fit together.

With the real keepalived, which reports changes through its FIFO or its notify scripts. The order in
which it writes or forks is the one that counts, whatever the order of arrival.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

import sync
from lab import descendants, wait_for
from pair import VIP_INSIDE, FirewallPair

pytestmark = pytest.mark.daemon

OVERTAKEN = 3


def role(instance: sync.Encsync) -> str:
    return (instance.status() or {}).get("role", "")


def wait_roles(instances, *roles: str, timeout: float = 20) -> None:
    wait_for(lambda: [role(i) for i in instances] == list(roles), timeout,
             f"the roles to be {roles}")


def start_both(pair: FirewallPair) -> list[sync.Encsync]:
    instances = sync.equip(pair)
    for instance in instances:
        instance.start()
    sync.wait_in_step(*instances)
    return instances


def fire(instance: sync.Encsync, *words: str) -> list[subprocess.Popen]:
    """One `encsync role` after the other, without waiting for the one before."""
    started = []
    for word in words:
        started.append(subprocess.Popen(
            ["ip", "netns", "exec", instance.node.netns, *map(str, instance.argv("role", word))],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=instance.node._env(None)))
    return started


class Frozen:
    """An `encsync role` that was started and is then stopped, as on an overloaded machine."""

    def __init__(self, instance: sync.Encsync, word: str):
        # The shell stops itself; after SIGCONT it executes the command with its pid and start time.
        self.popen = subprocess.Popen(
            ["ip", "netns", "exec", instance.node.netns, "sh", "-c", 'kill -STOP $$; exec "$@"',
             "sh", *map(str, instance.argv("role", word))],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=instance.node._env(None))
        wait_for(lambda: Path(f"/proc/{self.popen.pid}/stat").read_text().rsplit(")")[-1][1] == "T",
                 10, "the shell to stop itself")

    def go_on(self) -> tuple[int, str]:
        os.kill(self.popen.pid, signal.SIGCONT)
        _, errors = self.popen.communicate(timeout=30)
        return self.popen.returncode, errors


# ---- the command -----------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("active", "standby"), ("standby", "active")])
def test_of_two_roles_the_later_counts(instances, words):
    """20 times, both at once. Each is carried out or refused by name, and the later one counts."""
    mickey, _ = instances
    for _ in range(20):
        done = fire(mickey, *words)
        outcomes = [(p.communicate(timeout=30)[1], p.returncode) for p in done]
        assert role(mickey) == words[1], outcomes
        assert outcomes[0][1] in (0, OVERTAKEN) and outcomes[1] == ("", 0), outcomes
        if outcomes[0][1] == OVERTAKEN:
            assert f"role {words[0]} was overtaken: '{words[1]}' was asked for later" \
                in outcomes[0][0]


def test_a_late_one_is_refused_and_a_new_one_is_not(instances):
    mickey, minnie = instances
    late = Frozen(mickey, "active")
    mickey.command("role", "standby")
    status, errors = late.go_on()
    assert (status, role(mickey)) == (OVERTAKEN, "standby")
    assert errors == ("encsync: role active was overtaken: 'standby' was asked for later and "
                      "stays\n")
    assert "role: 'active' of pid" in mickey.log()
    # Control: no role was set meanwhile.
    late = Frozen(mickey, "active")
    assert late.go_on() == (0, "") and role(mickey) == "active"
    # An administrator's command is never late.
    mickey.command("role", "auto")
    assert role(mickey) == "auto"
    minnie.command("role", "auto")


def test_also_over_a_restart_and_without_a_daemon(fresh):
    pair = FirewallPair(fresh)
    mickey, _ = sync.equip(pair)
    mickey.start()
    late = Frozen(mickey, "active")
    mickey.command("role", "standby")
    mickey.restart()
    assert role(mickey) == "standby"
    assert late.go_on()[0] == OVERTAKEN and role(mickey) == "standby"
    mickey.stop()
    late, later = Frozen(mickey, "active"), Frozen(mickey, "active")
    mickey.command("role", "standby")
    assert late.go_on()[0] == OVERTAKEN
    kept = (mickey.run_dir / "role").read_text()
    assert kept.splitlines()[0] == "standby"  # for scripts: grep -qx active
    mickey.start()
    assert role(mickey) == "standby"
    assert later.go_on()[0] == OVERTAKEN and role(mickey) == "standby"
    assert (mickey.run_dir / "role").read_text() == kept
    mickey.command("role", "active")
    mickey.restart()
    assert role(mickey) == "active"


def test_a_role_that_cannot_be_stored_is_an_error(instances):
    mickey, _ = instances
    role_file = mickey.run_dir / "role"
    mickey.command("role", "standby")
    role_file.unlink()
    role_file.mkdir()
    try:
        done = mickey.command("role", "auto", check=False)
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.startswith("encsync: the role is auto, but will be lost if encsyncd is "
                                      f"started again: cannot write {role_file}: ")
        assert role(mickey) == "auto"
    finally:
        role_file.rmdir()
    wait_for(lambda: role_file.exists() and role_file.read_text().startswith("auto\n"), 10,
             "the role to be stored after all")
    assert mickey.command("role", "auto").returncode == 0


def test_a_reload_takes_a_role_up_unless_one_was_told(fresh):
    pair = FirewallPair(fresh)
    mickey, _ = sync.equip(pair)
    mickey.start()
    assert "role=" not in mickey.reload().stdout
    mickey.setup["role"] = "standby"
    assert "role=standby is in force" in mickey.reload().stdout
    assert role(mickey) == "standby"
    mickey.command("role", "active")
    mickey.setup["role"] = "auto"
    assert ("role=auto is not applied: the role was set to active by command; encsync role auto "
            "changes it"
            in mickey.reload().stdout)
    assert role(mickey) == "active"


# ---- roles that do not fit together ----------------------------------------------------------


def warning(instance: sync.Encsync) -> str:
    return instance.status()["role_warning"]


def test_two_active_nodes_are_named(instances):
    mickey, minnie = instances
    said = "2 nodes are active: {}; flows change hands by role only while one is"
    log = len(mickey.log())
    mickey.command("role", "active")
    minnie.command("role", "standby")
    wait_for(lambda: mickey.peer("minnie")["role"] == "standby", 10, "mickey to know")
    assert warning(mickey) == "" and "WARNING" not in mickey.command("status").stdout
    assert mickey.peer("minnie")["role_warning"] == ""
    minnie.command("role", "active")
    for one, other in ((mickey, "minnie"), (minnie, "mickey")):
        text = said.format(f"{one.name}, {other}")
        wait_for(lambda: warning(one) == text, 10, "both to know it")
        assert one.peer(other)["role_warning"] == text
        assert f"WARNING: {text}\n" in one.command("status").stdout
        assert text in one.command("peers").stdout
        wait_for(lambda: one.log().count(text) == 1, 15, "the log to say it")
    minnie.command("role", "standby")
    wait_for(lambda: "the roles fit together again" in mickey.log()[log:], 10, "its end")
    assert warning(mickey) == "" == mickey.peer("minnie")["role_warning"]
    assert mickey.log()[log:].count("nodes are active") == 1


def test_a_node_that_was_told_nothing_is_named(instances):
    mickey, minnie = instances
    mickey.command("role", "active")
    minnie.command("role", "auto")
    text = ("mickey is active, but minnie has not been given a role: while it runs, its flows do not "
            "become mickey's by role")
    for instance in instances:
        wait_for(lambda: warning(instance) == text, 10, "both to know it")
        wait_for(lambda: text in instance.log(), 15, "the log to say it")
    mickey.command("role", "auto")  # none is active: as in a pair without keepalived
    for instance in instances:
        wait_for(lambda: warning(instance) == "", 10, "nothing to be odd")


# ---- keepalived's FIFO -----------------------------------------------------------------------


def vrrp_process(pair: FirewallPair, node) -> int:
    """The child of keepalived that implements VRRP."""
    for pid in descendants([pair.keepalived[node.name].pid]):
        try:
            if (Path(f"/proc/{pid}/exe").resolve().name == "keepalived"
                    and any(helper(child) for child in descendants([pid]))):
                return pid
        except OSError:
            pass
    return 0


def helper(pid: int) -> bool:
    try:
        return b"\0keepalived\0--group\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def helpers(pair: FirewallPair, node) -> list[int]:
    return [pid for pid in node.tree() if helper(pid)]


def start_keepalived(pair: FirewallPair, instances) -> None:
    """mickey becomes master, regardless of whether a node is in step."""
    for instance in instances:
        pair.start_keepalived(instance.node,
                              follow=instance.argv("keepalived", "--group", "firewall"))
        pair.wait_owner(pair.mickey)
    wait_roles(instances, "active", "standby")


def test_keepalived_says_the_role(fresh):
    """Start, reload, stop, and an encsyncd that is down meanwhile."""
    pair = FirewallPair(fresh)
    instances = mickey, minnie = start_both(pair)
    start_keepalived(pair, instances)
    assert 'role: active (keepalived: group "firewall" is MASTER)' in mickey.log()
    keepalived = pair.keepalived["mickey"]

    # A reload is no end of keepalived: the role stays, and a new process reads the FIFO.
    before, lines = helpers(pair, pair.mickey), mickey.log().count("role: ")
    assert len(before) == 1
    keepalived.signal(signal.SIGHUP)
    wait_for(lambda: (now := helpers(pair, pair.mickey)) and len(now) == 1 and now != before, 15,
             "the next helper")
    wait_for(lambda: mickey.log().count("role: ") > lines, 15, "the states to be written")
    assert "role: standby" not in mickey.log()[mickey.log().index("role: active"):]
    assert role(mickey) == "active"

    # encsyncd ends, and the role file is removed: the role is sent again.
    mickey.stop()
    (mickey.run_dir / "role").unlink()
    mickey.start()
    wait_for(lambda: role(mickey) == "active", 15, "encsyncd to be told again")
    # But it does not override a later command of an administrator.
    mickey.command("role", "standby")
    mickey.restart()
    assert role(mickey) == "standby"
    wait_for(lambda: "'active' of pid" in mickey.log(), 15, "the helper to tell it again")
    assert role(mickey) == "standby"
    mickey.command("role", "active")

    # keepalived is stopped while encsyncd is down.
    mickey.stop()
    assert keepalived.stop() == 0
    pair.wait_owner(pair.minnie)
    wait_for(lambda: not helpers(pair, pair.mickey), 10, "the helper to end")
    mickey.start()
    wait_roles(instances, "standby", "active")


def test_a_keepalived_that_is_killed_leaves_no_active_node(fresh):
    """Its addresses stay, but the other node takes over."""
    pair = FirewallPair(fresh)
    instances = mickey, minnie = start_both(pair)
    start_keepalived(pair, instances)
    vrrp = vrrp_process(pair, pair.mickey)
    assert vrrp
    os.kill(pair.keepalived["mickey"].pid, signal.SIGSTOP)  # it must not start another one
    os.kill(vrrp, signal.SIGKILL)
    wait_roles(instances, "standby", "active")
    assert "keepalived is gone without STOP" in mickey.log()
    assert VIP_INSIDE[0] in pair.mickey.addresses("inside")
    wait_for(lambda: not helpers(pair, pair.mickey), 10, "the helper to end")
    # Control: the roles from the process that keepalived starts instead are accepted.
    os.kill(pair.keepalived["mickey"].pid, signal.SIGCONT)
    wait_for(lambda: helpers(pair, pair.mickey), 20, "keepalived to start another one")
    pair.wait_owner(pair.minnie)
    pair.keepalived["minnie"].stop()
    wait_roles(instances, "active", "standby", timeout=30)


def test_scripts_in_keepalived_s_order(fresh):
    """The order of scripts is that in which keepalived forked them, not that in which they reach
    `encsync role`: a later script that was faster has set the role."""
    pair = FirewallPair(fresh)
    mickey, _ = start_both(pair)
    script, go, fault, told = (pair.mickey.dir / name for name in ("script", "go", "fault", "told"))
    script.write_text("#!/bin/sh\n"
                      f'[ "$1" = standby ] || while ! [ -e {go} ]; do sleep 0.05; done\n'
                      f'{" ".join(map(str, mickey.argv("role")))} "$1"\n'
                      f'echo "$1" $? >>{told}\n')
    script.chmod(0o755)
    told.touch()
    pair.start_keepalived(pair.mickey, ready=["/usr/bin/test", "!", "-e", fault], role=[script])
    pair.wait_owner(pair.mickey)  # so the script for MASTER was forked, and waits
    before = told.read_text().count("standby 0")
    fault.touch()
    wait_for(lambda: told.read_text().count("standby 0") > before, 20, "the script for FAULT")
    go.touch()
    wait_for(lambda: f"active {OVERTAKEN}" in told.read_text(), 20, "the script for MASTER")
    assert role(mickey) == "standby"
    # Control: in time, each is carried out; also that keepalived stops.
    fault.unlink()
    wait_roles([mickey], "active")
    wait_for(lambda: "active 0" in told.read_text(), 20, "its script to end")
    assert pair.keepalived["mickey"].stop() == 0
    wait_roles([mickey], "standby")


@pytest.mark.parametrize("words", [("MASTER", "BACKUP"), ("BACKUP", "MASTER")])
def test_lines_are_told_in_their_order(instances, words):
    """20 times, both at once; and the command that comes after all of them counts."""
    mickey, _ = instances
    fifo = mickey.node.dir / "by-hand.fifo"
    os.mkfifo(fifo)
    follower = mickey.node.start(*mickey.argv("keepalived", "--group", "firewall", fifo),
                                 name="follower")
    last = {"MASTER": "active", "BACKUP": "standby"}[words[1]]
    with open(fifo, "w", buffering=1) as lines:
        for _ in range(20):
            log = mickey.log().count(f"is {words[1]})")
            lines.write("".join(f'GROUP "firewall" {word} 0\n' for word in words))
            wait_for(lambda: mickey.log().count(f"is {words[1]})") > log, 10, "both to be told")
            assert role(mickey) == last
        mickey.command("role", "auto")
        # Lines that mean nothing here, and some that are invalid.
        lines.write('INSTANCE "inside" MASTER 150\nINSTANCE "firewall" MASTER 150\n'
                    'GROUP "other" MASTER 0\nGROUP "firewall" PRIMARY 0\nVS up\n\n'
                    + "x" * 10_000 + "\n")
        wait_for(lambda: "more than 4096 bytes" in follower.errors(), 10, "the lines to be read")
        assert role(mickey) == "auto"
        errors = follower.errors()
        assert 'a group "other", which --group "firewall" does not mean' in errors
        assert ("a line of a state that encsync does not know: 'GROUP \"firewall\" PRIMARY 0'"
                in errors)
        assert "a line neither of a GROUP nor of an INSTANCE: 'VS up'" in errors
    # It was not started by keepalived, so it cannot know whether keepalived still runs.
    assert follower.wait() == 0
    assert "the role stays what it is" in follower.errors()
    assert role(mickey) == "auto"
    fifo.unlink()


def test_a_follower_needs_a_fifo(instances):
    mickey, _ = instances
    plain = mickey.node.dir / "plain"
    plain.touch()
    for path, why in ((plain, "is no FIFO"), (mickey.node.dir / "none", "No such file")):
        done = mickey.command("keepalived", "--group", "firewall", path, check=False)
        assert done.returncode == 1 and why in done.stderr
    for words in ((), ("--group", "a"), ("--group", "a", "--instance", "b", plain), (plain,)):
        assert mickey.command("keepalived", *words, check=False).returncode == 2
