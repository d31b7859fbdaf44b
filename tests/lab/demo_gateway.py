# SPDX-License-Identifier: ISC
"""Two pf firewalls whose cable is a network that nobody trusts: ./run demo --gateway

    donald ---- mickey ==== switch ==== minnie ---- daisy
     (pf)  cable      192.168.1.100  192.168.2.100  cable  (pf)
                            mallory

Without sync, mickey and minnie are plain bridges, so that the network carries the cable as it is.
The firewalls are the lab's own (the package pf).
"""

from __future__ import annotations

import ipaddress
import json
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import mallory
import sites
from lab import PYTHON, Lab, wait_for
from mallory import Mallory, Seen
from pf_firewall import PfFirewall
from teller import Teller, by_node, try_for

STATES = 2000  # of donald's connections
MEANWHILE = 100  # new ones on each side while the network is down
FORGERIES, CLEARS = 1000, 4  # the last of them: one to each, of the states of each
REPLAYS = 500  # frames of the recording, at most
HOSTID = {"donald": 0x0A0B0C01, "daisy": 0x0A0B0C02}
# All connections last until the end; pf's own times of the short ones are seconds.
TIMEOUTS = {index: 3600 for index in (0, 5, 6, 8, 9)}

# A copy of each frame, from mallory's own interface. veth pairs leave UDP's checksum to a hardware
# that is not there, so the recorded one is wrong: without one, it is not checked.
REPLAY = """
import json, socket, sys
device, mac = sys.argv[1:3]
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind((device, 0))
sent = 0
for line in sys.stdin:
    frame = bytearray.fromhex(line)
    frame[6:12] = bytes.fromhex(mac)
    if frame[23] == 17:
        udp = 14 + (frame[14] & 15) * 4
        frame[udp + 6 : udp + 8] = bytes(2)
    sent += out.send(frame) > 0
print(json.dumps({"sent": sent}))
"""


@dataclass
class Figures:
    states: int = 0
    arrived_ms: int | None = None  # until daisy has donald's states; None: never
    forged_sent: int = 0
    forged_accepted: int = 0  # forged states taken in, and real ones lost, on both sides
    forged_refused: int = 0  # as counted by the gateways
    replayed_sent: int = 0
    replayed_refused: int = 0
    after_mallory: dict[str, int] = field(default_factory=dict)  # real states, by firewall
    after_power_cut: int = 0  # of donald's states, on daisy
    back_ms: int | None = None  # from donald's power until the tables are the same
    after_outage: dict[str, int] = field(default_factory=dict)
    outage_ms: int | None = None  # from the network's return until the tables are the same
    seen: Seen = field(default_factory=Seen)
    frames_lost: int = 0

    def held(self) -> bool:
        return all(good for _, _, good in rows(self, True) if good is not None)

    def broke(self) -> bool:
        """The expected result without sync: mallory read all, and emptied both tables."""
        return (self.seen.clear_pfsync > 0 and any("of a flow" in leak for leak in self.seen.leaks)
                and set(self.after_mallory.values()) == {0})

    def json(self, ok: bool) -> dict:
        own = ("states", "arrived_ms", "forged_sent", "forged_accepted", "forged_refused",
               "replayed_sent", "replayed_refused", "after_mallory", "after_power_cut", "back_ms",
               "after_outage", "outage_ms")
        return {**{name: getattr(self, name) for name in own},
                "clear_pfsync_packets_seen": self.seen.clear_pfsync,
                "esp_packets_seen": self.seen.esp, "ike_packets_seen": self.seen.ike, "ok": ok}


# ---- the network -----------------------------------------------------------------------------


