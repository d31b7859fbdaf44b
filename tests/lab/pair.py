# SPDX-License-Identifier: ISC
"""The firewall pair: two Linux firewalls that share an address on either side.

    client                                                                     server
    10.0.0.10                                                            203.0.113.10
        |                     .----------- mickey -----------.                     |
        |              inside |.2       (firewall)        .2 | outside             |
    ====+=====================+=====      | sync        =====+=====================+====
     inner switch             |           |                  |         outer switch
        VIP 10.0.0.1          |           | 192.168.1.100    |    VIP 203.0.113.1
                              |    =======+======+=======    |
                              |     sync switch  |   |       |
                              |     (a hub)      |   | 192.168.1.66
                              |    192.168.1.101 | mallory   |
                              |           | sync             |
                              |.3         |               .3 |
                              '----------- minnie -----------'
                        (a third firewall, donald: .4 and 192.168.1.102)

IPv6: 2001:db8:10::/64 inside, 2001:db8:203::/64 outside, the same last numbers.

keepalived (VRRP) moves both virtual addresses together. Packets from inside leave with the shared
outside address (nat=True, by snat; masquerade=True, by masquerade: then the firewalls' own
addresses outside are others, 192.0.2.2 and so on), or with their own (nat=False). Everything is
strict: only new connections from inside and packets of known states are forwarded, and conntrack
does not pick up TCP connections midway. So without their states on the other node, sessions break.
"""

from __future__ import annotations

import os
from pathlib import Path

import conntrack
from lab import Lab, Node, Process, wait_for

INSIDE = "10.0.0.0/24", "2001:db8:10::/64"
CLIENT = "10.0.0.10", "2001:db8:10::10"
SERVER = "203.0.113.10", "2001:db8:203::10"
VIP_INSIDE = "10.0.0.1", "2001:db8:10::1"
VIP_OUTSIDE = "203.0.113.1", "2001:db8:203::1"
SYNC = {
    "mickey": "192.168.1.100",
    "minnie": "192.168.1.101",
    "donald": "192.168.1.102",
    "mallory": "192.168.1.66",
}
SYNC_NET = "192.168.1.0/24"
HOST = {"mickey": 2, "minnie": 3, "donald": 4}
PRIORITY = {"mickey": 150, "minnie": 100, "donald": 50}

FIREWALL_RULES = """
table inet firewall {
    chain prerouting {
        type filter hook prerouting priority raw
        ip protocol vrrp notrack
    }
    chain output {
        type filter hook output priority raw
        ip protocol vrrp notrack
    }
    chain input {
        type filter hook input priority filter; policy drop
        iifname { "lo", "sync", "enc0" } accept
        ip protocol { vrrp, icmp } accept
        meta l4proto icmpv6 accept
        ct state established,related accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop
        ct state invalid counter drop
        ct state established,related accept
        iifname "inside" oifname "outside" ct state new accept
    }
}
"""
# fully-random: a firewall that had to choose the mapping again would choose another port, and the
# server would notice.
NAT_RULES = f"""
table inet nat {{
    chain postrouting {{
        type nat hook postrouting priority srcnat
        oifname "outside" ip saddr {INSIDE[0]} snat ip to {VIP_OUTSIDE[0]} fully-random
        oifname "outside" ip6 saddr {INSIDE[1]} snat ip6 to {VIP_OUTSIDE[1]} fully-random
    }}
}}
"""
MASQUERADE_RULES = f"""
table inet nat {{
    chain postrouting {{
        type nat hook postrouting priority srcnat
        oifname "outside" ip saddr {INSIDE[0]} masquerade fully-random
        oifname "outside" ip6 saddr {INSIDE[1]} masquerade fully-random
    }}
}}
"""

