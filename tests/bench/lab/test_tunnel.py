# SPDX-License-Identifier: ISC
"""The tunnel's benchmark measures correctly: pytest tests/bench/lab (as root)."""

from __future__ import annotations

import pytest

import topology  # noqa: F401  first: it adds the lab's library to the path
from lab import Lab, LabError
from pair import bin_dir

import tunnel

# Only built without sanitizers: ./run bench, or the preset bench.
pytestmark = pytest.mark.skipif(
    not (bin_dir() / "lab_tunnel").exists(), reason="lab_tunnel is not built"
)

LOSSY = """
table inet lossy {
    chain in {
        type filter hook input priority 0
        udp dport 4500 limit rate over 10/second burst 20 packets drop
    }
}
"""


@pytest.fixture
def nodes():
    with Lab() as lab:
        yield tunnel.build(lab)


def test_all_packets_arrive_once_and_in_order(nodes):
    result = tunnel._send("esp", nodes, tunnel.OUTER, 20_000, 2048, 3)
    assert result["lost"] == result["disordered"] == 0
    assert result["rekeys"] == 3 and result["generations"] == 4
    assert result["packets_per_second"] > 0


def test_a_loss_is_seen(nodes):
    nodes[1].nft(LOSSY)
    result = tunnel._send("esp", nodes, tunnel.OUTER, 6000, 2048)
    assert 0 < result["lost"] < 6000


def test_packets_beside_the_tunnel_are_no_figure(nodes):
    # There is no route yet: the tunnel adds it.
    with pytest.raises(LabError, match="unreachable"):
        tunnel._send("plain", nodes, tunnel.INNER, 100, 10)
    with tunnel.LibIpsec(nodes) as ipsec:
        assert tunnel._theirs(nodes, print, ipsec, 32)["packets"] == tunnel.THEIR_PACKETS
        before = ipsec.packets_in_sa()
        tunnel._send("plain", nodes, tunnel.OUTER, 100, 10)  # without encryption
        assert ipsec.packets_in_sa() == before
