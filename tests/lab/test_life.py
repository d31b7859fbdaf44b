# SPDX-License-Identifier: ISC
"""Rekeys, outages and restarts of the tunnel. In each: for how long did no state change arrive,
nothing is sent in clear, the kernels' sessions are not affected, and both are in step again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import conntrack
import sync
from lab import start_time, wait_for
from mallory import Mallory, secrets
from pair import SYNC, SYNC_NET
from pulse import Pulse

pytestmark = pytest.mark.daemon

# Sessions in the kernels that no test here may affect.
KEPT = {("10.0.0.20", port) for port in range(1024, 1024 + 200)}
LOAD, LOAD_NET = 20_000, "10.0.9"
LIFEPACKETS = 1200
# Far above all that is expected: it detects a hang, not slowness.
HANGS = 60
OTHER_ADDRESS = "192.168.1.111"


@pytest.fixture(scope="module")
def instances(pair):
    both = sync.equip(pair)
    for instance in both:
        instance.start()
    sync.wait_settled(*both)
    conntrack.insert_many(pair.mickey, len(KEPT), timeout=3600)
    wait_for(lambda: len(pair.flows(pair.minnie)) == len(KEPT), 15, "the sessions to be on both")
    return both


@pytest.fixture(scope="module", autouse=True)
def nothing_in_clear(pair):
    """Everything that this module sends."""
    mallory = Mallory(pair)
    yield
    # Those of the sync network are IKE from an address that no conn named yet.
    known = sorted(f for f in conntrack.table(pair.mickey) if not f.from_any(SYNC_NET))
    seen = mallory.look(secrets(known[:: len(known) // 50 or 1]))
    assert seen.esp > 100 and seen.only_ipsec, (seen.clear_pfsync, seen.leaks[:3], seen.other)


@pytest.fixture
def measure(pair, instances, capsys):
    """with measure("what happens") as notes: ... Notes are printed with the figure."""

    @contextlib.contextmanager
    def measuring(what: str):
        notes: list[str] = []
        with Pulse(pair.mickey, pair.minnie) as pulse:
            yield notes
        sync.wait_in_step(*instances, timeout=HANGS)
        assert not pulse.gone(KEPT)
        wait_for(lambda: equal(pair), HANGS, "both kernels to hold the same flows")
        assert pulse.silence() < HANGS
        with capsys.disabled():
            print(f"\n{what}: no state change got through for {pulse.silence() * 1000:.0f} ms"
                  f" ({', '.join([f'{pulse.made()} changes, none lost', *notes])})", flush=True)

    return measuring


def equal(pair) -> bool:
    mickey, minnie = (conntrack.keys(pair.flows(node)) for node in pair.firewalls)
    return mickey == minnie


def down(*instances) -> bool:
    """Each has detected that its peer is gone."""
    return all(peer["state"] != "up" for i in instances for peer in i.status()["peers"])


def noticed(*instances) -> str:
    since = time.monotonic()
    wait_for(lambda: down(*instances), HANGS, "the peer's end to be noticed")
    return f"noticed after {time.monotonic() - since:.1f} s"


def never_down(instances, since: list[str]) -> bool:
    return not any(": down" in i.log()[len(log):] for i, log in zip(instances, since))


def test_nothing_happens(measure):
    """The reference for the other tests."""
    with measure("nothing happens"):
        time.sleep(3)


# ---- SAs are replaced ------------------------------------------------------------------------


@pytest.fixture
def short_lived(instances):
    """An SA of mickey's may send only this many packets."""
    mickey, _ = instances
    mickey.each["minnie"] = {"lifepackets": str(LIFEPACKETS)}
    mickey.reload()
    sync.wait_in_step(*instances, timeout=HANGS)
    yield mickey
    mickey.each.clear()
    mickey.reload()
    sync.wait_in_step(*instances, timeout=HANGS)


def test_sequence_numbers_near_their_end(instances, short_lived, measure):
    logs = [i.log() for i in instances]
    with measure("an SA reaches three quarters of its packets, three times"):
        for _ in range(3):
            spi = short_lived.peer("minnie")["spi_out"]
            wait_for(lambda: short_lived.peer("minnie")["spi_out"] not in (spi, "", None), HANGS,
                     "a successor")
    assert never_down(instances, logs)
    assert short_lived.peer("minnie")["not_sent"]["sequence_exhausted"] == 0


