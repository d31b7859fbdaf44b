# SPDX-License-Identifier: ISC
"""A wrong key: nothing syncs, and the log says why. Control: with the right one it does."""

from __future__ import annotations

import pytest

import conntrack
import sync
from lab import wait_for
from pair import SERVER, SYNC, FirewallPair

pytestmark = [pytest.mark.daemon, pytest.mark.usefixtures("sanitized_command")]

REFUSALS = ("auth", "key", "trust")  # words that a log line about it has


def complaints(instance) -> list[str]:
    return [line for line in instance.log().splitlines()
            if any(word in line.lower() for word in REFUSALS)
            and any(name in line for name in ("mickey", "minnie"))]


def test_a_wrong_key_syncs_nothing_until_it_is_right(fresh):
    pair = FirewallPair(fresh)
    # Another node with the name mickey: minnie gets its key, and not the real mickey's.
    stranger = sync.Encsync(fresh.node("stranger"), {"minnie": SYNC["minnie"]}, left="192.168.1.9",
                            setup={"node": "mickey"})
    mickey = sync.Encsync(pair.mickey, {"minnie": SYNC["minnie"]}, left=SYNC["mickey"])
    minnie = sync.Encsync(pair.minnie, {"mickey": SYNC["mickey"]}, left=SYNC["minnie"])
    for instance in (stranger, mickey, minnie):
        instance.init_keys()
    minnie.trust(stranger.export_key())
    mickey.trust(minnie.export_key())
    seen: set[str] = set()
    for instance in (mickey, minnie):
        instance.start()
    conntrack.insert(pair.mickey, "10.0.0.10", SERVER[0], 1, 2)

    def refused_twice() -> bool:
        seen.update(peer["state"] for i in (mickey, minnie) for peer in i.status()["peers"])
        return len(complaints(minnie)) >= 2

    wait_for(refused_twice, 25, "minnie to refuse mickey's key twice, in her log")
    assert "up" not in seen
    assert pair.flows(pair.minnie) == set()
    assert not minnie.ready() or minnie.peer("mickey")["state"] != "up"
    # Control.
    minnie.command("keys", "forget", "mickey")
    minnie.trust(mickey.export_key())
    wait_for(lambda: minnie.peer("mickey")["state"] == "up", 25, "the right key to do")
    wait_for(lambda: pair.flows(pair.minnie), 10, "the flow to arrive")


def test_a_peer_that_is_trusted_by_nobody(fresh):
    """Both have keys, neither trusts the other: no SA. After both do, there is one."""
    pair = FirewallPair(fresh)
    mickey = sync.Encsync(pair.mickey, {"minnie": SYNC["minnie"]}, left=SYNC["mickey"])
    minnie = sync.Encsync(pair.minnie, {"mickey": SYNC["mickey"]}, left=SYNC["minnie"])
    for instance in (mickey, minnie):
        instance.init_keys()
        instance.start()
    wait_for(lambda: complaints(mickey) and complaints(minnie), 25, "both logs to say why")
    assert {i.status()["peers"][0]["state"] for i in (mickey, minnie)} <= {"down", "connecting"}
    mickey.trust(minnie.export_key())
    minnie.trust(mickey.export_key())
    sync.wait_in_step(mickey, minnie, timeout=25)


def test_the_end_of_the_key_log_is_noted_and_a_changed_store_is_named(fresh):
    pair = FirewallPair(fresh)
    mickey, minnie = sync.equip(pair)
    stranger = sync.Encsync(fresh.node("stranger"), {}, left="192.168.1.9")
    stranger.init_keys()
    mickey.start()

    def last() -> str:
        return mickey.json("keys", "log")["last"]

    assert f"the last event of their log has the hash {last()}" in mickey.log()
    first = last()
    mickey.trust(stranger.export_key())
    assert last() != first
    wait_for(lambda: f"their log has the hash {last()}" in mickey.log(), 10, "it to be noted")
    mickey.command("keys", "log", "--verify", first)
    assert "though it is in the log" not in mickey.log()
    # Somebody puts another list of trusted keys in the place of mickey's.
    (mickey.key_dir / "trusted").write_bytes((minnie.key_dir / "trusted").read_bytes())
    assert mickey.command("keys", "log", "--verify", check=False).returncode == 1
    mickey.reload()
    wait_for(lambda: "of stranger is not there, though it is in the log" in mickey.log(), 10,
             "the daemon to name the key")


def test_a_retired_key_is_cut_off_at_once(fresh):
    """The control, a key that is retired after its successor was used, is in test_rekey.py."""
    pair = FirewallPair(fresh)
    # DPD is slow, so that it cannot hide a missing DELETE.
    mickey, minnie = sync.equip(pair, conn={"dpddelay": "60s", "dpdtimeout": "60s"},
                                setup={"keysync": "no"})
    for instance in (mickey, minnie):
        instance.start()
    sync.wait_in_step(mickey, minnie)
    old = minnie.peer("mickey")["key"]
    assert old in mickey.command("keys", "show", "--json").stdout
    mickey.command("keys", "rotate", "--what", "identity")
    early = mickey.command("keys", "retire", check=False)
    assert early.returncode == 1
    assert "minnie has not shown that the new key is trusted there" in early.stderr
    assert len(mickey.json("keys", "show")["identities"]) == 2
    minnie.trust(mickey.export_key())
    wait_for(lambda: len(mickey.peer("minnie")["accepts"]) == 2, 10, "minnie to say it")
    spis = minnie.spis()
    assert minnie.peer("mickey")["state"] == "up"
    refused = minnie.command("keys", "retire", "--peer", "mickey", check=False)
    assert refused.returncode == 1
    assert refused.stderr == (f"encsync: mickey is connected with the older key, {old}: run encsync "
                              "keys retire there first; --force cuts it off\n")
    assert minnie.spis() == spis
    minnie.command("keys", "retire", "--peer", "mickey", "--force")
    assert not spis & minnie.spis()  # they were gone before the command returned
    assert f"cut off, as the key it proved itself with, {old}" in minnie.log()
    # mickey still has no other key.
    wait_for(lambda: complaints(minnie), 25, "minnie to refuse the old key")
    assert minnie.spis() == set()
    conntrack.insert(pair.mickey, "10.0.0.10", SERVER[0], 1, 2)
    # Before it was cut off, minnie sent that it trusts the new one.
    mickey.command("keys", "retire")
    sync.wait_in_step(mickey, minnie, timeout=30)
    assert minnie.peer("mickey")["key"] != old
    wait_for(lambda: pair.flows(pair.minnie), 10, "the flow to arrive")


def test_key_files_of_others_are_not_read(fresh):
    pair = FirewallPair(fresh)
    mickey = sync.Encsync(pair.mickey, {"minnie": SYNC["minnie"]}, left=SYNC["mickey"])
    mickey.init_keys()
    modes = {f.name: f.stat().st_mode & 0o777 for f in mickey.key_dir.rglob("*") if f.is_file()}
    assert modes and set(modes.values()) == {0o600}
    assert mickey.key_dir.stat().st_mode & 0o777 == 0o700
    mickey.key_dir.chmod(0o755)
    done = pair.mickey.run(sync.bin_dir() / "encsyncd", "--config", mickey.config, "--run-dir",
                           mickey.run_dir, "--foreground", check=False)
    assert done.returncode != 0 and str(mickey.key_dir) in done.stderr
