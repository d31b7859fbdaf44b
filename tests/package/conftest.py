# SPDX-License-Identifier: ISC
"""The package of ./run package on machines with systemd (machine.py), in the lab of the firewall pair.

    ENCSYNC_PACKAGES   the folder with the .deb
    ENCSYNC_SUITE      of which Debian the machines are
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lab"))

from lab import Lab  # noqa: E402
from machine import Machine, groups, remove_groups  # noqa: E402
from pair import FirewallPair  # noqa: E402
from failure_logs import pytest_runtest_makereport  # noqa: E402, F401


def repack(package: Path, version: str, folder: Path) -> None:
    """The same package as another version."""
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = tree / "DEBIAN/control"
    lines = control.read_text().splitlines(keepends=True)
    control.write_text("".join(f"Version: {version}\n" if line.startswith("Version:") else line
                               for line in lines))
    build(tree, folder / f"encsync_{version}.deb")


def build(tree: Path, package: Path) -> None:
    subprocess.run(["dpkg-deb", "-Zgzip", "-z1", "--root-owner-group", "-b", tree, package],
                   check=True, capture_output=True)


@pytest.fixture(scope="session", autouse=True)
def no_group_is_left():
    yield
    left = groups()  # of machines that a failed test has not ended
    remove_groups(left)
    assert groups() == []


@pytest.fixture(scope="session")
def packages(tmp_path_factory) -> Path:
    """encsync.deb, encsync_99.deb (newer), and a charon that it was not built for."""
    folder = tmp_path_factory.mktemp("packages")
    [package] = Path(os.environ["ENCSYNC_PACKAGES"]).glob("encsync_*.deb")
    os.link(package, folder / "encsync.deb")
    repack(package, "99", folder)
    other = folder / "other"
    (other / "DEBIAN").mkdir(parents=True)
    (other / "DEBIAN/control").write_text(
        "Package: strongswan-libcharon\nVersion: 99-1\nArchitecture: all\n"
        "Maintainer: nobody <nobody@example.org>\nDescription: another charon\n")
    build(other, folder / "other_charon.deb")
    return folder


@pytest.fixture(scope="session")
def root(packages) -> Path:
    done = subprocess.run([HERE / "root.sh", os.environ["ENCSYNC_SUITE"], packages / "encsync.deb"],
                          stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def pair():
    with Lab(strict=True) as lab:
        yield FirewallPair(lab)
    assert lab.leftovers() == []


@pytest.fixture
def machine(root, packages):
    """One machine by itself, on which nothing of encsync has been."""
    with Lab(strict=True) as lab:
        node = lab.node("daisy")
        lab.plug(node, "sync", lab.switch("switch"), "192.0.2.1/24")
        one = Machine(node, root, packages)
        yield one
        one.end()
    assert lab.leftovers() == []
