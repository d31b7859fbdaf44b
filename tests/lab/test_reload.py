# SPDX-License-Identifier: ISC
"""encsync reload: what may change while the daemon runs, and what it refuses."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

import conntrack
import sync
from lab import PYTHON, wait_for
from pair import SERVER, SYNC

pytestmark = [pytest.mark.daemon, pytest.mark.usefixtures("sanitized_command")]


@pytest.fixture
def settled(pair, instances):
    """Restores both, and waits until they are in step."""
    sync.wait_settled(*instances)
    yield instances
    for instance in instances:
        instance.setup.clear()
        instance.conn.clear()
        instance.each.clear()
        instance.peers = {"minnie" if instance.name == "mickey" else "mickey":
                          SYNC["minnie" if instance.name == "mickey" else "mickey"]}
        instance.reload()
    sync.wait_in_step(*instances, timeout=30)


def test_nothing_has_changed(settled):
    mickey, _ = settled
    spis = mickey.spis()
    assert spis
    assert "no conn differs" in mickey.reload().stdout
    assert mickey.spis() == spis


def refused(mickey, *words: str) -> None:
    spis, peers = mickey.spis(), [peer["name"] for peer in mickey.json("peers")]
    done = mickey.command("reload", check=False)
    assert done.returncode == 1
    assert "nothing was changed" in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert mickey.spis() == spis
    assert [peer["name"] for peer in mickey.json("peers")] == peers
    wait_for(mickey.ready, 10, "mickey to be ready")


def test_a_bad_file_changes_nothing(settled):
    mickey, _ = settled
    text = mickey.config.read_text()
    line = len(text.splitlines()) + 1
    mickey.config.write_text(text + "\tlifetim=1h\n")
    refused(mickey, f"encsync.conf:{line}:", "did you mean 'lifetime'?")
    mickey.config.unlink()
    refused(mickey, "encsync.conf", "No such file")


@pytest.mark.parametrize("keyword, value", [("syncdev", "enc7"), ("natport", "4600"),
                                            ("table", "memory"), ("synclocal", "yes"),
                                            ("ignore", "10.99.0.0/16"),
                                            ("metricslisten", "127.0.0.1:9240")])
def test_what_needs_a_restart_is_named(settled, keyword, value):
    mickey, _ = settled
    mickey.setup[keyword] = value
    mickey.write_config()
    refused(mickey, "a restart is needed for", keyword)


def test_a_left_that_is_not_ours_changes_nothing(settled):
    mickey, _ = settled
    mickey.peers["donald"] = SYNC["donald"]
    mickey.each["donald"] = {"left": "192.168.77.7"}
    mickey.write_config()
    refused(mickey, "donald", "192.168.77.7")
    assert "192.168.1.102" not in mickey.node.run("nft", "list", "table", "inet", "encsync").stdout


HOLD = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 4500))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_port_that_is_taken_changes_nothing(pair, settled):
    mickey, _ = settled
    other = "192.168.1.110"
    pair.mickey.ip(f"addr add {other}/24 dev sync")
    holder = pair.mickey.start(PYTHON, "-c", HOLD, other, stdin=True)
    wait_for(lambda: "held" in holder.output(), 10, "the port to be held")
    mickey.peers["donald"] = SYNC["donald"]
    mickey.each["donald"] = {"left": other}
    mickey.conn["lifetime"] = "25m"  # for minnie, too: not applied separately
    mickey.write_config()
    refused(mickey, "donald", f"{other}:4500 is taken")
    # Control.
    holder.kill()
    assert "added donald, changed minnie" in mickey.reload().stdout
    mickey.peers.pop("donald"), mickey.each.clear()
    mickey.reload()
    pair.mickey.ip(f"addr del {other}/24 dev sync")


@pytest.fixture
def key_dir(settled, tmp_path):
    """mickey's, at the end."""
    mickey, _ = settled
    shutil.copytree(mickey.key_dir, tmp_path / "kept")
    yield mickey.key_dir
    shutil.rmtree(mickey.key_dir)
    shutil.copytree(tmp_path / "kept", mickey.key_dir)
    mickey.key_dir.chmod(0o700)


