# SPDX-License-Identifier: ISC
"""encsync on a machine that is already a VPN gateway, with strongSwan's own tunnel.

    mickey 192.168.1.100 ---- sync ---- 192.168.1.101 minnie        encsync, ports 5500 and 5501
      192.168.1.200 --------- sync ---- 192.168.1.9   office        strongSwan, 500 and 4500
      10.99.0.1 ========================== 10.99.0.9
"""

from __future__ import annotations

import re

import pytest

import conntrack
import sync
from lab import PYTHON, LabError, wait_for
from pair import SERVER, FirewallPair
from stock import Stock

pytestmark = pytest.mark.daemon

GATEWAY, OFFICE = "192.168.1.200", "192.168.1.9"
INNER = {GATEWAY: "10.99.0.1", OFFICE: "10.99.0.9"}
PORTS = {"ikeport": "5500", "natport": "5501"}
# An IKE daemon that binds one address only.
HOLD = f"""
import socket, sys
ike, natt = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
ike.bind(("{GATEWAY}", 500))
natt.bind(("{GATEWAY}", 4500))
print("bound", flush=True)
sys.stdin.read()
"""


class Vpn(Stock):
    """The system's strongSwan, with a tunnel of its own."""

    def __init__(self, node, left: str, right: str):
        super().__init__(node, left)
        self.inner = INNER[left], INNER[right]
        self.configure("vpn", right=right, left_id=left, right_id=right, local="auth = psk",
                       remote="auth = psk", secrets='ike-vpn { secret = "only for this lab" }',
                       local_ts=f"{self.inner[0]}/32", remote_ts=f"{self.inner[1]}/32")
        node.ip(f"addr replace {self.inner[0]}/32 dev lo",
                f"route replace {self.inner[1]}/32 dev ipsec0 src {self.inner[0]}")

    def _values(self, name: str) -> list[str]:
        return re.findall(rf"\b{name}=([0-9a-f]+)", self.swanctl("--list-sas", "--raw").stdout)

    def spis(self) -> set[str]:
        return set(self._values("spi-in")) | set(self._values("spi-out"))

    def carries(self) -> bool:
        """Pings are answered, through an SA of its own."""
        before = sum(map(int, self._values("packets-in")))
        done = self.node.run("busybox", "ping", "-c2", "-W3", self.inner[1], check=False)
        return done.returncode == 0 and sum(map(int, self._values("packets-in"))) >= before + 2


@pytest.fixture
def town(fresh):
    """The pair, and an office to which mickey is the gateway."""
    pair = FirewallPair(fresh)
    office = fresh.node("office")
    fresh.plug(office, "sync", pair.sync_switch, f"{OFFICE}/24")
    pair.mickey.ip(f"addr add {GATEWAY}/24 dev sync")
    return pair, office


def encsync_carries(pair, port: int) -> None:
    conntrack.insert(pair.mickey, "10.0.0.30", SERVER[0], port, 443)
    wait_for(lambda: any(flow.orig.sport == port for flow in pair.flows(pair.minnie)), 10,
             f"the flow from port {port} to arrive")


def test_two_tunnels_side_by_side(town):
    pair, office = town
    instances = mickey, minnie = sync.equip(pair, setup=PORTS)
    theirs, far = Vpn(pair.mickey, GATEWAY, OFFICE), Vpn(office, OFFICE, GATEWAY)
    far.initiate("vpn")
    assert theirs.carries()
    for instance in instances:
        instance.start()
    sync.wait_settled(*instances)
    encsync_carries(pair, 1)
    assert theirs.carries()

    # Neither knows the other's SAs.
    ours, spis = {spi for _, _, spi in mickey.spis()}, theirs.spis()
    assert len(ours) == len(spis) == 2 and not ours & spis
    seen = theirs.sas() + theirs.swanctl("--list-conns").stdout
    assert "vpn" in seen and "minnie" not in seen

    # Rekeys of one do not affect the other.
    mickey.command("keys", "rotate", "--what", "sa")
    wait_for(lambda: not ours & {spi for _, _, spi in mickey.spis()}, 40,
             "new SAs, and the end of the old ones")
    assert theirs.spis() == spis
    kept = mickey.spis()
    far.swanctl("--rekey", "--child", "vpn")
    wait_for(lambda: len(now := theirs.spis()) == 2 and not now & spis, 20,
             "the VPN's new SAs, and the end of the old ones")
    assert mickey.spis() == kept
    assert theirs.carries()
    encsync_carries(pair, 2)

    # Each continues without the other.
    mickey.stop()
    assert theirs.carries()
    mickey.start()
    sync.wait_settled(*instances)
    kept = mickey.spis()
    theirs.charon.stop()
    with pytest.raises(LabError):
        theirs.spis()
    assert mickey.spis() == kept and mickey.ready()
    encsync_carries(pair, 3)


def test_a_taken_port_is_refused_with_the_holders_name(town):
    pair, _ = town
    mickey, _ = sync.equip(pair)
    theirs = Vpn(pair.mickey, GATEWAY, OFFICE)  # it binds all addresses
    with pytest.raises(LabError) as refused:
        mickey.start()
    assert f"UDP 192.168.1.100:500 is taken by charon (pid {theirs.charon.pid})" in \
        str(refused.value)
    theirs.charon.stop()
    mickey.start()  # control


def test_encsync_binds_its_own_addresses_only(town):
    """A port that is taken on another address is free on ours."""
    pair, _ = town
    other = pair.mickey.start(PYTHON, "-c", HOLD, name="another-ike", stdin=True)
    wait_for(lambda: "bound" in other.output(), 10, "the ports to be taken")
    instances = sync.equip(pair)
    for instance in instances:
        instance.start()
    sync.wait_in_step(*instances)
    encsync_carries(pair, 1)
    assert other.running
