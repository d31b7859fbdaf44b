# SPDX-License-Identifier: ISC
"""maxupd= with real traffic: several changes of one connection are sent in one message."""

from __future__ import annotations

import pytest

from connections import COUNT, say, short

pytestmark = pytest.mark.daemon


def test_a_connection_takes_fewer_messages(fresh):
    pair, (mickey, _), messages = say(fresh, conn={"maxupd": "128"})
    assert short(pair.minnie) == COUNT
    collapsed = mickey.peer("minnie")["collapsed"]
    print(f"{messages / COUNT:.1f} messages a connection, {collapsed / COUNT:.1f} collapsed")
    assert messages <= 4.2 * COUNT  # it begins, is established, and is closed
    assert collapsed > 0  # how many depends on how many events the kernel queued


@pytest.mark.parametrize("maxupd", ["1", "0"])
def test_without_it_every_change_is_said(fresh, maxupd):
    pair, (mickey, _), messages = say(fresh, conn={"maxupd": maxupd})
    assert short(pair.minnie) == COUNT
    print(f"{messages / COUNT:.1f} messages a connection")
    assert mickey.peer("minnie")["collapsed"] == 0
