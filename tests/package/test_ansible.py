# SPDX-License-Identifier: ISC
"""The Ansible role, conf/ansible: two bare machines become a pair, and stay one."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from lab import wait_for
from machine import Machine
from pair import SYNC, repository

ROLE = repository() / "conf" / "ansible"
# What ssh(1) is called with: options, the host, the command.
SSH = """#!/bin/bash
while [[ $1 == -* ]]; do
    case $1 in -o | -p | -l | -i | -F) shift 2 ;; *) shift ;; esac
done
host=$1
shift
case $host in
"""


class Controller:
    def __init__(self, machines: list[Machine], packages: Path, folder: Path):
        self.folder = folder
        self.hosts = {machine.node.name: {"encsync_address": SYNC[machine.node.name]}
                      for machine in machines}
        self.vars = {"encsync_package": str(packages / "encsync.deb"),
                     "ansible_python_interpreter": "/usr/bin/python3"}
        ssh = folder / "ssh"
        ssh.write_text(SSH + "".join(
            f'{machine.node.name}) exec {shlex.join(machine.argv("sh", "-c"))} "$*" ;;\n'
            for machine in machines) + "esac\n")
        ssh.chmod(0o755)

    def play(self) -> tuple[int, str]:
        """The status, and what was said. The last lines count what has changed."""
        inventory = self.folder / "inventory.json"
        inventory.write_text(json.dumps({"firewalls": {"hosts": self.hosts, "vars": self.vars}}))
        done = subprocess.run(
            ["ansible-playbook", "-i", inventory, ROLE / "site.yml"], capture_output=True, text=True,
            env={**os.environ, "ANSIBLE_SSH_EXECUTABLE": str(self.folder / "ssh"),
                 "ANSIBLE_SSH_TRANSFER_METHOD": "piped", "ANSIBLE_HOME": str(self.folder),
                 "ANSIBLE_LOCAL_TEMP": str(self.folder), "LC_ALL": "C.UTF-8"})
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def machines(pair, root, packages):
    both = [Machine(node, root, packages) for node in (pair.mickey, pair.minnie)]
    for machine in both:
        machine.apt("install", "python3", "python3-apt")
    yield both
    for machine in both:
        machine.end()


@pytest.fixture(scope="module")
def controller(machines, packages, tmp_path_factory):
    return Controller(machines, packages, tmp_path_factory.mktemp("ansible"))


def ready(machine: Machine) -> bool:
    return machine.run("encsync", "status", "--ready", check=False).returncode == 0


def test_two_bare_machines_become_a_pair(machines, controller):
    status, said = controller.play()
    assert status == 0, said
    for machine in machines:
        wait_for(lambda: ready(machine), 30, f"{machine.node.name} to be ready", poll=0.3)
        assert machine.run("systemctl", "is-enabled", "encsync").stdout == "enabled\n"


def test_again_it_changes_nothing(controller):
    status, said = controller.play()
    assert status == 0 and said.count("changed=0") == 2, said


def test_what_is_changed_takes_effect(machines, controller):
    def reloads() -> list[int]:
        return [machine.journal().count("Reloaded encsync.service") for machine in machines]

    before = reloads()
    controller.vars["encsync_conn"] = {"dpddelay": "2s"}
    status, said = controller.play()
    assert status == 0, said
    for machine in machines:
        assert "dpddelay=2s" in machine.run("cat", "/etc/encsync/encsync.conf").stdout
        wait_for(lambda: ready(machine), 30, f"{machine.node.name} to be ready", poll=0.3)
    assert reloads() == [count + 1 for count in before]


def test_a_bad_configuration_is_not_put_in_place(machines, controller):
    controller.vars["encsync_setup"] = {"sweeep": "30s"}
    status, said = controller.play()
    assert status != 0 and "sweeep" in said
    for machine in machines:
        assert "sweeep" not in machine.run("cat", "/etc/encsync/encsync.conf").stdout
        assert ready(machine)
