# SPDX-License-Identifier: ISC
"""A peer with valid keys that sends too much, or speaks of states that are not its business: each is
refused by name, and neither the victim's own flows nor an honest peer's notice.

    mickey (encsync) ---- switch ---- minnie (strongSwan, and pfsync of her own making)
                             |
                          donald (encsync)
"""

from __future__ import annotations

import secrets
import struct

import pytest

import conntrack
import mallory
import sync
from lab import wait_for
from stock import NEEDED, Stock

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.skipif(not all(file.exists() for file in NEEDED),
                       reason="needs libcharon-extra-plugins and strongswan-swanctl"),
]

ADDRESS = {"mickey": "192.168.1.100", "minnie": "192.168.1.101", "donald": "192.168.1.102"}
CREATOR = 0x0A0B0C0D
RATE = 500
LIMITS = {"maxinserts": str(RATE), "maxrequests": "20", "maxclears": "2", "maxshare": "1",
          "creators": f"{CREATOR:08x}"}
AT_ONCE = 4  # states in a packet


class Trio:
    def __init__(self, lab):
        switch = lab.switch("syncsw")
        self.nodes = {name: lab.node(name) for name in ADDRESS}
        for name, node in self.nodes.items():
            lab.plug(node, "sync", switch, f"{ADDRESS[name]}/24")
        psk = secrets.token_hex(32)
        file = lab.dir / "minnie.psk"
        file.write_text(psk + "\n")
        file.chmod(0o600)
        self.mickey = sync.Encsync(
            self.nodes["mickey"], {name: ADDRESS[name] for name in ("minnie", "donald")},
            left=ADDRESS["mickey"],
            each={"minnie": {"wire": "openbsd", "esp": "aes256gcm16-curve25519-noesn",
                             "authby": "psk", "secretfile": str(file), **LIMITS}})
        self.donald = sync.Encsync(self.nodes["donald"], {"mickey": ADDRESS["mickey"]},
                                   left=ADDRESS["donald"])
        sync.introduce(self.mickey, self.donald)
        self.minnie = Stock(self.nodes["minnie"], ADDRESS["minnie"])
        self.minnie.configure("mickey", ADDRESS["mickey"], local="auth = psk",
                              remote="auth = psk",
                              secrets=f'ike-mickey {{ secret = "{psk}" }}')
        self.mickey.start()
        self.donald.start()
        wait_for(lambda: self.mickey.peer("minnie")["state"] == "up", 20, "minnie to be up")
        wait_for(lambda: (self.mickey.peer("donald") or {}).get("in_step"), 20,
                 "donald to be in step")
        self.minnie.talk(ADDRESS["mickey"])

    def insert(self, first: int, creator: int = CREATOR) -> None:
        self.minnie.send(mallory.pfsync(mallory.ACTION_INS, *(
            mallory.full_state(number % 50000, creator, f"10.66.{number >> 8 & 255}.{number & 255}")
            for number in range(first, first + AT_ONCE))))

    def refusals(self, name: str = "minnie") -> dict[str, int]:
        return self.mickey.peer(name)["refusals"]

    def planted(self) -> int:
        return sum(flow.orig.src.startswith("10.66.") for flow in
                   conntrack.table(self.nodes["mickey"]))


def test_an_insider_keeps_to_its_limits(fresh):
    trio = Trio(fresh)
    mickey, minnie = trio.mickey, trio.minnie
    # Within its limits all goes on.
    trio.insert(0)
    wait_for(lambda: trio.planted() == AT_ONCE, 10, "minnie's states to be in mickey's kernel")
    assert trio.refusals() == {}

    # For another creator; in requests and in CLR without end.
    own = int(next(line for line in mickey.command("keys", "show").stdout.splitlines()
                   if "creatorid" in line).split("creatorid ")[1][:8], 16)
    trio.insert(100, own)
    trio.insert(200, 0x77777777)
    for number in range(200):
        minnie.send(mallory.pfsync(mallory.ACTION_UPD_REQ, struct.pack("!QI", number, CREATOR)))
    for _ in range(20):
        minnie.send(mallory.pfsync(mallory.ACTION_CLR, bytes(16) + struct.pack("!I", 0x0A0A0A0A)))
        minnie.send(mallory.pfsync(mallory.ACTION_CLR, bytes(16) + struct.pack("!I", CREATOR)))
    wait_for(lambda: trio.refusals().get("foreign_creatorid", 0) == 2 * AT_ONCE + 20, 10,
             "states and CLR of other creators to be refused")
    wait_for(lambda: trio.refusals().get("request_rate", 0) > 0, 10, "requests to be limited")
    wait_for(lambda: trio.refusals().get("clear_rate", 0) > 0, 10, "CLR to be limited")

    # More states than its rate, until it has its share.
    number = 1000

    def flood() -> bool:
        nonlocal number
        for _ in range(RATE // AT_ONCE):
            trio.insert(number)
            number += AT_ONCE
        return trio.refusals().get("share", 0) > 0

    wait_for(flood, 120, "minnie to have its share", 0)
    refusals = trio.refusals()
    assert refusals["insert_rate"] > 0
    share = trio.planted()

    # Nobody else notices: own new flows, and those of an honest peer.
    conntrack.insert_many(trio.nodes["mickey"], 100, "10.0.1")
    conntrack.insert_many(trio.nodes["donald"], 100, "10.0.2")
    for node, network in (("donald", "10.0.1."), ("mickey", "10.0.2.")):
        wait_for(lambda: sum(flow.orig.src.startswith(network) for flow in
                             conntrack.table(trio.nodes[node])) == 100, 20,
                 f"all flows of {network} to be on {node}")
    assert trio.refusals("donald") == {}
    flood()
    assert trio.planted() <= share + 50  # of what had ended since
    # One line at the first of a kind, and not one for each of thousands.
    for name in ("foreign_creatorid", "request_rate", "clear_rate", "insert_rate", "share"):
        wait_for(lambda: f"({name})" in mickey.log(), 10, f"the log to name {name}")
        assert mickey.log().count(f"({name})") <= 3
    shown = mickey.command("policy", "show").stdout
    assert f"at most {RATE} new states a second (maxinserts)" in shown
    assert "not accepted: " in shown and "foreign_creatorid" in shown
