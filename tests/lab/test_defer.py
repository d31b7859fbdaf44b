# SPDX-License-Identifier: ISC
"""defer= with a kernel that cannot do it: a clear error at the start. tests/vm tests it with a
kernel that can."""

from __future__ import annotations

import pytest

import sync
from lab import LabError, Node
from pair import FirewallPair

pytestmark = pytest.mark.daemon

PROBE = "table inet probe { chain c { type filter hook postrouting priority 0; queue num 1 }; }"


def queues(node: Node) -> bool:
    return node.run("nft", "--check", PROBE, check=False).returncode == 0


def test_without_a_queue_in_the_kernel_it_does_not_start(fresh):
    pair = FirewallPair(fresh)
    mickey, minnie = sync.equip(pair)
    if queues(pair.mickey):
        pytest.skip("this kernel has nft_queue")
    mickey.setup["defer"] = "yes"
    mickey.write_config()
    with pytest.raises(LabError, match="ended with status 1"):
        mickey.start()
    assert "defer=yes needs a kernel whose nftables can queue packets (nft_queue" in mickey.log()
    assert "encsync" not in pair.mickey.run("nft", "list", "tables").stdout
    # Control.
    mickey.setup["defer"] = "no"
    mickey.write_config()
    mickey.start()
    assert "defer" not in mickey.status()
