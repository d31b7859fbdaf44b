# SPDX-License-Identifier: ISC
"""Prometheus' own checker of metrics and rules: Debian's, unpacked and cached in build/promtool, not
installed, because its package brings a service and a web interface.

    done = promtool("check", "metrics", input=text)
"""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
from pathlib import Path

PACKAGE = "prometheus"
CACHE = Path(__file__).resolve().parents[2] / "build" / "promtool"


def _fetch(program: Path) -> None:
    def run(*command: str | Path) -> None:
        subprocess.run(command, cwd=scratch, check=True, stdout=subprocess.DEVNULL)

    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        try:
            run("apt-get", "download", "-q", PACKAGE)
        except subprocess.CalledProcessError:  # the lists may name a version that is gone
            run("apt-get", "update", "-q")
            run("apt-get", "download", "-q", PACKAGE)
        (package,) = Path(scratch).glob("*.deb")
        run("sh", "-ec", 'dpkg-deb --fsys-tarfile "$1" | tar -x ./usr/bin/promtool', "sh", package)
        (Path(scratch) / "usr/bin/promtool").rename(program)


def promtool(*args: str | Path, input: str | None = None,
             cwd: Path | None = None) -> subprocess.CompletedProcess:
    CACHE.mkdir(parents=True, exist_ok=True)
    program = CACHE / "promtool"
    with (CACHE / "lock").open("w") as lock:  # two tests may start at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _fetch(program)
    return subprocess.run([program, *args], input=input, cwd=cwd, capture_output=True, text=True,
                          timeout=120)
