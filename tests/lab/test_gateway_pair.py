# SPDX-License-Identifier: ISC
"""Two gateways at one site, of which one is active: mickey dies, gladstone takes over. The roles come
from keepalived, configured as docs/gateway.md says, or from `encsync role`.

    donald ---- segment ---- mickey    ====
     (pf)          \\                       switch ==== minnie ---- daisy (pf)
                    ------- gladstone  ====
"""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import sites
import sync
from lab import Lab, Process, wait_for
from pair import repository, run_keepalived
from pf_end import GROUP
from pf_firewall import PfFirewall
from sites import LEFT, MICKEY, MINNIE, RIGHT
from two_pf import DAISY, DONALD, TIMEOUTS, WIRES, settle, wait_same

pytestmark = pytest.mark.daemon

GLADSTONE, SECOND_LEFT = "192.168.1.101", "172.16.0.11"
VIRTUAL = "172.16.0.100"  # in docs/gateway.md


def documented(gateway: sync.Encsync) -> str:
    """The keepalived.conf of docs/gateway.md, with this lab's names in place of a machine's."""
    text = (repository() / "docs" / "gateway.md").read_text()
    config = re.search(r"^    global_defs \{\n(?:    .*\n)+", text, re.MULTILINE)[0]
    for name, here in (
            # Only of the machine's own folders does keepalived believe that they are safe.
            ("enable_script_security", ""),
            ("/run/encsync-vrrp.fifo", gateway.node.volatile / "vrrp.fifo"),
            ("/run/encsync/", f"{gateway.run_dir}/"),
            ("/usr/bin/encsync keepalived", " ".join(map(str, gateway.argv("keepalived")))),
            ("/usr/bin/encsync status --ready", " ".join(map(str, gateway.ready_argv()))),
            ("interface eth1", "interface cable")):
        assert name in config, name
        config = config.replace(name, str(here))
    return config


class Pair:
    """keepalived: it gives the roles. Otherwise mickey is active from the start."""

    def __init__(self, lab: Lab, wire: str, keepalived: bool = False):
        segment, switch = lab.switch("segment"), lab.switch("syncsw")
        addresses = {"mickey": MICKEY, "gladstone": GLADSTONE, "minnie": MINNIE}
        self.firewall = lab.node("donald")
        lab.plug(self.firewall, "cable", segment, f"{RIGHT}/24")

        def gateway(name: str, left: str, role: str) -> sync.Encsync:
            node = lab.node(name)
            lab.plug(node, "cable", segment, f"{left}/24")
            peers = {"donald": RIGHT} | {n: a for n, a in addresses.items() if n != name}
            return sync.Encsync(
                node, peers, left=addresses[name],
                setup={"table": "relay", "role": "standby" if keepalived else role},
                conn={"wire": wire},
                each={"donald": {"left": left, "type": "cable", "syncdev": "cable",
                                 "multicast": "yes"}})

        self.mickey = gateway("mickey", LEFT, "active")
        self.gladstone = gateway("gladstone", SECOND_LEFT, "standby")
        self.far = sites.Site(lab, "minnie", "daisy", MINNIE, ("mickey", MICKEY), wire=wire)
        self.minnie = self.far.encsync
        self.minnie.peers["gladstone"] = GLADSTONE
        self.minnie.write_config()
        self.gateways = self.mickey, self.gladstone, self.minnie
        for each in self.gateways:
            lab.plug(each.node, "sync", switch, f"{addresses[each.name]}/16")
        sync.introduce(*self.gateways)
        for each in self.gateways:
            each.start()
        for each in self.gateways:
            self.wait_up(each)
        if keepalived:
            self.follow_keepalived(self.mickey)
            self.wait_role(self.mickey, "active")
        self.donald = PfFirewall(self.firewall, "cable", RIGHT, GROUP, dialect=wire, hostid=DONALD,
                                 timeouts=TIMEOUTS)
        self.daisy = PfFirewall(self.far.firewall, "cable", RIGHT, LEFT, dialect=wire,
                                hostid=DAISY, timeouts=TIMEOUTS)
        settle(self.donald, self.daisy)

    @staticmethod
    def wait_up(gateway: sync.Encsync) -> None:
        wait_for(lambda: all(peer["state"] == "up" for peer in gateway.status()["peers"]), 30,
                 f"all peers of {gateway.name} to be up")

    @staticmethod
    def wait_role(gateway: sync.Encsync, role: str) -> None:
        wait_for(lambda: gateway.status()["role"] == role, 20, f"{gateway.name} to be {role}")

    @staticmethod
    def follow_keepalived(gateway: sync.Encsync, notify: bool = True) -> Process:
        """notify: as documented; without, encsync does not hear of it."""
        config = documented(gateway)
        if not notify:
            config = re.sub(r"(?m)^.*fifo.*\n", "", config)
        return run_keepalived(gateway.node, config)

    @staticmethod
    def power_off(gateway: sync.Encsync) -> None:
        gateway.node.power_off("cable", "sync")

    def power_on(self, gateway: sync.Encsync) -> None:
        gateway.node.ip("link set cable up", "link set sync up")
        if VIRTUAL in gateway.node.addresses("cable"):  # the interface has not been off
            gateway.node.ip(f"addr del {VIRTUAL}/24 dev cable")
        gateway.run_dir.mkdir()
        gateway.start()
        self.wait_up(gateway)
        self.follow_keepalived(gateway)


