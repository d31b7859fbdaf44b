# SPDX-License-Identifier: ISC
"""ML-KEM as an additional key exchange of IKE (RFC 9370): used by two nodes whose charon has it, and
by none if one of them has it not. Runs only where charon has it (tests/lab/CMakeLists.txt)."""

from __future__ import annotations

import pytest

import conntrack
import sync
from lab import wait_for
from pair import SERVER, FirewallPair

pytestmark = pytest.mark.daemon

CLASSIC = "aes256gcm16-prfsha384-curve25519"
HYBRID = f"{CLASSIC}-ke1_mlkem768"


def exchanges(instance) -> set[str]:
    """Of the IKE SAs, as encsync sas says."""
    return {sa["key_exchange"] for sa in instance.json("sas") if not sa["retiring"]}


def post_quantum(instance, peer: str) -> str:
    return (instance.peer(peer) or {}).get("post_quantum", "")


@pytest.fixture
def nodes(fresh):
    pair = FirewallPair(fresh)
    return pair, list(sync.equip(pair))


def begin(*instances) -> None:
    for instance in instances:
        instance.write_config()
        instance.start()
    sync.wait_in_step(*instances)


def test_both_use_it_by_default_and_keep_it(nodes):
    pair, (mickey, minnie) = nodes
    mickey.conn["ppk"] = "no"
    begin(mickey, minnie)
    for instance, peer in ((mickey, "minnie"), (minnie, "mickey")):
        assert exchanges(instance) == {"curve25519-ke1_mlkem768"}
        assert post_quantum(instance, peer) == "ml-kem"
    assert "curve25519-ke1_mlkem768" in mickey.command("sas").stdout
    assert "ml-kem" in mickey.command("peers").stdout
    # Rekeyed under load: no change lost, and the next keys are made with it, too.
    first = {sa["spi"] for sa in mickey.json("sas")}
    mickey.command("keys", "rotate", "--what", "sa")
    for port in range(1000, 1200):
        conntrack.insert(pair.mickey, "10.0.0.40", SERVER[0], port, 443)
    wait_for(lambda: not first & {sa["spi"] for sa in mickey.json("sas")}, 30, "other SAs", 0.3)
    wait_for(lambda: len(pair.flows(pair.minnie)) == 200, 10, "every change to be there")
    assert exchanges(mickey) == exchanges(minnie) == {"curve25519-ke1_mlkem768"}


def test_one_without_it_is_told_apart(nodes):
    _, (mickey, minnie) = nodes
    minnie.conn.update(ike=CLASSIC, ppk="no")
    begin(mickey, minnie)
    for instance, peer in ((mickey, "minnie"), (minnie, "mickey")):
        assert exchanges(instance) == {"curve25519"}
        assert post_quantum(instance, peer) == "no"


def test_one_that_insists_refuses_one_without_it(nodes):
    _, (mickey, minnie) = nodes
    mickey.conn["ike"], minnie.conn["ike"] = HYBRID, CLASSIC
    for instance in (mickey, minnie):
        instance.write_config()
        instance.start()
    wait_for(lambda: "no proposal in common" in (mickey.peer("minnie") or {}).get("last_error", ""),
             20, "the reason", 0.2)
    assert exchanges(mickey) == set()


def test_beside_a_preshared_key(nodes):
    _, (mickey, minnie) = nodes
    begin(mickey, minnie)
    wait_for(lambda: post_quantum(mickey, "minnie") == "ml-kem, ppk", 40, "both", 0.3)
