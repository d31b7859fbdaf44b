# SPDX-License-Identifier: ISC
"""A hook of pytest, for the conftest.py of each folder whose tests use a lab:

    from failure_logs import pytest_runtest_makereport  # noqa: F401
"""

from __future__ import annotations

import pytest

from lab import Lab


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """The logs of the labs that stand, in the report of a failed test."""
    report = (yield).get_result()
    if report.failed:
        for lab in Lab.standing:
            report.sections.append((f"logs of {lab.prefix}", lab.last_words()))
