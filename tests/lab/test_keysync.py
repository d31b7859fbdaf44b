# SPDX-License-Identifier: ISC
"""Keys that nodes tell each other of inside the tunnel: rotation by one command, and revocation."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import conntrack
import sites
import sync
from lab import descendants, wait_for
from pair import SERVER, FirewallPair

pytestmark = pytest.mark.daemon

MINUTE = 60


def own(instance) -> list[str]:
    return [i["fingerprint"] for i in instance.json("keys", "show")["identities"]]


def trusted(instance, name: str) -> list[str]:
    return [k["fingerprint"] for k in instance.json("keys", "list") if k["name"] == name]


def epochs(instance) -> list[int]:
    """Of its post-quantum preshared keys."""
    return [p["epoch"] for p in instance.json("keys", "status")["ppks"]]


def started(fresh, donald: bool = True, **options) -> tuple[FirewallPair, list]:
    pair = FirewallPair(fresh, donald=donald)
    instances = list(sync.equip(pair, **options))
    for instance in instances:
        instance.start()
    sync.wait_in_step(*instances)
    return pair, instances


def test_one_command_rotates_an_identity_on_all_nodes(fresh):
    pair, (mickey, minnie, donald) = started(fresh)
    old = own(mickey)
    logs = [len(i.log()) for i in (minnie, donald)]
    mickey.command("keys", "rotate", "--what", "identity")
    count = 0

    def done() -> bool:
        nonlocal count
        conntrack.insert(pair.mickey, "10.0.0.40", SERVER[0], 1000 + count, 443)
        count += 1
        new = own(mickey)
        return len(new) == 1 and new != old and all(
            trusted(instance, "mickey") == new and instance.peer("mickey")["key"] == new[0]
            for instance in (minnie, donald))

    wait_for(done, 20, "all to use the new key and drop the old one", 0.1)
    wait_for(lambda: all(len(pair.flows(node)) == count for node in pair.firewalls), 10,
             "every change to be everywhere")
    for instance, log in zip((minnie, donald), logs):
        assert "peer mickey: down" not in instance.log()[log:]
    for instance in (mickey, minnie, donald):
        instance.command("keys", "log", "--verify")
        assert "cut off" not in instance.log()
    assert [e["event"] for e in minnie.json("keys", "log")["entries"]
            if e["name"] == "mickey" and not e["event"].startswith("ppk")] == [
                "trust", "trust", "forget"]
    # And the new key is all that there is: a new negotiation, without any of the old SAs.
    minnie.restart()
    sync.wait_in_step(mickey, minnie, donald)


def test_a_peer_that_is_away_delays_it_also_across_a_crash(fresh):
    _, (mickey, minnie, donald) = started(fresh)
    old = own(mickey)
    donald.stop()
    wait_for(lambda: mickey.peer("donald")["state"] != "up", 10, "donald to be away")
    mickey.command("keys", "rotate", "--what", "identity")
    both = own(mickey)
    assert both[0] == old[0] and len(both) == 2
    wait_for(lambda: trusted(minnie, "mickey") == both, 10, "minnie to trust the new key")
    wait_for(lambda: "accepted by minnie; not yet by donald" in
             mickey.command("keys", "status").stdout, 10, "the status to say so")
    mickey.daemon.kill()
    mickey.start()
    sync.wait_in_step(mickey, minnie)
    time.sleep(3)
    assert own(mickey) == both
    donald.start()
    wait_for(lambda: all(trusted(i, "mickey") == own(mickey) == both[1:] for i in (minnie, donald)),
             30, "the rotation to end", 0.2)
    sync.wait_in_step(mickey, minnie, donald)


def test_it_is_done_without_a_peer_that_will_not_come_back(fresh):
    _, (mickey, minnie, donald) = started(fresh)
    old = own(mickey)
    donald.stop()
    wait_for(lambda: mickey.peer("donald")["state"] != "up", 10, "donald to be away")
    mickey.command("keys", "rotate", "--what", "identity", "--without", "donald")
    new = own(mickey)
    assert len(new) == 1 and new != old
    wait_for(lambda: trusted(minnie, "mickey") == new and minnie.peer("mickey")["key"] == new[0], 20,
             "minnie to know the new key only")
    # It does come back: the new key is not the one that it knows, until it is carried there.
    donald.start()
    sync.wait_in_step(minnie, donald)
    time.sleep(3)
    assert mickey.peer("donald")["state"] != "up" and trusted(donald, "mickey") == old
    donald.trust(mickey.export_key())
    sync.wait_in_step(mickey, minnie, donald)
    wait_for(lambda: trusted(donald, "mickey") == new, 20, "donald to know the new key only")


def test_who_does_not_sync_keys_is_told_by_hand(fresh):
    _, (mickey, minnie) = started(fresh, donald=False)
    minnie.setup["keysync"] = "no"
    minnie.write_config()
    minnie.restart()
    sync.wait_in_step(mickey, minnie)
    old = own(mickey)
    mickey.command("keys", "rotate", "--what", "identity")
    time.sleep(4)
    both = own(mickey)
    assert len(both) == 2 and trusted(minnie, "mickey") == old
    minnie.trust(mickey.export_key())
    wait_for(lambda: own(mickey) == both[1:], 20, "mickey to learn that she trusts it")
    wait_for(lambda: minnie.peer("mickey")["key"] == both[1], 20, "minnie to see it")
    assert trusted(minnie, "mickey") == both  # nor does she drop the older one by herself
    minnie.command("keys", "retire", "--peer", "mickey")
    sync.wait_in_step(mickey, minnie)


def test_it_rotates_by_age(fresh):
    _, (mickey, minnie) = started(fresh, donald=False)
    first = own(mickey)
    time.sleep(3)
    assert own(mickey) == first  # control: never by default
    mickey.setup["rotate"] = "4s"
    mickey.write_config()
    mickey.restart()
    seen = set(first)

    def often() -> bool:
        seen.update(own(mickey))
        return len(seen) >= 4

    wait_for(often, 40, "three rotations", 0.2)
    mickey.setup["rotate"] = "0"
    mickey.write_config()
    mickey.restart()
    sync.wait_in_step(mickey, minnie)
    wait_for(lambda: trusted(minnie, "mickey") == own(mickey), 20, "it to come to rest")


def test_a_revoked_key_is_dropped_by_all_and_does_not_come_back(fresh):
    _, (mickey, minnie, donald) = started(fresh)
    stolen = own(donald)[0]
    file = donald.export_key()
    conntrack.insert(donald.node, "10.0.0.40", SERVER[0], 1000, 443)
    minnie.stop()
    mickey.command("keys", "revoke", "donald")
    assert not mickey.spis("donald")  # at once
    assert trusted(mickey, "donald") == []
    # minnie was away meanwhile, and donald may reach her first.
    minnie.start()
    wait_for(lambda: trusted(minnie, "donald") == [], 20, "minnie to be told", 0.1)
    wait_for(lambda: not minnie.spis("donald"), 5, "her SAs with donald to be gone")
    status = minnie.json("keys", "status")
    assert [(r["fingerprint"], r["by"]) for r in status["revoked"]] == [(stolen, "mickey")]
    assert "revoked" in minnie.command("keys", "status").stdout
    refused = minnie.command("keys", "trust", "--new-identity", file, check=False)
    assert refused.returncode == 1 and "never trusted again" in refused.stderr
    time.sleep(4)
    for instance in (mickey, minnie):
        assert instance.peer("donald")["state"] != "up"
        assert not instance.spis("donald")
        instance.command("keys", "log", "--verify")
    sync.wait_in_step(mickey, minnie)
    # With a new identity, and new trust, it is a peer again.
    donald.stop()
    for secret in donald.key_dir.iterdir():
        if secret.name not in ("trusted", "node.secret"):
            secret.unlink()
    donald.init_keys()
    for instance in (mickey, minnie):
        instance.trust(donald.export_key())
    donald.start()
    sync.wait_in_step(mickey, minnie, donald)


class Load:
    """New flows on a node, and the end of older ones, as many a second, until the end of a `with`;
    then `made` says how many there were, and `left` how many are left."""

    SECOND, LASTS = 5_000, 2

    def __init__(self, node):
        self._node, self._over, self._pool = node, threading.Event(), ThreadPoolExecutor(1)

    def __enter__(self) -> Load:
        self._running = self._pool.submit(self._run)
        return self

    def __exit__(self, *_exception) -> None:
        self._over.set()
        self._pool.shutdown()
        self.made, self.left = self._running.result()

    @staticmethod
    def flows(node) -> set:
        return conntrack.keys({f for f in conntrack.table(node) if f.from_any("10.1.0.0/16")})

    def _run(self) -> tuple[int, int]:
        batch = 0
        while not self._over.is_set():
            due = time.monotonic() + 1
            conntrack.insert_many(self._node, self.SECOND, f"10.1.{batch % 256}")
            if batch >= self.LASTS:
                self._node.run("conntrack", "-D", "-s",
                               f"10.1.{(batch - self.LASTS) % 256}.0/24")
            batch += 1
            self._over.wait(max(0, due - time.monotonic()))
        return batch * self.SECOND, min(batch, self.LASTS) * self.SECOND


def test_all_keys_rotate_again_and_again_under_load(fresh, capsys):
    """On both nodes at once, for a minute: no change is lost, and neither is down for a moment. Each
    round begins when all of the one before is confirmed."""
    pair, both = started(fresh, donald=False, conn={"ppkrotate": "0", "dpdtimeout": "15s"})
    mickey, minnie = both
    wait_for(lambda: epochs(mickey) == epochs(minnie) == [1], 40, "the first preshared key", 0.3)
    sync.wait_settled(*both)
    logs = [len(i.log()) for i in both]

    def rotate() -> None:
        before, epoch = {i: own(i) for i in both}, epochs(mickey)
        spis = mickey.spis() | minnie.spis()
        for each in both:
            each.command("keys", "rotate", "--what", "all")
        wait_for(lambda: all(own(i) != before[i] and len(own(i)) == 1
                             and trusted(other, i.name) == own(i)
                             for i, other in ((mickey, minnie), (minnie, mickey))), 60,
                 "both identities to be new ones", 0.3)
        wait_for(lambda: len(epochs(mickey)) == 1 and epochs(mickey) == epochs(minnie) > epoch, 60,
                 "the next preshared key", 0.3)
        wait_for(lambda: not spis & (mickey.spis() | minnie.spis()), 60, "all SAs to be new ones",
                 0.3)
        sync.wait_settled(*both, timeout=60)

    rounds, began = 0, time.monotonic()
    with Load(pair.mickey) as load:
        while time.monotonic() - began < MINUTE or rounds < 3:
            rotate()
            rounds += 1
    ended = time.monotonic()
    flows = load.flows(pair.mickey)
    assert len(flows) == load.left
    try:
        wait_for(lambda: load.flows(pair.minnie) == flows, 120, "every change to have arrived", 0.5)
    except Exception:  # for the report
        here, there = load.flows(pair.mickey), load.flows(pair.minnie)
        print(f"mickey has {len(here)} of {len(flows)}, minnie lacks {len(flows - there)} and has "
              f"{len(there - flows)} more", *(i.json("status") for i in both), sep="\n")
        raise
    with capsys.disabled():
        print(f"\n{rounds} rotations of everything in {ended - began:.0f} s, {load.made} flows made, "
              f"all there {time.monotonic() - ended:.1f} s later", flush=True)
    for each, log in zip(both, logs):
        each.command("keys", "log", "--verify")
        assert not re.search(r": down|cut off|though it is in the log|though not according to",
                             each.log()[log:])


def test_gateways_rotate_and_revoke(fresh):
    both = sites.Sites(fresh)  # which pass on OpenBSD's pfsync
    both.start()
    mickey, minnie = (site.encsync for site in both.all)
    old = own(mickey)
    mickey.command("keys", "rotate", "--what", "identity")
    wait_for(lambda: own(mickey) != old and trusted(minnie, "mickey") == own(mickey), 20,
             "the rotation to end", 0.2)
    assert minnie.peer("mickey")["state"] == "up"
    minnie.command("keys", "revoke", "mickey")
    assert not minnie.spis("mickey")


def test_without_the_process_that_writes_keys_it_says_so(fresh):
    _, (mickey, minnie) = started(fresh, donald=False)
    writer = [pid for pid in descendants([mickey.daemon.pid])
              if open(f"/proc/{pid}/comm").read() == "encsync-keys\n"]
    assert len(writer) == 1
    with open(f"/proc/{writer[0]}/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    assert int(fields["CapEff"], 16) & ~(1 << 19) == 0  # 19: a test build's LeakSanitizer
    assert fields["Seccomp"].strip() == "2"

    def open_files() -> set[str]:
        found = set()
        for fd in set(os.listdir(f"/proc/{writer[0]}/fd")) - {"0", "1", "2"}:
            with contextlib.suppress(FileNotFoundError):  # it has closed it meanwhile
                found.add(os.readlink(f"/proc/{writer[0]}/fd/{fd}").split(":")[0])
        return found

    # It opens the store for each request, and nothing of it stays open.
    wait_for(lambda: open_files() == {"socket"}, 20, "it to have nothing open but its socket")
    os.kill(writer[0], signal.SIGKILL)
    wait_for(lambda: "the process that writes keys has ended" in mickey.log(), 10, "the log")
    old = trusted(mickey, "minnie")
    minnie.command("keys", "rotate", "--what", "identity")
    wait_for(lambda: "does not take a request" in mickey.log(), 10, "mickey to say why not")
    assert trusted(mickey, "minnie") == old and len(own(minnie)) == 2
    mickey.restart()
    wait_for(lambda: trusted(mickey, "minnie") == own(minnie) != old, 20, "it to go on")