class Load:
    """Connections come, go on and end at a firewall, until the end of a `with`; then `states` says
    how many of them are left."""

    def __init__(self, *firewalls: PfFirewall):
        self._firewalls, self._over = firewalls, threading.Event()
        self._pool = ThreadPoolExecutor()

    def __enter__(self) -> Load:
        self._running = [self._pool.submit(self._run, each) for each in self._firewalls]
        return self

    def __exit__(self, *_exception) -> None:
        self._over.set()
        self._pool.shutdown()
        self.states = sum(each.result() for each in self._running)

    def _run(self, firewall: PfFirewall) -> int:
        left: list = []
        while not self._over.wait(0.05):
            left += firewall.create(20, "mixed")
            firewall.update(left[-30:])
            firewall.remove(left[-5:])
            del left[-5:]
        return len(left)


@WIRES
def test_keepalived_promotes_the_other_gateway_under_load(fresh, wire):
    pair = Pair(fresh, wire, keepalived=True)
    mickey, gladstone = pair.mickey, pair.gladstone
    pair.follow_keepalived(gladstone)
    states = 0
    for dying, other in ((mickey, gladstone), (gladstone, mickey)):
        wait_for(lambda: other.status()["relay"]["states"] == states, 30,
                 f"{other.name} to know all states")
        wait_for(other.ready, 30, f"{other.name} to be ready")
        assert other.status()["role"] == "standby"
        with Load(pair.donald, pair.daisy) as load:
            wait_for(lambda: other.status()["relay"]["states"] > states + 100, 30, "the load")
            assert other.peer("donald")["relay"]["relayed"] == 0, "a standby gateway is silent"
            pair.power_off(dying)
            pair.wait_role(other, "active")
            known = other.status()["relay"]["states"]
            wait_for(lambda: other.status()["relay"]["states"] > known + 100, 30, "more of it")
        # A removal that dies with the gateway leaves the state at the other firewall, which gives it
        # back, as with pf alone.
        states = wait_same(pair.donald, pair.daisy, states + load.states, back=20)
        assert VIRTUAL in other.node.addresses("cable")
        if dying is mickey:
            pair.power_on(mickey)