class Network:
    """Gateways, or bridges in their places. The firewalls run, the gateways are ready."""

    def __init__(self, lab: Lab, with_sync: bool):
        self.sites: sites.Sites | None = None
        if with_sync:
            self.sites = sites.Sites(lab)
            self.victims = sites.MICKEY, sites.MINNIE
            attacker = self.sites.attacker("192.168.1.66/16")
            self.nodes = tuple(site.firewall for site in self.sites.all)
            self.addresses = ((sites.RIGHT, sites.LEFT),) * 2
            self.gateways = tuple(site.node for site in self.sites.all)
        else:
            self.victims = "172.16.0.1", "172.16.0.2"
            self.nodes, self.gateways, attacker = self._bridges(lab)
            self.addresses = self.victims, self.victims[::-1]
        self.mallory = Mallory(SimpleNamespace(mallory=attacker))
        if self.sites:
            self.sites.start()
        self.donald, self.daisy = (self.power_on(index) for index in range(2))

    def _bridges(self, lab: Lab) -> tuple:
        hub = lab.switch("syncsw", hub=True)
        bridges = lab.switch("mickey", hub=True), lab.switch("minnie", hub=True)
        nodes = lab.node("donald"), lab.node("daisy")
        for bridge, node, address in zip(bridges, nodes, self.victims):
            lab.cable(bridge, "cable", node, "cable")
            lab.plug(bridge, "sync", hub)
            node.ip(f"addr add {address}/24 dev cable")
        attacker = lab.node("mallory")
        lab.plug(attacker, "eth0", hub, "172.16.0.66/24")
        return nodes, bridges, attacker

    def power_on(self, index: int) -> PfFirewall:
        node, (own, peer) = self.nodes[index], self.addresses[index]
        node.ip("link set cable up")
        return PfFirewall(node, "cable", own, peer, hostid=HOSTID[node.name], timeouts=TIMEOUTS)

    def power_off(self, firewall: PfFirewall) -> None:
        firewall.power_off()
        firewall.node.ip("link set cable down")

    def gateway_counts(self) -> tuple[int, int]:
        """What all gateways have refused: other packets, and replays."""
        refused = replayed = 0
        for site in self.sites.all if self.sites else ():
            counts = site.encsync.refused()
            again = counts.get("esp_replayed", 0)
            refused, replayed = refused + sum(counts.values()) - again, replayed + again
        return refused, replayed


# ---- mallory ---------------------------------------------------------------------------------


def needles(states: list[dict]) -> dict[str, list[bytes]]:
    """Bytes by which states of these firewalls are recognised."""
    exact = set()
    for s in states:
        ends = [end.rpartition(":") for end in s["wire"].split()]
        packed = [ipaddress.ip_address(addr).packed for addr, _, _ in ends]
        exact.add(packed[0].ljust(16, b"\0") + packed[1].ljust(16, b"\0"))
        exact |= {addr + int(port).to_bytes(2, "big") for addr, (_, _, port) in zip(packed, ends)}
    return {"exact": sorted(exact), "bare": []}


