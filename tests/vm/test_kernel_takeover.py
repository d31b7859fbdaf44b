# SPDX-License-Identifier: ISC
"""The demo's takeover, with ESP by the kernels of both firewalls."""

from __future__ import annotations

import demo
import pytest
from pair import FirewallPair


@pytest.mark.parametrize("with_sync", [True, False])
def test_no_client_notices_unless_sync_is_off(fresh, with_sync):
    pair = FirewallPair(fresh)
    figures = demo.tell(pair, demo.Teller(), with_sync, setup={"ipsec": "kernel"}, rate=200_000,
                        patience=4)
    if with_sync:
        assert figures.held(), figures
    else:
        assert figures.broke(), figures