def test_sequence_numbers_at_their_end(instances, short_lived, measure):
    """Control: without a successor nothing more is sent."""
    (charon,) = short_lived.charons()

    def refused() -> int:
        return short_lived.peer("minnie")["not_sent"]["sequence_exhausted"]

    with measure("an SA has sent all of its packets, and charon is held for some seconds"):
        os.kill(charon, signal.SIGSTOP)
        before = refused()
        conntrack.insert_many(short_lived.node, 10_000, LOAD_NET)
        wait_for(lambda: refused() > before, HANGS, "the end of the numbers")
        sent = {sa["packets"] for sa in short_lived.json("sas") if sa["direction"] == "out"}
        os.kill(charon, signal.SIGCONT)
    assert max(sent) == LIFEPACKETS
    short_lived.node.run("conntrack", "-D", "-s", f"{LOAD_NET}.0/24")


def test_both_rekey_both_sas_at_once_under_load(pair, instances, measure):
    """Thousands of flows are announced meanwhile."""
    mickey, minnie = instances
    logs = [i.log() for i in instances]
    with measure("both nodes rekey IKE SA and CHILD_SA at once, three times, under load"):
        with ThreadPoolExecutor() as pool:
            load = pool.submit(conntrack.insert_many, pair.mickey, LOAD, LOAD_NET)
            for _ in range(3):
                spis = mickey.spis() | minnie.spis()
                list(pool.map(lambda i: i.command("keys", "rotate", "--what", "sa"), instances))
                wait_for(lambda: not spis & (mickey.spis() | minnie.spis()), HANGS,
                         "all SAs to be new ones", 0.1)
            load.result()
        wait_for(lambda: sum(flow.from_any(f"{LOAD_NET}.0/24")
                             for flow in conntrack.table(pair.minnie)) == LOAD, HANGS,
                 "the load to be on both", 0.5)
        pair.mickey.run("conntrack", "-D", "-s", f"{LOAD_NET}.0/24")
        wait_for(lambda: not any(flow.from_any(f"{LOAD_NET}.0/24")
                                 for flow in conntrack.table(pair.minnie)), HANGS,
                 "the load to be gone from both", 0.5)
    assert never_down(instances, logs)


def test_reauthentication_makes_before_it_breaks(instances, measure):
    """With a new identity of mickey's: this forces charon to reauthenticate."""
    mickey, minnie = instances
    logs = [i.log() for i in instances]
    shown = minnie.peer("mickey")["key"]
    with measure("reauthentication, with a new identity"):
        mickey.command("keys", "rotate", "--what", "identity")
        wait_for(lambda: minnie.peer("mickey")["key"] != shown, HANGS, "minnie to see the new key")
        wait_for(lambda: len(minnie.json("keys", "list")) == 1, HANGS,
                 "minnie to drop the old key", 0.5)
    assert never_down(instances, logs)


# ---- charon ----------------------------------------------------------------------------------


def wait_for_another_charon(instance, charon: int) -> None:
    wait_for(lambda: instance.charons() not in ([], [charon]), HANGS, "another charon")


def test_charon_is_killed(instances, measure):
    mickey, _ = instances
    with measure("charon is killed"):
        (charon,) = mickey.charons()
        os.kill(charon, signal.SIGKILL)
        wait_for_another_charon(mickey, charon)
        sync.wait_in_step(*instances, timeout=HANGS)


def test_charon_hangs(instances, measure):
    mickey, _ = instances
    with measure("charon hangs") as notes:
        (charon,) = mickey.charons()
        os.kill(charon, signal.SIGSTOP)
        since = time.monotonic()
        wait_for(lambda: start_time(charon) is None, HANGS, "the hanging charon to be killed")
        notes.append(f"noticed after {time.monotonic() - since:.1f} s")
        wait_for_another_charon(mickey, charon)
        sync.wait_in_step(*instances, timeout=HANGS)
    assert "charon does not answer and was killed" in mickey.log()


