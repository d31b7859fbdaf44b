# SPDX-License-Identifier: ISC
"""Two takeovers without an interruption for any client, there and back, in a lab: ./run demo

    demo.py [--gateway] [--without-sync] [--json FILE] [--keep]
    demo.py --teardown          removes what --keep left

Exit status 0: success (with --without-sync: the sessions broke, as they must). 1: failure.
2: the lab itself failed. The network is drawn in pair.py. --gateway: another network and another
story, demo_gateway.py.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import conntrack
import demo_gateway
import sync
from lab import Lab, LabError, kept_labs, take_down, wait_for
from mallory import FORGED_INSIDE, Mallory, Seen, secrets
from pair import CLIENT, SERVER, SYNC, VIP_OUTSIDE, FirewallPair
from teller import Teller, by_node, try_for
from traffic import Outcome, Sessions

FORGERIES = 1000
BYSTANDERS = 100  # short flows of other clients, as background traffic


# ---- the demo --------------------------------------------------------------------------------


@dataclass
class Figures:
    outcome: Outcome = field(default_factory=Outcome)
    states_before: dict[str, int] = field(default_factory=dict)
    states_after: dict[str, int] = field(default_factory=dict)
    same_before: bool = False  # both nodes knew the same flows
    kept: int = 0  # of the sessions' flows, on the survivor, at the end
    to_keep: int = 0
    forged_sent: int = 0
    forged_accepted: int = 0
    forged_refused: int = 0  # as counted by encsync
    takeover_ms: int = 0
    return_ms: int = 0  # the second takeover, back to mickey
    seen: Seen = field(default_factory=Seen)
    frames_lost: int = 0

    def held(self) -> bool:
        return (self.outcome.ok and self.same_before and self.kept == self.to_keep > 0
                and self.forged_sent == FORGERIES and self.forged_accepted == 0
                and self.seen.only_ipsec and self.seen.esp > 0 and self.frames_lost == 0)

    def broke(self) -> bool:
        """The expected result without sync: all sessions have ended."""
        return not (self.outcome.download_ok or self.outcome.idle_session_ok
                    or self.outcome.udp_ok)

    def json(self, ok: bool) -> dict:
        return {
            "download_ok": self.outcome.download_ok,
            "idle_session_ok": self.outcome.idle_session_ok,
            "udp_ok": self.outcome.udp_ok,
            "longest_stall_ms": self.outcome.longest_stall_ms,
            "takeover_ms": self.takeover_ms,
            "return_ms": self.return_ms,
            "states_before": self.states_before,
            "states_after": self.states_after,
            "forged_sent": self.forged_sent,
            "forged_accepted": self.forged_accepted,
            "forged_refused": self.forged_refused,
            "clear_pfsync_packets_seen": self.seen.clear_pfsync,
            "esp_packets_seen": self.seen.esp,
            "ike_packets_seen": self.seen.ike,
            "ok": ok,
        }


def accepted_forgeries(pair: FirewallPair, instances: list[sync.Encsync],
                       real_before: set[tuple]) -> int:
    """Forged states that a node accepted, and real flows that a forged delete or clear removed."""
    found = 0
    for node in pair.firewalls:
        flows = conntrack.table(node)
        in_kernel = sum(flow.involves(FORGED_INSIDE) for flow in flows)
        in_daemon = sum(i.states_text().count('"10.66.') for i in instances if i.node is node)
        found += max(in_kernel, in_daemon)
        if instances or node is pair.mickey:
            found += len(real_before - conntrack.keys(flows))
    return found


def tell(pair: FirewallPair, teller: Teller, with_sync: bool, setup: dict[str, str] | None = None,
         rate: int = 4_000_000, patience: float = 1) -> Figures:
    """setup: of encsync. rate: bytes a second of the download. patience: the factor by which
    timeouts are longer, for a slow machine."""
    figures = Figures()
    mickey, minnie = pair.mickey, pair.minnie
    for node in pair.firewalls:
        # The bystanders' flows are to last until they are counted.
        node.sysctl({"net/netfilter/nf_conntrack_udp_timeout": 600})
    mallory = Mallory(pair)
    teller.step("The network is up: client and server, two firewalls between them,")
    teller.detail(f"and mallory on their sync switch ({SYNC['mallory']}), recording every frame.")

    instances: list[sync.Encsync] = []
    if with_sync:
        instances = sync.equip(pair, acquaint=sync.pair_keys, setup=setup)
        for instance in instances:
            instance.start()
        sync.wait_in_step(*instances, timeout=20 * patience)
        teller.step("encsync runs on both: paired by a code that was the same on both, and in step.")
        sync.promote(pair, instances)
    else:
        teller.step("encsync is off, as asked: each firewall knows only what it saw itself.")
        pair.start_keepalived(mickey)
        pair.wait_owner(mickey)
        pair.start_keepalived(minnie)
    teller.step(f"keepalived: mickey holds {VIP_OUTSIDE[0]}, minnie stands by.")

    # With sync it must last until mickey is back, without until the cut; then the rest is sent
    # faster.
    sessions = Sessions(pair, size=round((40 if with_sync else 30) * rate * patience), rate=rate)
    sessions.start()

    def tick() -> None:
        teller.progress(sessions.got(), sessions.size)

    teller.step(f"{CLIENT[0]} talks to {SERVER[0]} through mickey: a download, "
                f"{sessions.idle_sessions} idle")
    teller.detail("TCP sessions, a UDP exchange, and short flows of others.")
    sessions.make_flows(BYSTANDERS)
    tick()

    lasting = {f.key for f in pair.flows(mickey)}
    figures.forged_sent = mallory.forge(FORGERIES)
    teller.step(f"mallory has sent {figures.forged_sent} forged pfsync packets, half of them")
    teller.detail("to each firewall in the other's name: inserts, deletes, clears, requests.")
    if with_sync:
        def all_counted() -> bool:
            tick()
            figures.forged_refused = sum(sum(i.refused().values()) for i in instances)
            return figures.forged_refused >= figures.forged_sent

        def the_same() -> bool:
            tick()
            return conntrack.keys(pair.flows(mickey)) == conntrack.keys(pair.flows(minnie))

        figures.same_before = try_for(the_same, 20 * patience)
        try_for(all_counted, 20 * patience)
    figures.forged_accepted = accepted_forgeries(pair, instances, lasting)
    sessions.hush()
    before = pair.flows(mickey)
    figures.states_before = {node.name: len(pair.flows(node)) for node in pair.firewalls}
    teller.step("States: " + by_node(figures.states_before) + ".")
    while sessions.got() < 2.8 * rate * patience:  # the power cut must be in the middle of it
        tick()
        time.sleep(0.05)
    if sessions.download.last("end"):
        raise LabError("the download was over before the power was cut")

    cut_at = time.monotonic()
    count = pair.power_off(mickey)
    teller.alarm(f"mickey loses power: links down, its {count} processes killed, in one instant.")

    def taken_over() -> bool:
        tick()
        return pair.owner() is minnie

    wait_for(taken_over, 15, "minnie to take over")
    figures.takeover_ms = round((time.monotonic() - cut_at) * 1000)
    teller.step(f"minnie holds the addresses, {figures.takeover_ms} ms later.")
    if with_sync:
        figures.return_ms = come_back(pair, instances, teller, patience, tick)
        if sessions.download.last("end"):
            raise LabError("the download was over before mickey took over again")
        sessions.hurry()
    teller.step("The idle sessions speak up; the next UDP question comes from the server.")
    figures.outcome = sessions.finish(timeout=20 if with_sync else 7, on_tick=tick)
    tick()
    teller.step("The download is complete." if figures.outcome.download_ok
                else "The download has failed.")
    for note in figures.outcome.notes:
        teller.detail(note)

    serving = mickey if with_sync else minnie
    after = pair.flows(serving)
    figures.states_after = {node.name: len(pair.flows(node)) for node in pair.firewalls}
    # Closed TCP flows and the short ones may have ended meanwhile; the sessions' must exist.
    figures.to_keep = len(wanted := sessions.lasting(before))
    figures.kept = len(wanted & conntrack.keys(after))
    for node in pair.firewalls:
        figures.forged_accepted += sum(f.involves(FORGED_INSIDE) for f in conntrack.table(node))
    figures.forged_accepted += sum(i.states_text().count('"10.66.') for i in instances)
    figures.frames_lost = mallory.lost()
    figures.seen = mallory.look(secrets(before | after))
    return figures


def come_back(pair: FirewallPair, instances: list[sync.Encsync], teller: Teller,
              patience: float, tick) -> int:
    """mickey is powered on and becomes standby; then minnie's keepalived is stopped, as for
    maintenance. Returns the ms until mickey holds the addresses."""
    mickey, minnie = instances
    pair.power_on(pair.mickey)
    mickey.start()
    sync.wait_in_step(*instances, timeout=30 * patience)
    pair.start_keepalived(pair.mickey, ready=mickey.check_argv(),
                          role=mickey.argv("role"))

    def told() -> bool:
        tick()
        return mickey.status()["role"] == "standby" and minnie.status()["own"] > 0

    wait_for(told, 20 * patience, "mickey to stand by")
    teller.step("mickey has power again, has learned all states from minnie, and stands by.")
    stopped_at = time.monotonic()
    pair.keepalived["minnie"].stop()
    minnie.command("role", "standby")
    teller.alarm("minnie goes into maintenance: her keepalived is stopped.")

    def back() -> bool:
        tick()
        return pair.owner() is pair.mickey

    wait_for(back, 15 * patience, "mickey to take over again")
    took = round((time.monotonic() - stopped_at) * 1000)
    teller.step(f"mickey holds the addresses again, {took} ms later. Still the same download.")
    return took


def report(figures: Figures, teller: Teller, with_sync: bool) -> None:
    outcome, seen = figures.outcome, figures.seen
    rows: list[tuple[str, str, bool | None]] = [
        ("download", "complete, SHA-256 equal" if outcome.download_ok else "broken",
         outcome.download_ok),
        ("idle TCP sessions", "answer" if outcome.idle_session_ok else "dead",
         outcome.idle_session_ok),
        ("UDP exchange", "goes on, same address and port" if outcome.udp_ok else "broken",
         outcome.udp_ok),
        ("longest stall", f"{outcome.longest_stall_ms} ms"
         + ("" if outcome.download_ok else ", and no end"), None),
        ("states before", by_node(figures.states_before),
         figures.same_before if with_sync else None),
        ("states after", by_node(figures.states_after)
         + ("" if with_sync else " (mickey is dead)"),
         figures.kept == figures.to_keep if with_sync else None),
    ]
    other = ", ".join(f"{count} {name}" for name, count in seen.other.items())
    saw = f"{seen.ike} IKE, {seen.esp} ESP, {seen.clear_pfsync} pfsync in clear"
    if with_sync:
        saw += f", {seen.pairing} of the pairing"
        rows += [
            ("mallory saw", saw + (f", {other}" if other else ""), seen.only_ipsec),
            ("clear bytes of states", seen.leaks[0] if seen.leaks else "none", not seen.leaks),
            ("forgeries", f"{figures.forged_sent} sent, {figures.forged_accepted} accepted, "
                          f"{figures.forged_refused} refused and counted",
             figures.forged_accepted == 0 and figures.forged_sent == FORGERIES),
        ]
        if figures.frames_lost:
            rows.append(("recording", f"{figures.frames_lost} frames missing", False))
    else:
        rows.append(("mallory saw", saw, None))
    teller.table(rows)
    if with_sync:
        teller.verdict(figures.held(), "No client noticed." if figures.held()
                       else "It did not hold: see the rows marked NO.")
    else:
        teller.verdict(figures.broke(), "Without sync the takeover broke the sessions, as it must."
                       if figures.broke() else
                       "A session survived without sync: this lab proves nothing.")


def keep(lab: Lab, with_sync: bool) -> None:
    print("\nThe lab stays up. Its nodes, and how to enter one:")
    for node in lab.nodes.values():
        print(f"    ip netns exec {node.netns} bash")
    if with_sync:
        run = lab.nodes["minnie"].dir
        print(f"    ip netns exec {lab.nodes['minnie'].netns} {sync.bin_dir()}/encsync "
              f"--config {run}/encsync.conf --run-dir {run}/run/encsync status")
    print(f"Files: {lab.dir}\nTo take it down: ./run demo --teardown")


def teardown() -> int:
    files = kept_labs()
    for file in files:
        take_down(file)
        print(f"{file.stem} is gone")
    if not files:
        print("there is no lab to take down")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo", description="a takeover that no client notices")
    parser.add_argument("--without-sync", action="store_true",
                        help="the same with encsync off: the sessions must break")
    parser.add_argument("--gateway", action="store_true",
                        help="pf firewalls at two sites, whose cable is any network")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there")
    parser.add_argument("--keep", action="store_true", help="leave the lab up at the end")
    parser.add_argument("--teardown", action="store_true", help="take down what --keep left")
    args = parser.parse_args()
    if args.teardown:
        return teardown()
    with_sync = not args.without_sync
    if with_sync and not sync.built():
        raise LabError(f"no encsyncd in {sync.bin_dir()}: run ./run build first")

    teller = Teller()
    with Lab() as lab:
        try:
            if args.gateway:
                teller.title("Two pf firewalls, and a network between them" if with_sync
                             else "The same network, without encsync")
                figures = demo_gateway.tell(lab, teller, with_sync)
            else:
                teller.title("A takeover that no client notices" if with_sync
                             else "The same takeover, without encsync")
                figures = tell(FirewallPair(lab), teller, with_sync)
        except LabError:
            print(lab.last_words(), file=sys.stderr)
            raise
        ok = figures.held() if with_sync else figures.broke()
        (demo_gateway.report if args.gateway else report)(figures, teller, with_sync)
        if args.json:
            args.json.write_text(json.dumps(figures.json(ok), indent=2) + "\n")
        if args.keep:
            lab.keep = True
            keep(lab, with_sync)
    return 0 if ok else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        traceback.print_exc()
        sys.exit(2)
