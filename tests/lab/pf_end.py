# SPDX-License-Identifier: ISC
"""A pf firewall's end of a cable: IP packets as they are given to it, and what protocol 240 arrives.

    donald = PfEnd(node, "cable", "172.16.0.2")
    donald.send(packet)                 from the IP header on; times: as often as that
    donald.received()                   from, to, ttl, flags (of IPv4), payload (hexadecimal)
"""

from __future__ import annotations

import json

from lab import PYTHON, Node

GROUP = "224.0.0.240"
PROGRAM = """
import json, socket, struct, sys, threading
device, group, own = sys.argv[1:4]
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 240)
raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
raw.setsockopt(socket.SOL_IP, socket.IP_ADD_MEMBERSHIP,
               struct.pack("4s4si", socket.inet_aton(group), bytes(4), socket.if_nametoindex(device)))
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
out.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
out.setsockopt(socket.SOL_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
out.setsockopt(socket.SOL_IP, socket.IP_MULTICAST_LOOP, 0)
def receive():
    while True:
        packet = raw.recv(65536)
        print(json.dumps({"from": socket.inet_ntoa(packet[12:16]), "ttl": packet[8],
                          "to": socket.inet_ntoa(packet[16:20]), "flags": packet[6],
                          "payload": packet[20:].hex()}), flush=True)
threading.Thread(target=receive, daemon=True).start()
for line in sys.stdin:
    times, packet = line.split()
    packet = bytes.fromhex(packet)
    for _ in range(int(times)):
        out.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
"""


class PfEnd:
    def __init__(self, node: Node, device: str, own: str):
        self.process = node.start(PYTHON, "-c", PROGRAM, device, GROUP, own, name="pf", stdin=True)

    def send(self, packet: bytes, times: int = 1) -> None:
        self.process.say(f"{times} {packet.hex()}")

    def received(self) -> list[dict]:
        lines, _, _unfinished = self.process.output().rpartition("\n")
        return [json.loads(line) for line in lines.splitlines()]