def test_charon_is_upgraded(pair, instances, measure):
    """charon's file is replaced while it runs. A daemon keeps using the charon that it began with,
    also when it restarts it; the next daemon uses the new one."""
    mickey, _ = instances
    system, copy = Path("/usr/lib/ipsec"), pair.mickey.dir / "ipsec"

    def running() -> int:
        (charon,) = mickey.charons()
        return Path(f"/proc/{charon}/exe").stat().st_ino

    shutil.copytree(system, copy, symlinks=True)
    mickey.stop()
    mickey.prefix = ("unshare", "-m", "sh", "-ec", f'mount --bind {copy} {system}; exec "$@"', "sh")
    mickey.start()
    sync.wait_in_step(*instances, timeout=HANGS)
    old = running()
    assert old == (copy / "charon").stat().st_ino
    shutil.copy2(system / "charon", copy / "charon.new")
    os.replace(copy / "charon.new", copy / "charon")
    with measure("charon's file is replaced, and charon is ended by SIGTERM"):
        (charon,) = mickey.charons()
        os.kill(charon, signal.SIGTERM)
        wait_for_another_charon(mickey, charon)
        sync.wait_in_step(*instances, timeout=HANGS)
    assert running() == old
    with measure("encsyncd is restarted, and has the new charon"):
        mickey.stop()
        mickey.start()
        sync.wait_in_step(*instances, timeout=HANGS)
    assert running() == (copy / "charon").stat().st_ino != old
    mickey.prefix = ()
    mickey.stop()
    mickey.start()
    sync.wait_in_step(*instances, timeout=HANGS)


# ---- encsyncd --------------------------------------------------------------------------------


def test_the_daemon_is_restarted(instances, measure):
    mickey, minnie = instances
    with measure("encsyncd ends by SIGTERM and is started again") as notes:
        mickey.stop()
        notes.append("its peer " + noticed(minnie))
        mickey.start()
        sync.wait_in_step(*instances, timeout=HANGS)


def test_the_daemon_is_killed_and_started_at_once(instances, measure):
    mickey, _ = instances
    with measure("encsyncd is killed and started at once"):
        mickey.restart()
        sync.wait_in_step(*instances, timeout=HANGS)


def test_a_peer_dies_and_comes_back(instances, measure):
    mickey, minnie = instances
    with measure("encsyncd is killed, missed, and started") as notes:
        minnie.kill()
        notes.append("its peer " + noticed(mickey))
        minnie.start()
        sync.wait_in_step(*instances, timeout=HANGS)


# ---- the network -----------------------------------------------------------------------------


def test_a_short_cut(pair, instances, measure):
    """Shorter than dpdtimeout: the SAs stay."""
    def sending() -> set:
        return {sa for i in instances for sa in i.spis() if sa[1] == "out"}

    sync.wait_settled(*instances)
    spis, logs = sending(), [i.log() for i in instances]
    with measure("the network is cut for 2 s"):
        pair.minnie.ip("link set sync down")
        time.sleep(2)
        pair.minnie.ip("link set sync up")
    assert sending() == spis and never_down(instances, logs)


def test_a_long_cut(pair, instances, measure):
    with measure("the network is cut until both have noticed") as notes:
        pair.minnie.ip("link set sync down")
        notes.append(noticed(*instances))
        pair.minnie.ip("link set sync up")
        sync.wait_in_step(*instances, timeout=HANGS)


def test_an_address_changes(pair, instances, measure):
    """The conns decide: another address is not accepted until both conns name it."""
    mickey, minnie = instances
    # Without the address minnie is a router for it, and would send redirects.
    pair.minnie.sysctl({f"net/ipv4/conf/{of}/send_redirects": 0 for of in ("all", "sync")})

    def move(old: str, new: str) -> None:
        pair.minnie.ip(f"addr del {old}/24 dev sync", f"addr add {new}/24 dev sync")

    with measure("a peer gets another address, and both conns are changed") as notes:
        move(SYNC["minnie"], OTHER_ADDRESS)
        notes.append(noticed(*instances))
        wait_for(lambda: f"left {SYNC['minnie']} is no address of this machine" in
                 minnie.peer("mickey")["last_error"], HANGS, "minnie to name it")
        minnie.left = OTHER_ADDRESS
        minnie.reload()
        dropped = mickey.refused().get("dropped_in_kernel", 0)
        wait_for(lambda: mickey.refused().get("dropped_in_kernel", 0) > dropped + 1, HANGS,
                 "mickey to drop what comes from there")
        assert down(*instances)
        mickey.peers["minnie"] = OTHER_ADDRESS
        mickey.reload()
        sync.wait_in_step(*instances, timeout=HANGS)
    move(OTHER_ADDRESS, SYNC["minnie"])
    minnie.left = mickey.peers["minnie"] = SYNC["minnie"]
    for instance in instances:
        instance.reload()
    sync.wait_in_step(*instances, timeout=HANGS)