def test_what_charon_cannot_take_changes_nothing(pair, settled):
    """This is checked last, of all errors of a conn."""
    mickey, _ = settled
    mickey.peers["donald"] = SYNC["donald"]
    mickey.each["donald"] = {"ike": ",".join(["aes256gcm16-prfsha256-curve25519"] * 40)}
    mickey.conn["lifetime"] = "26m"
    mickey.write_config()
    refused(mickey, "conn donald", "peer.ike", "too long")
    assert SYNC["donald"] not in pair.mickey.run("nft", "list", "table", "inet", "encsync").stdout
    # Control.
    mickey.each["donald"] = {"ike": ",".join(["aes256gcm16-prfsha256-curve25519"] * 20)}
    assert "added donald, changed minnie" in mickey.reload().stdout


@pytest.mark.parametrize("spoil", [
    lambda keys: keys.chmod(0o755),
    lambda keys: [f.write_text("nonsense") for f in keys.iterdir() if f.is_file()],
    shutil.rmtree,
], ids=["mode", "content", "gone"])
def test_a_bad_key_directory_changes_nothing(settled, key_dir, spoil, tmp_path):
    mickey, _ = settled
    mickey.peers["donald"] = SYNC["donald"]
    mickey.write_config()
    spoil(key_dir)
    refused(mickey, "key")
    key_dir.mkdir(exist_ok=True)


def test_a_charon_that_is_dead_hears_of_it_when_it_is_back(settled):
    mickey, minnie = settled
    (charon,) = mickey.charons()
    mickey.peers["donald"] = SYNC["donald"]
    mickey.write_config()
    os.kill(charon, signal.SIGKILL)
    assert "added donald" in mickey.command("reload").stdout
    sync.wait_in_step(mickey, minnie, timeout=60)
    wait_for(lambda: mickey.peer("donald")["state"] == "connecting", 30, "donald to be called")


def test_lifetimes_change_and_the_sas_stay(settled):
    mickey, _ = settled
    spis = mickey.spis()
    mickey.conn["lifetime"] = "30m"
    assert "changed minnie" in mickey.reload().stdout
    assert mickey.spis() == spis


def test_a_conn_that_is_another_path_begins_anew(pair, settled):
    mickey, minnie = settled
    conntrack.insert(pair.mickey, "10.0.0.30", SERVER[0], 2000, 443)
    wait_for(lambda: pair.flows(pair.minnie), 10, "the flow to arrive")
    spis = mickey.spis()
    mickey.each["minnie"] = {"mtu": "1400"}
    assert "changed minnie" in mickey.reload().stdout
    assert not spis & mickey.spis()
    sync.wait_in_step(mickey, minnie, timeout=40)
    wait_for(lambda: pair.flows(pair.minnie) == pair.flows(pair.mickey) != set(), 10,
             "the flow to be on both")
    conntrack.delete(pair.mickey, "10.0.0.30", SERVER[0], 2000, 443)
    wait_for(lambda: not pair.flows(pair.minnie), 10, "its end to arrive")


def test_a_peer_is_added_by_sighup_and_removed_again(pair, settled):
    mickey, _ = settled
    spis = mickey.spis()
    mickey.peers["donald"] = SYNC["donald"]
    mickey.write_config()
    mickey.daemon.signal(signal.SIGHUP)
    wait_for(lambda: mickey.peer("donald"), 10, "donald to be known")
    assert mickey.peer("donald")["state"] != "up"
    rules = pair.mickey.run("nft", "list", "table", "inet", "encsync").stdout
    assert SYNC["donald"] in rules and SYNC["minnie"] in rules
    del mickey.peers["donald"]
    mickey.write_config()
    mickey.daemon.signal(signal.SIGHUP)
    wait_for(lambda: mickey.peer("donald") is None, 10, "donald to be forgotten")
    rules = pair.mickey.run("nft", "list", "table", "inet", "encsync").stdout
    assert SYNC["donald"] not in rules and SYNC["minnie"] in rules
    assert mickey.spis() == spis
    # Control: an invalid file is refused in the same way, and the log says why.
    mickey.config.write_text(mickey.config.read_text() + "\tnonsense=1\n")
    mickey.daemon.signal(signal.SIGHUP)
    wait_for(lambda: "unknown keyword 'nonsense'" in mickey.log(), 10, "the log to say so")
    assert mickey.spis() == spis
