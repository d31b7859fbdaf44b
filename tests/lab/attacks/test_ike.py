# SPDX-License-Identifier: ISC
"""IKE on a hostile switch: negotiations that are begun and not finished, and offers made weaker. A stock
strongSwan on the same switch, with its defaults, is the control."""

from __future__ import annotations

import pytest

import conntrack
import ike
import sync
from hostile_switch import HostileSwitch
from lab import wait_for
from pair import SERVER, SYNC, FirewallPair
from stock import IKE, NEEDED, Stock

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.skipif(not all(file.exists() for file in NEEDED),
                       reason="needs libcharon-extra-plugins and strongswan-swanctl"),
]

WEAK_IKE = IKE.replace("aes256", "aes128")


class Path:
    """mickey calls minnie; donald is the stock strongSwan. request: one that mickey has sent."""

    def __init__(self, lab):
        pair = FirewallPair(lab)
        donald = lab.node("donald")
        lab.plug(donald, "sync", pair.sync_switch, f"{SYNC['donald']}/24")
        self.switch = HostileSwitch(pair.sync_switch, *((node, "sync") for node in (
            *pair.firewalls, donald)))
        # A flood takes the processor from them, too, and none is to be taken for dead.
        self.both = self.mickey, self.minnie = sync.equip(pair, conn={"dpdtimeout": "30s"})
        self.minnie.each["mickey"] = {"auto": "add"}
        self.minnie.write_config()
        self.stock = Stock(donald, SYNC["donald"])
        self.stock.configure("mickey", SYNC["mickey"], "auth = psk", "auth = psk",
                             'ike-mickey { secret = "0123456789abcdef0123456789abcdef" }',
                             ike=f"{IKE},{WEAK_IKE}")
        self.switch.play("mickey", "minnie", "show")
        for instance in self.both:
            instance.start()
        sync.wait_in_step(*self.both)
        self.request = self.switch.kept(SYNC["minnie"])[0]
        self.to_stock = ike.with_ike(bytes.fromhex(donald.mac("sync").replace(":", ""))
                                     + self.request[6:], self.request[ike.AT :], SYNC["donald"])
        donald.ip(f"neigh add {SYNC['mickey']} lladdr {pair.mickey.mac('sync')} dev sync")


@pytest.fixture(scope="module")
def path(lab):
    return Path(lab)


def test_offers_made_weaker_are_refused_by_name(path):
    mickey, minnie, switch = path.mickey, path.minnie, path.switch
    switch.play("mickey", "minnie", "weaken")
    mickey.kill()
    wait_for(lambda: not minnie.peer("mickey")["state"] == "up", 60, "minnie to miss mickey")
    mickey.start()
    wait_for(lambda: "AES_GCM_16_128" in minnie.peer("mickey")["last_error"], 30, "the refusal")
    assert "no common proposal for ike" in minnie.peer("mickey")["last_error"]
    assert mickey.spis() == set() and not mickey.ready()
    switch.play("mickey", "minnie", "show")
    sync.wait_in_step(*path.both, timeout=60)
    # Control: who supports it takes the weaker one.
    switch.play("donald", "mickey", "answers")
    switch.send("donald", ike.another(ike.weakened(path.to_stock)))
    (answer, *_) = wait_for(lambda: switch.kept(SYNC["mickey"]), 10, "the stock one's answer")
    assert ike.WEAK in answer and ike.STRONG not in answer


def test_negotiations_that_are_not_finished_keep_nobody_out(path):
    mickey, minnie, switch = path.mickey, path.minnie, path.switch
    sync.wait_settled(mickey, minnie)  # mickey may have been started by the test before
    spi = minnie.peer("mickey")["spi_out"]
    switch.flood("minnie", path.request)
    wait_for(lambda: switch.flooded("minnie")[2] > 200, 60, "200 negotiations to be open")
    wait_for(lambda: "somebody begins negotiations from its address" in
             minnie.peer("mickey")["last_error"], 10, "minnie to say so")
    assert minnie.peer("mickey")["spi_out"] == spi  # what is there does not notice
    conntrack.insert(mickey.node, "10.0.0.30", SERVER[0], 2000, 443)
    wait_for(lambda: any(flow.orig.sport == 2000 for flow in conntrack.table(minnie.node)), 10,
             "a new flow to reach minnie")
    begun, cookies, _ = switch.flooded("minnie")
    assert cookies > 100  # who does not return them gets nowhere
    mickey.restart()
    sync.wait_in_step(*path.both, timeout=60)
    assert switch.flooded("minnie")[0] > begun and minnie.peer("mickey")["spi_out"] != spi
    # Control: with its defaults a strongSwan takes no more negotiations from that address.
    switch.flood("donald", path.to_stock)
    wait_for(lambda: "half-open IKE_SA limit" in path.stock.charon.output()
             + path.stock.charon.errors(), 20, "the stock one to refuse mickey's address")
