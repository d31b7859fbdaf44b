# SPDX-License-Identifier: ISC
"""The tests of table/conntrack/packet_queue, which are skipped on a kernel that cannot queue
packets with their conntrack entries. This kernel can, so none may be skipped."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path


def test_none_of_them_skips_here():
    program = Path(os.environ["ENCSYNC_TEST_DIR"]) / "table_kernel_test"
    done = subprocess.run([program, "--gtest_filter=PacketQueueTest.*"], capture_output=True,
                          text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "SKIPPED" not in said, said
    passed = re.search(r"\[  PASSED  \] (\d+) tests", said)
    assert passed and int(passed[1]) >= 6, said
