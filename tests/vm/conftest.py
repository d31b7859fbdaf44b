# SPDX-License-Identifier: ISC
"""The lab's fixtures, for tests that need Debian's stock kernel. They run inside the guest:

    python3 tests/vm/guest.py python3 -m pytest tests/vm/test_kernel.py
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


def pytest_collection_modifyitems(items):
    inside = Path("/run/host/command").exists()
    for item in items:
        if inside == item.path.name.endswith("_on_host.py"):
            pytest.exit(f"{item.path.name} runs {'out' if inside else 'in'}side the guest", 4)