def test_without_its_notices_nobody_takes_over(fresh):
    """The twin: keepalived moves its address, but encsync does not hear of it."""
    pair = Pair(fresh, "openbsd", keepalived=True)
    pair.follow_keepalived(pair.gladstone, notify=False)
    pair.donald.create(10)
    wait_same(pair.donald, pair.daisy, 10)
    wait_for(pair.gladstone.ready, 30, "gladstone to be ready")
    pair.power_off(pair.mickey)
    wait_for(lambda: VIRTUAL in pair.gladstone.node.addresses("cable"), 20,
             "gladstone to have the address")
    pair.donald.create(10)
    with pytest.raises(Exception, match="in vain"):
        wait_same(pair.donald, pair.daisy, 20, timeout=4)
    assert (pair.gladstone.status()["role"], pair.daisy.digest()["states"]) == ("standby", 10)
    pair.gladstone.command("role", "active")
    wait_same(pair.donald, pair.daisy, 20)


def test_with_both_on_standby_nothing_passes(fresh):
    """The twin: what makes the difference is the role."""
    pair = Pair(fresh, "openbsd")
    pair.mickey.command("role", "standby")
    pair.donald.create(10)
    pair.daisy.create(10)
    with pytest.raises(Exception, match="in vain"):
        wait_same(pair.donald, pair.daisy, 20, timeout=4)
    assert (pair.donald.digest()["states"], pair.daisy.digest()["states"]) == (10, 10)
    pair.gladstone.command("role", "active")
    wait_same(pair.donald, pair.daisy, 20)


def test_gateways_that_hear_each_other_do_not_loop(fresh):
    """`right` of a cable names the other gateway in place of the firewall."""
    pair = Pair(fresh, "openbsd")
    donald, daisy, mickey, gladstone = pair.donald, pair.daisy, pair.mickey, pair.gladstone

    def hears(gateway: sync.Encsync, right: str) -> None:
        gateway.peers["donald"] = right
        gateway.reload()

    def error(gateway: sync.Encsync) -> str:
        return gateway.peer("donald")["last_error"]

    def loop(other: str) -> str:
        return (f"a loop: on its cable is a gateway, {other}, so nothing from there is passed on; "
                "right= must name firewalls only")

    def looped(gateway: sync.Encsync) -> int:
        return gateway.peer("donald")["relay"]["looped"]

    # The twin: both speak on one segment, and each hears its firewall only.
    gladstone.command("role", "active")
    ours, theirs = donald.create(50), daisy.create(50)
    wait_same(donald, daisy, 100)
    for each in (mickey, gladstone):
        wait_for(each.ready, 10, f"{each.name} to be ready")
        assert (error(each), looped(each)) == ("", 0)
        assert each.refused()["not_through_tunnel_in"] > 0
    # One hears the other. It is named, and the other goes on.
    hears(gladstone, LEFT)
    wait_for(lambda: error(gladstone) == loop("mickey"), 10, "the loop to be named")
    assert gladstone.status()["why"] == "a loop: a gateway is on the cable of donald"
    wait_for(mickey.ready, 10, "mickey to go on")
    assert error(mickey) == ""
    assert f"peer donald: {loop('mickey')}" in gladstone.log()
    donald.update(ours)
    daisy.remove(theirs[:10])
    wait_same(donald, daisy, 90)
    assert looped(gladstone) > 0
    # Each hears the other: what comes from daisy does not come back to her.
    hears(mickey, SECOND_LEFT)
    for each, other in ((mickey, "gladstone"), (gladstone, "mickey")):
        wait_for(lambda: error(each) == loop(other), 10, f"{each.name} to name the loop")
    before, relayed = daisy.stats()["received"], looped(mickey)
    daisy.create(50)
    wait_for(lambda: donald.digest()["states"] == 140, 10, "daisy's states to arrive")
    wait_for(lambda: looped(mickey) >= relayed + 50, 10, "what gladstone sends to be counted")
    assert daisy.stats()["received"].get("ins") == before.get("ins")
    assert looped(mickey) < relayed + 500, "no storm"
    # And the way out.
    for each in (mickey, gladstone):
        hears(each, RIGHT)
        wait_for(lambda: error(each) == "" and each.ready(), 20, f"{each.name} to be ready again")
    donald.create(10)
    wait_same(donald, daisy, 150)
