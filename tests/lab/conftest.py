# SPDX-License-Identifier: ISC
"""What the lab tests share."""

from __future__ import annotations

import os

import pytest

import sync
from lab import Lab
from mallory import Mallory
from pair import FirewallPair
from failure_logs import pytest_runtest_makereport  # noqa: F401


def pytest_configure(config):
    config.addinivalue_line("markers", "daemon: needs encsyncd and encsync")


def pytest_collection_modifyitems(items):
    """Without the programs, tests that need them are skipped. But if ENCSYNC_BIN_DIR names a
    folder, as with CTest, they are required, and missing ones are failures."""
    if sync.built() or "ENCSYNC_BIN_DIR" in os.environ:
        return
    for item in items:
        if item.get_closest_marker("daemon"):
            item.add_marker(pytest.mark.skip(reason=f"no encsyncd in {sync.bin_dir()}"))


@pytest.fixture
def sanitized_command(monkeypatch):
    """For modules whose subject is the command."""
    monkeypatch.setattr(sync.Encsync, "commands", sync.bin_dir())


@pytest.fixture(scope="module")
def lab():
    """One lab per module. Its teardown fails the module if anything is left behind."""
    with Lab(strict=True) as standing:
        yield standing
    assert standing.leftovers() == []


@pytest.fixture
def fresh():
    """A lab for one test, which may break it."""
    with Lab(strict=True) as standing:
        yield standing
    assert standing.leftovers() == []


@pytest.fixture(scope="module")
def pair(lab):
    return FirewallPair(lab)


@pytest.fixture(scope="module")
def instances(pair):
    """encsync on both firewalls, running and in step. No keepalived. The module's tests must leave
    it in step."""
    return sync.begin(pair)


@pytest.fixture(scope="module")
def mallory(pair):
    return Mallory(pair)
