# SPDX-License-Identifier: ISC
"""conntrackd on the pair, without encryption, as the control: it shows that the lab can be passed,
and its recording shows what an untrusted switch sees of an unencrypted sync."""

from __future__ import annotations

from lab import wait_for
from pair import SYNC, FirewallPair

CONFIG = """
Sync {{
    Mode FTFW {{
        DisableExternalCache On
    }}
    UDP {{
        IPv4_address {own}
        IPv4_Destination_Address {other}
        Port 3780
        Interface sync
        Checksum on
    }}
    Options {{
        TCPWindowTracking Off
    }}
}}
General {{
    HashSize 32768
    HashLimit 131072
    Syslog off
    LogFile off
    LockFile {dir}/conntrackd.lock
    UNIX {{
        Path {dir}/conntrackd.ctl
    }}
    NetlinkBufferSize 2097152
    NetlinkBufferSizeMaxGrowth 8388608
    Filter From Userspace {{
        Protocol Accept {{
            TCP
            UDP
        }}
        Address Ignore {{
            IPv4_address 127.0.0.1
        }}
    }}
}}
"""


def start(pair: FirewallPair) -> None:
    for node, other in (pair.firewalls[:2], pair.firewalls[1::-1]):
        config = node.dir / "conntrackd.conf"
        config.write_text(CONFIG.format(own=SYNC[node.name], other=SYNC[other.name], dir=node.dir))
        # It does not set the liberal flags on its entries; encsync does so itself.
        node.sysctl({"net/netfilter/nf_conntrack_tcp_be_liberal": 1})
        process = node.start("conntrackd", "-C", config)
        wait_for(lambda: "starting in console mode" in process.output() + process.errors(), 10,
                 f"conntrackd on {node.name}")
