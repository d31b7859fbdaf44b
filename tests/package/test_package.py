# SPDX-License-Identifier: ISC
"""The Debian package on machines with systemd: what it puts there, the first hour, and every way out."""

from __future__ import annotations

import json
import re

from machine import Machine

OURS = {"encsyncd", "encsync-ike", "charon"}
STARTER = "systemctl disable --now strongswan-starter"
CONFIG, KEYS, TABLE = "/etc/encsync/encsync.conf", "/var/lib/encsync/keys", "inet encsync"


def there(machine: Machine, path: str) -> bool:
    return machine.run("test", "-e", path, check=False).returncode == 0


def configure(machine: Machine) -> None:
    machine.run(*STARTER.split())
    machine.run("encsync", "setup", "--node", "daisy", "--peer", "donald", "--right", "192.0.2.2")


def test_a_bare_machine_has_all_and_runs_nothing(machine):
    said = machine.apt("install", "/packages/encsync.deb").stdout
    assert "encsync is installed, and not running yet" in said
    steps = re.findall(r"^  \d\. (.*?)(?:   .*)?$", said, re.M)
    assert steps == [STARTER, "encsync setup", "systemctl enable --now encsync", "encsync status"]
    assert machine.run("systemctl", "is-enabled", "encsync", check=False).stdout == "disabled\n"
    assert not machine.active()
    passwd = machine.run("getent", "passwd", "encsync").stdout
    assert passwd.rstrip().endswith(":/nonexistent:/usr/sbin/nologin")
    assert machine.run("stat", "-c", "%a %U", "/var/lib/encsync").stdout == "700 root\n"
    version = machine.run("encsync", "--version").stdout
    assert machine.run("encsyncd", "--version").stdout == f"encsyncd {version}"
    assert there(machine, "/usr/share/man/man8/encsync.8.gz")
    assert there(machine, "/usr/share/bash-completion/completions/encsync")
    assert machine.run("encsync", "check", "/etc/encsync/encsync.conf.example").returncode == 0
    unit = machine.run("systemctl", "show", "-P", "FragmentPath", "encsync").stdout.strip()
    verified = machine.run("systemd-analyze", "verify", unit, check=False).stderr
    assert "not executable" not in verified and "Unknown" not in verified, verified
    assert not there(machine, CONFIG) and not there(machine, KEYS)


def test_without_a_configuration_it_says_what_is_missing(machine):
    machine.apt("install", "/packages/encsync.deb")
    machine.run("systemctl", "start", "encsync", check=False)
    machine.run("systemctl", "stop", "encsync")
    assert CONFIG in machine.journal()


def test_beside_another_charon_it_is_not_configured(machine):
    machine.run("dpkg", "-i", "/packages/other_charon.deb")
    done = machine.apt("install", "/packages/encsync.deb", check=False)
    assert done.returncode != 0 and "strongswan-libcharon (< " in done.stdout
    done = machine.run("dpkg", "-i", "/packages/encsync.deb", check=False)
    assert done.returncode != 0 and "strongswan-libcharon" in done.stderr
    state = machine.run("dpkg-query", "-W", "-f", "${db:Status-Status}", "encsync").stdout
    assert state == "unpacked"


def test_removed_it_keeps_configuration_and_keys_and_purged_nothing(machine):
    machine.apt("install", "/packages/encsync.deb")
    configure(machine)
    machine.run("systemctl", "enable", "--now", "encsync")
    assert OURS <= machine.programs()
    assert machine.active() and json.loads(machine.run("encsync", "status", "--json").stdout)
    assert machine.run("nft", "list", "table", *TABLE.split()).returncode == 0
    key = machine.run("encsync", "keys", "export").stdout

    machine.apt("remove", "encsync")
    assert not OURS & machine.programs()
    assert not there(machine, "/usr/sbin/encsyncd")
    assert there(machine, CONFIG) and there(machine, KEYS)
    # Nobody is let in by its absence.
    assert machine.run("nft", "list", "table", *TABLE.split()).returncode == 0

    said = machine.apt("install", "/packages/encsync.deb").stdout
    assert "not running yet" not in said  # it is set up already
    assert machine.run("systemctl", "is-enabled", "encsync").stdout == "enabled\n"
    assert machine.active()
    assert machine.run("encsync", "keys", "export").stdout == key

    machine.run("touch", "/etc/encsync/mine.pem")
    machine.apt("purge", "encsync")
    assert machine.run("ls", "/etc/encsync").stdout == "mine.pem\n"
    assert not there(machine, "/var/lib/encsync") and not there(machine, "/run/encsync")
    assert "encsync" not in machine.run("nft", "list", "tables").stdout
    assert machine.run("sh", "-c", "systemctl list-unit-files | grep encsync",
                       check=False).stdout == ""
