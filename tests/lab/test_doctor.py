# SPDX-License-Identifier: ISC
"""encsync doctor finds what is wrong, says what to do, and finds nothing where nothing is wrong."""

from __future__ import annotations

import json

import pytest

import conntrack
import sync
from lab import PYTHON, wait_for
from pair import SERVER, SYNC

pytestmark = pytest.mark.daemon

HOLD = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
print("held", flush=True)
sys.stdin.read()
"""


def examine(instance) -> dict:
    """Texts by grade and what they are about. Of the clock nothing is expected."""
    done = instance.command("doctor", "--json", check=False)
    said = json.loads(done.stdout)
    found: dict = {"ok": {}, "note": {}, "bad": {}}
    for each in said["findings"]:
        if each["about"] != "clock":
            found[each["grade"]].setdefault(each["about"], []).append(each["text"])
    assert said["ok"] == (not found["bad"]) == (done.returncode == 0)
    return found


def bad(instance, about: str) -> str:
    return "\n".join(examine(instance)["bad"].get(about, []))


def test_all_is_well(pair, instances):
    conntrack.insert(pair.mickey, "10.0.0.30", SERVER[0], 2001, 443)
    wait_for(lambda: pair.flows(pair.minnie), 10, "the flow to be on both")
    for instance, other in zip(instances, ("minnie", "mickey")):
        found = examine(instance)
        assert found["bad"] == found["note"] == {}
        assert set(found["ok"]) == {"configuration", "this machine", "charon", f"conn {other}",
                                    "conntrack", "encsyncd", f"peer {other}"}
        lines = instance.command("doctor").stdout.splitlines()
        assert len(lines) == 8 and all(line.startswith(("ok  ", "note")) for line in lines)


def test_a_mistake_in_the_configuration(instances):
    mickey, _ = instances
    good = mickey.config.read_text()
    mickey.config.write_text(good.replace("left=", "lfet="))
    found = examine(mickey)
    mickey.config.write_text(good)
    assert "did you mean 'left'" in "".join(found["bad"]["configuration"])
    assert "configuration" not in found["ok"] and found["ok"]["encsyncd"]
    assert bad(mickey, "configuration") == ""


def test_no_way_to_the_peer(pair, instances):
    mickey, _ = instances
    pair.mickey.ip("route add unreachable " + SYNC["minnie"])
    try:
        text = bad(mickey, "conn minnie")
        assert f"no way to {SYNC['minnie']}" in text and "ip route get" in text
    finally:
        pair.mickey.ip("route del unreachable " + SYNC["minnie"])
    sync.wait_in_step(*instances, timeout=30)
    assert bad(mickey, "conn minnie") == ""


def test_a_peer_that_is_down(instances):
    mickey, minnie = instances
    minnie.stop()
    wait_for(lambda: mickey.peer("minnie")["state"] != "up", 20, "minnie to be missed")
    assert bad(mickey, "peer minnie").startswith("not up")
    text = bad(minnie, "encsyncd")
    assert "does not run" in text and "systemctl start encsync" in text
    minnie.start()
    sync.wait_in_step(*instances, timeout=30)
    assert bad(mickey, "peer minnie") == bad(minnie, "encsyncd") == ""


def test_a_taken_port_and_a_missing_key(pair, instances):
    _, minnie = instances
    minnie.stop()
    assert bad(minnie, "conn mickey") == ""  # control: only encsyncd is missing
    holder = pair.minnie.start(PYTHON, "-c", HOLD, SYNC["minnie"], 500, stdin=True)
    wait_for(lambda: "held" in holder.output(), 10, "the port to be held")
    text = bad(minnie, "conn mickey")
    assert f"another program has UDP port 500 of {SYNC['minnie']}" in text and "ss -ulpn" in text
    holder.kill()
    aside = minnie.key_dir.rename(minnie.key_dir.with_name("aside"))
    assert "'encsync keys init' makes them" in bad(minnie, "this machine")
    aside.rename(minnie.key_dir)
    minnie.start()
    sync.wait_in_step(*instances, timeout=30)
    assert examine(minnie)["bad"] == {}


CLOSED = """
table inet site {
    chain input {
        type filter hook input priority 0; policy drop;
        ct state vmap { established : accept, related : accept, invalid : drop }
        iifname lo accept
        meta l4proto { icmp, ipv6-icmp } accept
        jump services
    }
    chain services { tcp dport { 22, 443 } counter accept; }
}
"""


def test_a_ruleset_that_keeps_the_peer_out(pair, instances):
    mickey, minnie = instances
    pair.mickey.nft(CLOSED)
    try:
        text = bad(mickey, "firewall")
        assert f"chain input of table inet site drops UDP port 500 from {SYNC['minnie']}" in text
        assert bad(minnie, "firewall") == ""
        pair.mickey.run("nft", text.split("'")[1])
        assert bad(mickey, "firewall") == ""
        sync.wait_in_step(mickey, minnie, timeout=30)
    finally:
        pair.mickey.run("nft", "delete table inet site")
