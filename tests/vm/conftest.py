# SPDX-License-Identifier: ISC
"""The lab's fixtures, for tests that need Debian's stock kernel. They run inside the guest:

    python3 tests/vm/guest.py python3 -m pytest tests/vm/test_kernel.py

All files share one guest. The name of each test is written to the guest's kernel log, so that the
console shows which one a message belongs to.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

LAB = Path(__file__).resolve().parents[1] / "lab"
sys.path.insert(0, str(LAB))

_spec = importlib.util.spec_from_file_location("lab_conftest", LAB / "conftest.py")
_lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_lab)
pytest_configure = _lab.pytest_configure
pytest_runtest_makereport = _lab.pytest_runtest_makereport
lab, fresh, pair, mallory = _lab.lab, _lab.fresh, _lab.pair, _lab.mallory


INSIDE = Path("/run/host/command").exists()
collect_ignore_glob = ["*_on_host.py"] if INSIDE else []


def pytest_collection_modifyitems(items):
    for item in items:
        if INSIDE == item.path.name.endswith("_on_host.py"):
            pytest.exit(f"{item.path.name} runs {'out' if INSIDE else 'in'}side the guest", 4)
    items.sort(key=lambda item: "clock" in item.path.name)  # last: they change the date


def pytest_runtest_logstart(nodeid):
    if INSIDE:
        Path("/dev/kmsg").write_text(f"<3>{nodeid}\n")
