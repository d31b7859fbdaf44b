# SPDX-License-Identifier: ISC
"""A node with ESP in the kernel and one with ESP in userspace; the same over IPv6; and the errors
of a node whose kernel cannot do it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import conntrack
import sync
from lab import wait_for
from pair import SERVER, FirewallPair

PATIENCE = 60
SIX = {"mickey": "2001:db8:1::100", "minnie": "2001:db8:1::101"}


def flows_pass(pair, *instances) -> None:
    """Both ways."""
    for instance in instances:
        instance.start()
    sync.wait_in_step(*instances, timeout=PATIENCE)
    for node, proto in ((pair.mickey, "tcp"), (pair.minnie, "udp")):
        conntrack.insert_many(node, 300, proto=proto)

    def equal() -> bool:
        mickey, minnie = (conntrack.keys(pair.flows(node)) for node in pair.firewalls)
        return mickey == minnie and len(mickey) == 600

    wait_for(equal, PATIENCE, "both to hold the same 600 flows", 0.5)
    before = [i.json("peers")[0]["spi_out"] for i in instances]
    instances[0].command("keys", "rotate", "--what", "sa")
    for instance, spi in zip(instances, before):
        wait_for(lambda: instance.json("peers")[0]["spi_out"] not in (spi, ""), PATIENCE, "new SAs",
                 0.5)
    conntrack.insert(pair.mickey, "10.0.0.40", SERVER[0], 1000, 443)
    conntrack.insert(pair.minnie, "10.0.0.40", SERVER[0], 1001, 443)
    for node in pair.firewalls:
        wait_for(lambda: len(pair.flows(node)) == 602, PATIENCE, "flows after a rekey", 0.5)
    for instance in instances:
        peer = instance.json("peers")[0]
        assert peer["refused"] == 0 and not any(peer["not_sent"][k] for k in ("no_sa", "too_big"))


def test_kernel_and_userspace_understand_each_other(fresh):
    pair = FirewallPair(fresh)
    mickey, minnie = sync.equip(pair, setup={"ipsec": "kernel"})
    minnie.setup["ipsec"] = "userspace"
    minnie.write_config()
    flows_pass(pair, mickey, minnie)
    assert [i.status()["ipsec"]["mode"] for i in (mickey, minnie)] == ["kernel", "userspace"]


def test_ipv6(fresh):
    pair = FirewallPair(fresh)
    for node in pair.firewalls:
        node.ip(f"addr add {SIX[node.name]}/64 dev sync nodad")
    mickey = sync.Encsync(pair.mickey, {"minnie": SIX["minnie"]}, SIX["mickey"],
                          setup={"ipsec": "kernel"})
    minnie = sync.Encsync(pair.minnie, {"mickey": SIX["mickey"]}, SIX["minnie"])
    sync.introduce(mickey, minnie)
    flows_pass(pair, mickey, minnie)


def test_another_key_gets_nowhere(fresh):
    pair = FirewallPair(fresh)
    mickey, minnie = sync.equip(pair, setup={"ipsec": "kernel"})
    minnie.command("keys", "forget", "mickey")
    for instance in (mickey, minnie):
        instance.start()
    wait_for(lambda: "refused us" in (mickey.peer("minnie") or {}).get("last_error", ""), PATIENCE,
             "mickey to hear that minnie refuses it", 0.5)
    assert pair.minnie.run("ip", "xfrm", "state").stdout == ""
    # minnie calls, too, and mickey accepts her until she refuses.
    wait_for(lambda: pair.mickey.run("ip", "xfrm", "state").stdout == "", PATIENCE,
             "mickey to drop what it has negotiated", 0.1)
    assert mickey.peer("minnie")["rx_packets"] == 0


@pytest.fixture
def no_modules():
    """A kernel without any of its modules."""
    setting = Path("/proc/sys/kernel/modprobe")
    before = setting.read_text()
    setting.write_text("/bin/false\n")
    yield
    setting.write_text(before)


def unload(*names: str) -> None:
    subprocess.run(["modprobe", "-r", *names], check=True)


def refusal(instance) -> str:
    done = instance.node.run(*instance.daemon_argv(), check=False)
    assert done.returncode == 1
    return done.stderr


def test_a_kernel_that_lacks_it_is_told_by_name(fresh, no_modules):
    pair = FirewallPair(fresh)
    mickey, _ = sync.equip(pair, setup={"ipsec": "kernel"})
    unload("xfrm_interface")
    assert "the kernel has no xfrm interfaces" in refusal(mickey)
    assert "module xfrm_interface" in refusal(mickey)


def test_a_kernel_without_esp_is_told_by_name(fresh, no_modules):
    pair = FirewallPair(fresh)
    mickey, _ = sync.equip(pair, setup={"ipsec": "kernel"})
    subprocess.run(["modprobe", "xfrm_interface"], check=True)
    unload("esp4")
    assert "no ESP for IPv4" in refusal(mickey) and "module esp4" in refusal(mickey)
    assert pair.mickey.run("ip", "link", "show", "type", "xfrm").stdout == ""


def test_auto_takes_userspace_unless_it_cannot(fresh):
    pair = FirewallPair(fresh)
    mickey, _ = sync.equip(pair, setup={"ipsec": "auto"})
    mickey.start()
    assert mickey.status()["ipsec"]["mode"] == "userspace"
    assert "ESP by userspace: it is faster" in mickey.log()
    mickey.stop()
    tun, away = Path("/dev/net/tun"), Path("/dev/net/away")
    tun.rename(away)
    try:
        mickey.start()
        ipsec = mickey.status()["ipsec"]
        assert ipsec["mode"] == "kernel" and ipsec["configured"] == "auto"
        assert "/dev/net/tun" in ipsec["why"]
        assert "/dev/net/tun" in mickey.command("status").stdout
    finally:
        away.rename(tun)