# Advertisements every 0.3 s: a backup takes over after three missed ones, in about a second.
KEEPALIVED = """
global_defs {{
    router_id {node}
    script_user root
    vrrp_version 3
{fifo}}}
{script}
vrrp_sync_group firewall {{
    group {{
        inside
        outside
    }}
{notify}
}}
{instances}
"""
KEEPALIVED_INSTANCE = """
vrrp_instance {side} {{
    state BACKUP
    nopreempt
    interface {side}
    virtual_router_id {router}
    priority {priority}
    advert_int 0.3
    virtual_ipaddress {{
        {vip4}/24 dev {side}
    }}
    virtual_ipaddress_excluded {{
        {vip6}/64 dev {side}
    }}
}}
"""


def run_keepalived(node: Node, config: str) -> Process:
    file = node.dir / "keepalived.conf"
    file.write_text(config)
    process = node.start("keepalived", "--vrrp", "--dont-fork", "--log-console", "--log-detail",
                         "--use-file", file, "--pid", node.volatile / "keepalived.pid",
                         "--vrrp_pid", node.volatile / "keepalived-vrrp.pid")
    process.favour()  # a neighbour that is starved by other tests looks dead
    return process


class FirewallPair:
    """Builds the network above in a lab. Nothing runs in it yet: see start_keepalived().

    donald: with the third firewall (on all three switches; keepalived may run on it, too).
    """

    def __init__(self, lab: Lab, nat: bool = True, donald: bool = False,
                 masquerade: bool = False):
        self.lab, self.nat, self.masquerade = lab, nat, masquerade
        self.inner = lab.switch("inner")
        self.outer = lab.switch("outer")
        self.sync_switch = lab.switch("syncsw", hub=True)
        self.client, self.server, self.mallory = map(lab.node, ("client", "server", "mallory"))
        lab.plug(self.client, "eth0", self.inner, f"{CLIENT[0]}/24", f"{CLIENT[1]}/64")
        self.client.ip(f"route add default via {VIP_INSIDE[0]}",
                       f"route add default via {VIP_INSIDE[1]}")
        lab.plug(self.server, "eth0", self.outer, f"{SERVER[0]}/24", f"{SERVER[1]}/64")
        if not nat:
            self.server.ip(f"route add {INSIDE[0]} via {VIP_OUTSIDE[0]}",
                           f"route add {INSIDE[1]} via {VIP_OUTSIDE[1]}")
        lab.plug(self.mallory, "eth0", self.sync_switch, f"{SYNC['mallory']}/24")
        self.firewalls = [self._firewall(name)
                          for name in ("mickey", "minnie") + (("donald",) if donald else ())]
        self.mickey, self.minnie = self.firewalls[:2]
        self.keepalived: dict[str, Process] = {}

    def _firewall(self, name: str) -> Node:
        node, host = self.lab.node(name), HOST[name]
        self.lab.plug(node, "sync", self.sync_switch, f"{SYNC[name]}/24")
        self.lab.plug(node, "inside", self.inner, f"10.0.0.{host}/24", f"2001:db8:10::{host}/64")
        # masquerade uses the address in the server's network: only the shared one may be there.
        nets = ("192.0.2.", "2001:db8:99::") if self.masquerade else ("203.0.113.",
                                                                      "2001:db8:203::")
        self.lab.plug(node, "outside", self.outer, f"{nets[0]}{host}/24", f"{nets[1]}{host}/64")
        node.forward()
        nat = MASQUERADE_RULES if self.masquerade else NAT_RULES if self.nat else ""
        node.nft(FIREWALL_RULES + nat)
        node.sysctl({"net/netfilter/nf_conntrack_tcp_loose": 0})
        return node

    # -- keepalived --

    def start_keepalived(self, node: Node, ready: list | None = None,
                         follow: list | None = None, role: list | None = None) -> None:
        """ready: a command whose exit status says whether this node may be promoted.
        follow: a command that takes a FIFO as last argument, and reads each change from it.
        role: a command that takes "active" or "standby" as last argument, called at each change."""
        script = notify = fifo = ""
        if follow:
            fifo = (f"    vrrp_notify_fifo {node.volatile}/vrrp.fifo\n"
                    f'    vrrp_notify_fifo_script "{" ".join(map(str, follow))}"\n'
                    "    fifo_write_vrrp_states_on_reload\n")
        if ready:
            script = ("vrrp_script in_step {\n"
                      f'    script "{" ".join(map(str, ready))}"\n'
                      "    interval 1\n    timeout 3\n    rise 1\n    fall 2\n}")
            notify = "    track_script {\n        in_step\n    }\n"
        if role:
            command = " ".join(map(str, role))
            for event, word in (("master", "active"), ("backup", "standby"),
                                ("fault", "standby"), ("stop", "standby")):
                notify += f'    notify_{event} "{command} {word}"\n'
        instances = "".join(
            KEEPALIVED_INSTANCE.format(side=side, router=router, priority=PRIORITY[node.name],
                                       vip4=vips[0], vip6=vips[1])
            for side, router, vips in (("inside", 10, VIP_INSIDE), ("outside", 20, VIP_OUTSIDE)))
        self.keepalived[node.name] = run_keepalived(
            node, KEEPALIVED.format(node=node.name, script=script, notify=notify, fifo=fifo,
                                    instances=instances))

    def owner(self) -> Node | None:
        """The firewall that holds both virtual addresses; None if no node has, or two have, any."""
        held = {node.name: (VIP_INSIDE[0] in node.addresses("inside"),
                            VIP_OUTSIDE[0] in node.addresses("outside"))
                for node in self.firewalls if node.name not in self._off}
        whole = [name for name, sides in held.items() if all(sides)]
        some = [name for name, sides in held.items() if any(sides)]
        return self.lab.nodes[whole[0]] if len(whole) == 1 == len(some) else None

    def wait_owner(self, node: Node, timeout: float = 15) -> None:
        wait_for(lambda: self.owner() is node, timeout, f"{node.name} to hold both addresses")

    def wait_ends(self, gone: Node) -> None:
        """Until client and server send to the shared addresses, but not to that node's MAC address: what
        went there would be lost. For tests whose programs repeat nothing."""
        for end, side, address in ((self.client, "inside", VIP_INSIDE[0]),
                                   (self.server, "outside", VIP_OUTSIDE[0])):
            mac = gone.mac(side)
            wait_for(lambda: mac not in end.run("ip", "neigh", "show", address).stdout, 10,
                     f"{end.name} to forget {gone.name}'s MAC address")

    # -- failures --

    _off: frozenset[str] = frozenset()

    def power_off(self, node: Node) -> int:
        """A power failure: its processes and its kernel's flows are gone, nothing is said. Returns
        the number of processes."""
        killed = node.power_off("sync", "outside", "inside")
        conntrack.flush(node)
        self._off |= {node.name}
        return killed

    def power_on(self, node: Node) -> None:
        """Links up again, without the virtual addresses; no program runs."""
        for side, vips in (("inside", VIP_INSIDE), ("outside", VIP_OUTSIDE)):
            for vip in set(vips) & node.addresses(side):
                node.ip(f"addr del {vip}/{64 if ':' in vip else 24} dev {side}")
        node.ip(*(f"link set {name} up" for name in ("sync", "outside", "inside")))
        self._off -= {node.name}

    # -- the firewalls' flows --

    def flows(self, node: Node) -> set[conntrack.Flow]:
        """The clients' flows in the node's kernel, but not the firewalls' own (IGMP etc.)."""
        own = {f"{net}{HOST[each.name]}" for each in self.firewalls
               for net in ("10.0.0.", "2001:db8:10::")}
        return {flow for flow in conntrack.table(node)
                if flow.from_any(*INSIDE) and flow.orig.src not in own}


def repository() -> Path:
    return Path(__file__).resolve().parents[2]


def bin_dir() -> Path:
    """The folder of encsyncd and encsync: ENCSYNC_BIN_DIR, or build/bin of the repository."""
    return Path(os.environ.get("ENCSYNC_BIN_DIR", repository() / "build" / "bin"))