def forge(network: Network, count: int, first: int = 0, step: int = 1) -> int:
    """Half to each, in the other one's name. He even knows what the firewalls call themselves."""
    sent, creators = 0, ",".join(f"{hostid:08x}" for hostid in HOSTID.values())
    for victim, name in (network.victims, network.victims[::-1]):
        done = network.mallory.node.run(
            PYTHON, mallory.PROGRAM, "forge", "--victim", victim, "--as", name, "--count",
            count // 2, "--first", first, "--step", step, "--creators", creators)
        sent += json.loads(done.stdout)["sent"]
    return sent


def clear(network: Network) -> int:
    """All that both have made, on both: of the forgeries, every tenth from the seventh on."""
    return forge(network, CLEARS, first=7, step=10)


def replay(network: Network) -> int:
    """What he has recorded of the others last. Larger frames are several datagrams, which a network
    of veth pairs does not take apart."""
    own = bytes.fromhex(network.mallory.mac.replace(":", ""))
    recorded = [frame for frame in mallory.frames(network.mallory.pcap.read_bytes())
                if frame[6:12] != own and len(frame) <= 1514 and frame[12:14] == b"\x08\0"
                and frame[23] in (17, 50, 240)]
    text = "\n".join(frame.hex() for frame in recorded[-REPLAYS:])
    done = network.mallory.node.run(PYTHON, "-c", REPLAY, "eth0", own.hex(), input=text)
    return json.loads(done.stdout)["sent"]


def forged(states: list[dict]) -> int:
    return sum(s["wire"].startswith("10.66.") for s in states)


# ---- the story -------------------------------------------------------------------------------


def timed(predicate, timeout: float, since: float | None = None) -> int | None:
    """Milliseconds until it holds; None if it does not."""
    began = time.monotonic() if since is None else since
    return round((time.monotonic() - began) * 1000) if try_for(predicate, timeout) else None


def wait_silent(network: Network) -> None:
    """Both firewalls have said all that they have to say; pf waits a second before it does."""
    said: list[dict] = []
    since = 0.0

    def silent() -> bool:
        nonlocal said, since
        now = [each.stats()["sent"] for each in (network.donald, network.daisy)]
        if now != said:
            said, since = now, time.monotonic()
        return time.monotonic() - since > 1.5

    wait_for(silent, 20, "the firewalls to be silent", 0.1)


def tell(lab: Lab, teller: Teller, with_sync: bool) -> Figures:
    figures = Figures()
    network = Network(lab, with_sync)
    donald, daisy = network.donald, network.daisy
    teller.step("Two sites: donald, a pf firewall, on mickey's cable; daisy, on minnie's.")
    teller.detail("Between mickey and minnie a network, and mallory on it, who records every frame.")
    teller.step("encsync runs on mickey and minnie, and passes on what the firewalls say."
                if with_sync else "encsync is off, as asked: mickey and minnie are plain bridges.")

    def same() -> bool:
        return network.donald.digest() == daisy.digest()

    began = time.monotonic()
    real = donald.create(STATES, "mixed")
    figures.states = len(real)
    figures.arrived_ms = timed(lambda: daisy.digest()["states"] == STATES and same(), 20, began)
    teller.step(f"donald has {len(real)} new connections, daisy {daisy.digest()['states']} of their "
                "states.")
    secret = needles(donald.dump())

    mallory_acts(network, figures, teller, set(real))
    if with_sync:
        loses_power(network, figures, teller, real)
        network_fails(network, figures, teller)
    figures.frames_lost = network.mallory.lost()
    figures.seen = network.mallory.look(secret)
    return figures


def mallory_acts(network: Network, figures: Figures, teller: Teller,
                 real: set[tuple[int, int]]) -> None:
    figures.forged_sent = forge(network, FORGERIES - CLEARS)
    teller.alarm("mallory sends a thousand forged pfsync packets in the other site's name:")
    teller.detail("inserts, updates, deletes, requests, and clears of all that each has made.")
    replayed_before = network.gateway_counts()[1]
    figures.replayed_sent = replay(network)
    teller.step(f"And {figures.replayed_sent} packets of his recording once more. Then he clears all "
                "again.")
    wait_silent(network)  # those who were asked for all of their states have said them
    figures.forged_sent += clear(network)
    wait_silent(network)
    if network.sites:
        try_for(lambda: network.gateway_counts()[0] >= figures.forged_sent, 20)
    figures.forged_refused, replayed = network.gateway_counts()
    figures.replayed_refused = replayed - replayed_before
    for firewall in (network.donald, network.daisy):
        states = firewall.dump()
        kept = real & {(int(s["id"], 16), int(s["creatorid"], 16)) for s in states}
        figures.after_mallory[firewall.node.name] = len(kept)
        figures.forged_accepted += forged(states) + len(real) - len(kept)
    teller.step(f"Of the {len(real)} states there are: {by_node(figures.after_mallory)}.")


def loses_power(network: Network, figures: Figures, teller: Teller, real: list) -> None:
    network.power_off(network.donald)
    teller.alarm("donald loses power, and its states with it.")
    wait_for(lambda: not network.sites.mickey.encsync.ready(), 15, "mickey to miss donald")
    figures.after_power_cut = len(network.daisy.ids() & set(real))
    teller.step(f"daisy has {figures.after_power_cut} of them, and takes over: packets pass there.")
    network.daisy.update(real)
    began = time.monotonic()
    network.donald = network.power_on(0)
    figures.back_ms = timed(lambda: network.donald.digest()["states"] >= STATES
                            and network.donald.digest() == network.daisy.digest(), 30, began)
    teller.step("donald has power again, and asks for all states. It has "
                f"{network.donald.digest()['states']}.")


def network_fails(network: Network, figures: Figures, teller: Teller) -> None:
    both = network.sites
    both.minnie.node.ip("link set sync down")
    teller.alarm("The network between the sites fails.")
    for site in both.all:
        wait_for(lambda: not site.encsync.ready(), 40, f"{site.encsync.name} to miss the other")
    network.donald.create(MEANWHILE, "mixed")
    network.daisy.create(MEANWHILE, "mixed")
    teller.step(f"Both gateways notice. Meanwhile {MEANWHILE} new connections at each site.")
    wait_silent(network)
    began = time.monotonic()
    both.minnie.node.ip("link set sync up")
    both.wait_ready(60)

    def all_there() -> bool:
        ours = network.donald.digest()
        return ours["states"] == STATES + 2 * MEANWHILE and ours == network.daisy.digest()

    figures.outage_ms = timed(all_there, 30, began)
    for firewall in (network.donald, network.daisy):
        figures.after_outage[firewall.node.name] = firewall.digest()["states"]
    teller.step(f"It is back. States: {by_node(figures.after_outage)}.")


# ---- the table -------------------------------------------------------------------------------


def took(ms: int | None) -> str:
    return "never the same" if ms is None else f"the same in {ms} ms"


def rows(figures: Figures, with_sync: bool) -> list[tuple[str, str, bool | None]]:
    seen = figures.seen
    other = ", ".join(f"{count} {name}" for name, count in seen.other.items())
    saw = f"{seen.ike} IKE, {seen.esp} ESP, {seen.clear_pfsync} pfsync in clear"
    leaks = seen.leaks[0] if seen.leaks else "none"
    table: list[tuple[str, str, bool | None]] = [
        ("donald's states on daisy", f"{figures.states}, {took(figures.arrived_ms)}",
         figures.states == STATES and figures.arrived_ms is not None),
    ]
    if not with_sync:
        return [*table, ("mallory saw", saw, None), ("clear bytes of states", leaks, None),
                ("forgeries", f"{figures.forged_sent} sent", None),
                ("replays", f"{figures.replayed_sent} sent", None),
                ("states after all that", by_node(figures.after_mallory), None)]
    table += [
        ("mallory saw", saw + (f", {other}" if other else ""), seen.only_ipsec and seen.esp > 0),
        ("clear bytes of states", leaks, not seen.leaks),
        ("forgeries", f"{figures.forged_sent} sent, {figures.forged_accepted} accepted, "
                      f"{figures.forged_refused} refused and counted",
         figures.forged_accepted == 0 and figures.forged_sent == FORGERIES),
        ("replays", f"{figures.replayed_sent} sent, {figures.replayed_refused} refused and counted",
         figures.replayed_sent > 0 and figures.replayed_refused > 0),
        ("states after all that", by_node(figures.after_mallory),
         set(figures.after_mallory.values()) == {figures.states}),
        ("donald without power", f"daisy has {figures.after_power_cut} of {figures.states} states",
         figures.after_power_cut == figures.states),
        ("donald back", took(figures.back_ms), figures.back_ms is not None),
        ("network fails, comes back", f"{took(figures.outage_ms)}, "
                                      f"{by_node(figures.after_outage)}",
         figures.outage_ms is not None),
    ]
    if figures.frames_lost:
        table.append(("recording", f"{figures.frames_lost} frames missing", False))
    return table


def report(figures: Figures, teller: Teller, with_sync: bool) -> None:
    teller.table(rows(figures, with_sync))
    if with_sync:
        teller.verdict(figures.held(), "The firewalls noticed nothing but an outage."
                       if figures.held() else "It did not hold: see the rows marked NO.")
    else:
        teller.verdict(figures.broke(),
                       "Without encsync mallory read all states and removed them, as he must."
                       if figures.broke() else
                       "The states survived without encsync: this lab proves nothing.")
