# SPDX-License-Identifier: ISC
"""encsync setup: from a firewall with nothing to a pair in step, and what it refuses."""

from __future__ import annotations

import json
import os
import pty
import subprocess

import pytest

import conntrack
import sync
from lab import wait_for
from pair import SERVER, SYNC, FirewallPair
from schema import holds, schema

pytestmark = [pytest.mark.daemon, pytest.mark.usefixtures("sanitized_command")]

OTHER = {"mickey": "minnie", "minnie": "mickey"}


class Screen:
    """encsync setup on a terminal."""

    def __init__(self, instance: sync.Encsync, *args: str):
        ours, theirs = pty.openpty()
        with instance.node.entered():
            self.popen = subprocess.Popen(
                [*map(str, instance.argv("setup", "--keydir", instance.key_dir, *args))],
                stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        os.set_blocking(ours, False)
        self.ours, self.text = ours, ""

    def shown(self) -> str:
        try:
            while piece := os.read(self.ours, 65536):
                self.text += piece.decode().replace("\r\n", "\n")
        except (BlockingIOError, OSError):  # the latter once it has ended
            pass
        return self.text

    def answer(self, question: str, line: str) -> None:
        """Once it has asked, after what was asked before."""
        seen = len(self.text)
        wait_for(lambda: question in self.shown()[seen:], 30, f"'{question}' in {self.text!r}")
        os.write(self.ours, line.encode() + b"\n")

    def end(self) -> int:
        def ended():
            self.shown()
            return self.popen.poll() is not None

        wait_for(ended, 30, "setup to end")
        self.shown()
        os.close(self.ours)
        return self.popen.returncode


@pytest.fixture
def bare(fresh) -> tuple[FirewallPair, sync.Encsync, sync.Encsync]:
    """Two firewalls without a configuration and without keys."""
    pair = FirewallPair(fresh)
    both = [sync.Encsync(node, {OTHER[node.name]: SYNC[OTHER[node.name]]}, left=SYNC[node.name])
            for node in pair.firewalls[:2]]
    for instance in both:
        instance.config.unlink()
    return (pair, *both)


def words(instance: sync.Encsync, *flags: str, **options: str | None) -> list[str]:
    """Of a command that asks nothing. options: others than those that are needed, or none."""
    other = OTHER[instance.name]
    given = {"node": instance.name, "peer": other, "right": SYNC[other],
             "keydir": str(instance.key_dir), **options}
    return ["setup", *flags, *(word for name, value in given.items() if value is not None
                               for word in (f"--{name}", value))]


def test_two_firewalls_with_nothing_become_a_pair(bare):
    pair, mickey, minnie = bare
    both = [instance.node.start(*instance.argv(*words(instance, "--pair")), name="setup",
                                stdin=True) for instance in (mickey, minnie)]
    assert len({sync.code_shown(process) for process in both}) == 1
    for process in both:
        process.say("yes")
    for process in both:
        assert process.wait() == 0, process.last_words()
        assert process.output().endswith("Next:\n    systemctl enable --now encsync\n"
                                         "    encsync status\n")
    for instance in (mickey, minnie):
        instance.command("check")
        instance.start()
    sync.wait_in_step(mickey, minnie)
    conntrack.insert(pair.mickey, "10.0.0.10", SERVER[0], 1, 2)
    wait_for(lambda: pair.flows(pair.minnie), 10, "the flow to arrive")

    def made() -> tuple[str, list[str]]:
        return mickey.config.read_text(), [each["fingerprint"] for each in
                                           mickey.json("keys", "show")["identities"]]

    # Again, it changes nothing, and the key keeps its name.
    before = made()
    again = mickey.command(*words(mickey), check=False)
    assert again.returncode == 1 and "is there already, and setup changes none" in again.stderr
    assert made() == before
    mickey.stop()
    mickey.config.rename(mickey.config.with_name("old.conf"))
    again = mickey.command(*words(mickey, node="mikey"), check=False)
    assert again.returncode == 1 and "is that of 'mickey'" in again.stderr
    draft = mickey.config.with_name("encsync.conf.new")
    draft.write_text("a draft")
    again = mickey.command(*words(mickey), check=False)
    assert again.returncode == 1 and "encsync.conf.new: is there already" in again.stderr
    draft.unlink()
    mickey.command(*words(mickey, node=None))
    assert made() == before


def test_it_asks_until_an_answer_is_good(bare):
    _, mickey, _ = bare
    screen = Screen(mickey)
    screen.answer("Name of this firewall", "no/name")
    screen.answer("Name of this firewall", "mickey")
    screen.answer("Name of the other one", "mickey")
    screen.answer("that is the name of this one\nName of the other one", "minnie")
    screen.answer("Its address", "minnie.example.org")
    screen.answer("Its address", SYNC["minnie"])
    screen.answer(f"Own address there, not one that moves on a takeover [{SYNC['mickey']}]",
                  SYNC["minnie"])
    screen.answer("that is the address of the other one\nOwn address there", "2001:db8::1")
    screen.answer("one of them is IPv4, the other IPv6\nOwn address there", "")
    screen.answer("Role", "master")
    screen.answer("Role", "standby")
    screen.answer("Pair with minnie now?", "no")
    assert screen.end() == 0, screen.text
    assert "mickey has an identity now: SHA256:" in screen.text
    assert "no key of 'minnie' is trusted" in screen.text
    assert screen.text.endswith("    encsync pair          on both at once\n"
                                "    systemctl enable --now encsync\n    encsync status\n")
    assert mickey.config.read_text() == (
        "# Written by 'encsync setup'. encsync.conf(5) has all options.\n\nconfig setup\n"
        f"\tnode=mickey\n\trole=standby\n\tkeydir={mickey.key_dir}\n\nconn minnie\n"
        f"\tleft={SYNC['mickey']}\n\tright={SYNC['minnie']}\n\tauto=start\n")


def test_an_end_of_the_answers_changes_nothing(bare):
    _, mickey, _ = bare
    screen = Screen(mickey, "--node", "mickey")
    screen.answer("Name of the other one", "\x04")
    assert screen.end() == 1
    assert "the input has ended before everything was answered" in screen.text
    assert not mickey.config.exists() and not mickey.key_dir.exists()


@pytest.mark.parametrize("flags, options, says", [
    ([], {"peer": None}, "--peer is missing, and there is no terminal to ask on"),
    ([], {"left": "nonsense"}, "--left nonsense: "),
    ([], {"peer": "mickey"}, "--peer mickey: that is the name of this one"),
    (["--json", "--pair"], {}, "--pair excludes --json"),
])
def test_without_a_terminal_all_of_it_is_given_or_nothing_is_done(bare, flags, options, says):
    _, mickey, _ = bare
    done = mickey.command(*words(mickey, *flags, **options), check=False)
    assert done.returncode != 0 and says in done.stderr + done.stdout
    assert not mickey.config.exists() and not mickey.key_dir.exists()


def test_what_the_machine_lacks_is_said_before_the_first_start(bare):
    pair, mickey, minnie = bare
    pair.mickey.nft("add table inet site\n"
                    "add chain inet site input { type filter hook input priority 0; policy drop; }")
    pair.minnie.ip(f"route add unreachable {SYNC['mickey']}")
    done = mickey.command(*words(mickey))
    assert "firewall: chain input of table inet site drops UDP port 500 from" in done.stdout
    assert "For the time of the pairing, it must also accept TCP port 4540" in done.stdout
    assert "no way to" not in done.stdout
    done = json.loads(minnie.command(*words(minnie, "--json", left=SYNC["minnie"])).stdout)
    about = {each["about"] for each in done["findings"]}
    assert about >= {"this machine", "conn mickey"} and "firewall" not in about
    holds(schema("setup"), done)
