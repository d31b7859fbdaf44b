# SPDX-License-Identifier: ISC
"""Shared by the tests of the installation: a build that was installed below a DESTDIR."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "lab"))

from failure_logs import pytest_runtest_makereport  # noqa: E402, F401


def build_dir() -> Path:
    """ENCSYNC_BUILD_DIR, as set by CTest, or that of ./run build."""
    return Path(os.environ.get("ENCSYNC_BUILD_DIR", REPOSITORY / "build"))


def install(destdir: Path, build: Path | None = None, **options) -> subprocess.CompletedProcess:
    # With a umask that would deny access to all others, which must have no effect.
    return subprocess.run([REPOSITORY / "conf" / "install.sh", build or build_dir()],
                          env={**os.environ, "DESTDIR": str(destdir)}, umask=0o077,
                          capture_output=True, text=True, **options)


@pytest.fixture(scope="session")
def destdir(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("destdir")
    place.chmod(0o755)
    done = install(place)
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture(scope="session")
def unit(destdir) -> Path:
    return destdir / "usr/local/lib/systemd/system/encsync.service"
