# SPDX-License-Identifier: ISC
"""The benchmark's lab: two firewalls, a path through the first one, a cable between them.

    clients ---- mickey ---- servers          10.64.0.0/10  ->  198.18.0.0/15
                   | sync
                   |                          192.168.1.100
                   |                          192.168.1.101
                   | sync
                 minnie

The load runs from `clients` through mickey and is dropped in `servers`. Nothing but the system
under test uses the cable, so its counters are that system's. GSO is off on it: each datagram is
a packet there, as on a wire, and the byte counters are true.

It is made of the same parts as the lab of the demo and the tests (tests/lab/lab.py), but simpler:
no switches, no VRRP, no NAT, because parts that are not measured should not take time.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))

from lab import NETNS_DIR, Lab, LabError, Node  # noqa: E402

FIREWALLS = "mickey", "minnie"
SYNC = {"mickey": "192.168.1.100", "minnie": "192.168.1.101"}
SYNC_DEVICE = "sync"
SYSCTLS = Path("/proc/sys/net/netfilter")
CLONE_NEWNET = 0x40000000

# Typical rules of such a firewall: states for forwarded packets, none for the sync cable.
FIREWALL_RULES = f"""
table inet firewall {{
    chain prerouting {{
        type filter hook prerouting priority raw
        iif {SYNC_DEVICE} notrack
    }}
    chain output {{
        type filter hook output priority raw
        oif {SYNC_DEVICE} notrack
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop
        ct state established,related accept
        iifname inside ct state new accept
    }}
}}
"""

# Packets that have passed the firewall are dropped where it costs least.
SERVER_RULES = """
table netdev sink {
    chain ingress { type filter hook ingress device net priority filter; policy drop; }
}
"""

FIREWALL_SYSCTLS = {
    "net/ipv4/ip_forward": 1,
    "net/ipv4/ip_early_demux": 0,
    # IPv6 is not used here; its neighbour discovery would disturb the counters.
    f"net/ipv6/conf/{SYNC_DEVICE}/disable_ipv6": 1,
    # The flows must last as long as a round.
    "net/netfilter/nf_conntrack_udp_timeout": 3600,
    "net/netfilter/nf_conntrack_udp_timeout_stream": 3600,
    # The kernel stores when each entry was created, for latency and throughput.
    "net/netfilter/nf_conntrack_timestamp": 1,
}

_libc = ctypes.CDLL(None, use_errno=True)


def open_inside(node: Node, path: Path | str):
    """Opens a file of /proc as a process in the node's network namespace sees it. Cheaper than
    a program in that namespace for each reading of a counter."""
    opened = []

    def enter() -> None:
        with open(NETNS_DIR / node.netns, "rb") as netns:
            if _libc.setns(netns.fileno(), CLONE_NEWNET) == 0:
                opened.append(open(path, "rb", buffering=0))

    # A separate thread enters the namespace, and then ends.
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if not opened:
        raise LabError(f"cannot read {path} in {node.name}")
    return opened[0]


class FlowCount:
    """The number of entries in the conntrack table of a node."""

    def __init__(self, node: Node):
        self._file = open_inside(node, SYSCTLS / "nf_conntrack_count")

    def __call__(self) -> int:
        return int(os.pread(self._file.fileno(), 32, 0))


def device_bytes(node: Node, device: str) -> int:
    """Bytes that a device has received and sent, link headers included."""
    with open_inside(node, "/proc/thread-self/net/dev") as table:
        for line in table.read().decode().splitlines():
            name, _, numbers = line.partition(":")
            if name.strip() == device:
                fields = numbers.split()
                return int(fields[0]) + int(fields[8])
    raise LabError(f"{node.name} has no device {device}")


class Limits:
    """Raises the limits that all namespaces share, and restores them afterwards.

    with Limits(flows=200_000):
        ...
    """

    def __init__(self, flows: int):
        # Every flow is in two tables, besides the machine's own flows.
        self._wanted = {"nf_conntrack_max": flows * 4, "nf_conntrack_buckets": flows * 2}
        self._before: dict[Path, str] = {}

    def __enter__(self) -> Limits:
        for name, least in self._wanted.items():
            file = SYSCTLS / name
            value = file.read_text()
            if int(value) < least:
                self._before[file] = value
                file.write_text(str(least))
        return self

    def __exit__(self, *_exception) -> None:
        for file, value in self._before.items():
            file.write_text(value)
        self._before.clear()


def build(lab: Lab, switch: Node | None = None) -> None:
    """Makes the nodes clients, mickey, minnie and servers as drawn above; with the switch in the place
    of the cable, if there is one."""
    clients, mickey, minnie, servers = map(lab.node, ("clients", *FIREWALLS, "servers"))
    lab.cable(clients, "net", mickey, "inside")
    lab.cable(mickey, "outside", servers, "net")
    if switch is None:
        lab.cable(mickey, SYNC_DEVICE, minnie, SYNC_DEVICE)
    else:
        for firewall in (mickey, minnie):
            lab.plug(firewall, SYNC_DEVICE, switch)

    # A static neighbour entry: the load must not wait for address resolution.
    mickey.ip(
        "addr add 10.64.0.1/10 dev inside",
        "addr add 198.19.255.1/30 dev outside",
        f"neigh add 198.19.255.2 lladdr {servers.mac('net')} dev outside",
        "route add 198.18.0.0/15 via 198.19.255.2",
    )
    servers.nft(SERVER_RULES)

    for firewall in (mickey, minnie):
        firewall.ip(
            f"link set {SYNC_DEVICE} gso_max_segs 1",
            f"addr add {SYNC[firewall.name]}/24 dev {SYNC_DEVICE}",
        )
        firewall.nft(FIREWALL_RULES)
        firewall.sysctl(FIREWALL_SYSCTLS)
