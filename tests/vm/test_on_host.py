# SPDX-License-Identifier: ISC
"""guest.py reports how the guest ended. Runs on the host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
BROKEN = 125


def guest(*command: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, HERE / "guest.py", *command], capture_output=True,
                          text=True, **options)


def test_output_status_environment_and_folder_come_through(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("kept")
    done = guest("sh", "-c", 'pwd; echo "$FROM_HOST" >&2; cat precious; echo lost >precious;'
                 " sync; exit 7", cwd=tmp_path, env={**os.environ, "FROM_HOST": "a 'b' $c"})
    assert done.returncode == 7, done.stderr
    assert done.stdout.split("\n") == [str(tmp_path), "a 'b' $c", "kept"]
    assert precious.read_text() == "kept"  # the guest's write went to its own memory


@pytest.mark.parametrize("command, why", [
    ("echo c >/proc/sysrq-trigger", "Kernel panic"),
    ("sleep 600", "did not end in time"),
])
def test_a_panic_or_a_hang_is_no_success(command, why, tmp_path):
    # The limit also applies on a busy machine: the guest ended by it, not by itself.
    done = guest("--time-limit", "60" if "panic" in why else "15", "sh", "-c", command,
                 env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == BROKEN
    assert why in done.stderr
    assert list(tmp_path.iterdir()) == []
