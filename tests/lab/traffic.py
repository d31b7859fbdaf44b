# SPDX-License-Identifier: ISC
"""Clients and a server whose sessions go through the firewalls.

Programs (run inside a node; each prints JSON lines, and reads commands as lines on stdin):
    traffic.py server BASE SIZE RATE       serves a file of SIZE bytes at RATE bytes a second
    traffic.py download ADDRESS BASE
    traffic.py idle ADDRESS BASE COUNT     TCP sessions
    traffic.py udp ADDRESS BASE
    traffic.py flows ADDRESS BASE COUNT RATE     short UDP flows, one answer each, RATE per second

The driver, for demo and tests:
    sessions = Sessions(pair, family=4)
    sessions.start()                     returns when all of them run
    sessions.hush()                      UDP: from now on only the server sends requests
    ... the takeover ...
    outcome = sessions.finish(timeout)   did they survive?
"""

from __future__ import annotations

import hashlib
import http.client
import http.server
import json
import select
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from lab import PYTHON, Node, Process, wait_for

# Ports are relative to a base, so that servers for IPv4 and IPv6 sessions run side by side.
BASE = {4: 7000, 6: 7100}
HTTP, ECHO, UDP = 0, 1, 2
INTERVAL = 0.1  # seconds between two UDP requests


# ---- the programs ----------------------------------------------------------------------------


def say(**event) -> None:
    print(json.dumps(event), flush=True)


def content(size: int):
    """The file, in pieces: all different, so that the hash shows a lost or doubled one."""
    for number in range(0, size, 65536):
        block = hashlib.sha256(number.to_bytes(8, "big")).digest() * 2048
        yield block[: min(65536, size - number)]


def content_hash(size: int) -> str:
    total = hashlib.sha256()
    for piece in content(size):
        total.update(piece)
    return total.hexdigest()


class FileHandler(http.server.BaseHTTPRequestHandler):
    size = rate = 0

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(self.size))
        self.end_headers()
        due = time.monotonic()
        for piece in content(self.size):
            self.wfile.write(piece)
            # Late after an outage: continue at the rate, without catching up.
            due = max(due + len(piece) / self.rate, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))

    def log_message(self, *_args) -> None:
        pass


class DualStackHttp(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def dual_stack(kind: int, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", port))
    return sock


def plain(address: str) -> str:
    return address.removeprefix("::ffff:")


def echo_server(port: int) -> None:
    listener = dual_stack(socket.SOCK_STREAM, port)
    listener.listen(1024)
    sockets = [listener]
    while True:
        for ready in select.select(sockets, [], [])[0]:
            if ready is listener:
                sockets.append(listener.accept()[0])
                continue
            try:
                data = ready.recv(4096)
                ready.sendall(data)
            except OSError:
                data = b""
            if not data:
                sockets.remove(ready)
                ready.close()


def udp_server(port: int, asking: threading.Event) -> None:
    """Answers "ask N" with "answer N". On command, sends a request to the first client's first
    source address: it passes only a firewall that has the flow."""
    sock = dual_stack(socket.SOCK_DGRAM, port)
    peer, asked, answered, next_ask = None, 0, 0, time.monotonic()
    while True:
        wait = max(0.0, next_ask - time.monotonic())
        if select.select([sock], [], [], wait)[0]:
            data, sender = sock.recvfrom(2048)
            word = data.split()[0] if data else b""
            if word == b"flow":  # one of many, from the program "flows"
                sock.sendto(data, sender)
            elif word == b"ask":
                if peer is None:
                    peer = sender
                    say(event="udp-peer", address=plain(sender[0]), port=sender[1])
                elif sender != peer:
                    say(event="udp-moved", address=plain(sender[0]), port=sender[1])
                sock.sendto(b"answer " + data[4:], sender)
            elif word == b"answer" and sender == peer:
                answered += 1
                say(event="udp-answered", asked=asked, answered=answered)
            elif word == b"answer":
                say(event="udp-moved", address=plain(sender[0]), port=sender[1])
        if time.monotonic() >= next_ask:
            next_ask = time.monotonic() + INTERVAL
            if asking.is_set() and peer is not None:
                asked += 1
                sock.sendto(b"ask %d" % asked, peer)


def server(base: int, size: int, rate: int) -> None:
    FileHandler.size, FileHandler.rate = size, rate
    files = DualStackHttp(("::", base + HTTP), FileHandler)
    asking = threading.Event()
    for target, args in ((files.serve_forever, ()), (echo_server, (base + ECHO,)),
                         (udp_server, (base + UDP, asking))):
        threading.Thread(target=target, args=args, daemon=True).start()
    say(event="ready")
    for line in sys.stdin:
        if line.strip() == "ask":
            asking.set()
        elif line.strip() == "rest":
            asking.clear()
        elif line.strip() == "hurry":
            FileHandler.rate = 10 * rate
    threading.Event().wait()  # in a lab that is kept the server stays


def download(address: str, base: int) -> None:
    connection = http.client.HTTPConnection(address, base + HTTP)
    connection.request("GET", "/file")
    response = connection.getresponse()
    size, got, total = int(response.headers["Content-Length"]), 0, hashlib.sha256()
    last = reported = time.monotonic()
    longest = 0.0
    say(event="start", size=size)
    while got < size:
        data = response.read1(65536)
        now = time.monotonic()
        if not data:
            break
        longest, last = max(longest, now - last), now
        got += len(data)
        total.update(data)
        if now - reported > 0.1:
            reported = now
            say(event="progress", got=got, size=size, longest_stall_ms=round(longest * 1000))
    say(event="end", got=got, size=size, sha256=total.hexdigest(),
        longest_stall_ms=round(longest * 1000))


def idle(address: str, base: int, count: int) -> None:
    """Opens sessions, tests each once, and then is silent until a command."""
    sockets = [socket.create_connection((address, base + ECHO), 10) for _ in range(count)]

    def try_all(word: str) -> int:
        waiting = {}
        for number, sock in enumerate(sockets):
            text = f"{word} {number}".encode()
            try:
                sock.sendall(text)
                waiting[sock] = text
            except OSError:
                pass  # this one is broken, and not counted
        good, deadline = 0, time.monotonic() + 30
        while waiting and time.monotonic() < deadline:
            for sock in select.select(list(waiting), [], [], 0.1)[0]:
                try:
                    good += sock.recv(4096) == waiting[sock]
                except OSError:
                    pass
                del waiting[sock]
            say(event="answers", word=word, good=good, of=count)
        return good

    say(event="open", good=try_all("hello"), of=count)
    for line in sys.stdin:
        if line.strip() == "speak":
            say(event="used_dialect", good=try_all("again"), of=count)


def udp(address: str, base: int) -> None:
    """Sends requests until "hush", answers those it receives, sends again on "ask"."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind(("", 0))
    target = (address, base + UDP)
    asked = answered = 0
    asking, next_ask = True, time.monotonic()
    while True:
        ready = select.select([sock, sys.stdin], [], [], max(0.0, next_ask - time.monotonic()))[0]
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                return
            asking = line.strip() == "ask"
            asked = answered = 0
            say(event="asking" if asking else "hushed")
        if sock in ready:
            try:
                data = sock.recv(2048)
            except OSError:
                continue  # an ICMP error; the exchange continues
            if data.startswith(b"ask "):
                sock.sendto(b"answer " + data[4:], target)
            elif data.startswith(b"answer "):
                answered += 1
                say(event="answered", asked=asked, answered=answered)
        if time.monotonic() >= next_ask:
            next_ask = time.monotonic() + INTERVAL
            if asking:
                asked += 1
                sock.sendto(b"ask %d" % asked, target)


def flows(address: str, base: int, count: int, rate: int) -> None:
    """Each from another port, so that each is a flow."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    waiting: dict[socket.socket, float] = {}
    made = answered = 0
    due = time.monotonic()
    while made < count or waiting:
        now = time.monotonic()
        if made < count and now >= due:
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.bind(("", 10000 + made % 20000))
            sock.connect((address, base + UDP))
            sock.send(b"flow %d" % made)
            waiting[sock] = now + 20
            made += 1
            due = max(due + 1 / rate, now - 0.1)
            if made % 50:
                continue
        for sock in select.select(list(waiting), [], [], 0.01)[0]:
            try:
                answered += sock.recv(2048).startswith(b"flow ")
            except OSError:
                pass
            del waiting[sock]
            sock.close()
        for sock in [each for each, until in waiting.items() if now > until]:
            del waiting[sock]
            sock.close()
    say(event="flows", answered=answered, of=count)


# ---- the driver ------------------------------------------------------------------------------


class Program:
    """One of the programs above, running in a node."""

    def __init__(self, node: Node, *args: str | int):
        self.process: Process = node.start(PYTHON, Path(__file__).resolve(), *args,
                                           name=f"traffic-{args[0]}", stdin=True)

    def events(self, event: str | None = None) -> list[dict]:
        found = []
        for line in self.process.output().splitlines(keepends=True):
            if line.endswith("\n"):  # the last one may be incomplete
                found.append(json.loads(line))
        return [e for e in found if event is None or e["event"] == event]

    def last(self, event: str) -> dict | None:
        found = self.events(event)
        return found[-1] if found else None

    def count(self, event: str, since: str) -> int:
        """How many of one event came after the last of another; 0 if that never came."""
        names = [e["event"] for e in self.events()]
        if since not in names:
            return 0
        return names[len(names) - 1 - names[::-1].index(since) :].count(event)

    def say(self, line: str) -> None:
        self.process.say(line)

    def wait(self, event: str, timeout: float = 10) -> dict:
        return wait_for(lambda: self.last(event), timeout,
                        f"{self.process.name} to say {event!r}")


@dataclass
class Outcome:
    """The results of the sessions. ok: none was affected."""

    download_ok: bool = False
    idle_session_ok: bool = False
    udp_ok: bool = False
    longest_stall_ms: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.download_ok and self.idle_session_ok and self.udp_ok


class Sessions:
    """A download, idle TCP sessions and a UDP exchange from the pair's client to its server."""

    def __init__(self, pair, family: int = 4, size: int = 24_000_000, rate: int = 4_000_000,
                 idle_sessions: int = 10):
        from pair import SERVER  # not needed by the programs above

        self.pair, self.size, self.rate, self.idle_sessions = pair, size, rate, idle_sessions
        self.address, self.base = SERVER[0 if family == 4 else 1], BASE[family]
        self.hash = content_hash(size)
        self.server = Program(pair.server, "server", self.base, size, rate)
        self.server.wait("ready")

    def start(self) -> None:
        client = self.pair.client
        self.idle = Program(client, "idle", self.address, self.base, self.idle_sessions)
        self.udp = Program(client, "udp", self.address, self.base)
        opened = self.idle.wait("open")
        if opened["good"] != self.idle_sessions:
            raise AssertionError(f"the idle sessions did not even open: {opened}")
        wait_for(lambda: (self.udp.last("answered") or {}).get("answered", 0) >= 3, 5,
                 "the UDP exchange to run")
        self.download = Program(client, "download", self.address, self.base)
        wait_for(lambda: self.got() > 0, 5, "the download to run")

    def got(self) -> int:
        event = self.download.last("end") or self.download.last("progress") or {}
        return event.get("got", 0)

    def stall_ms(self) -> int:
        event = self.download.last("end") or self.download.last("progress") or {}
        return event.get("longest_stall_ms", 0)

    def hush(self) -> None:
        """The next UDP packet will come from outside: it passes only where the flow is known."""
        self.udp.say("hush")
        self.udp.wait("hushed")

    def hurry(self) -> None:
        """The rest of the download is sent ten times as fast."""
        self.server.say("hurry")

    def finish(self, timeout: float = 20, on_tick=lambda: None, broken: int = 0) -> Outcome:
        """After the takeover. timeout: how long to wait for a session. broken: idle sessions that
        cannot answer, and are not waited for."""
        outcome = Outcome()
        started = time.monotonic()

        def waited(predicate, seconds=timeout) -> bool:
            while not predicate():
                if time.monotonic() - started > seconds:
                    return False
                on_tick()
                time.sleep(0.05)
            return True

        # All three are triggered at once; each is then given its time.
        self.idle.say("speak")
        self.server.say("ask")
        server_hears = waited(lambda: (self.server.last("udp-answered") or {})
                              .get("answered", 0) >= 5)
        self.server.say("rest")
        self.udp.say("ask")
        client_hears = waited(lambda: self.udp.count("answered", since="asking") >= 5,
                              timeout + 3)
        moved = self.server.events("udp-moved")
        outcome.udp_ok = server_hears and client_hears and not moved
        if not server_hears:
            outcome.notes.append("UDP: the server's questions no longer reach the client")
        if not client_hears:
            outcome.notes.append("UDP: the client's questions get no answer")
        if moved:
            first = self.server.last("udp-peer") or {}
            outcome.notes.append(f"UDP: the client moved from port {first.get('port')} "
                                 f"to {moved[0]['port']}: a new flow, not the old one")

        def answers() -> int:
            event = self.idle.last("answers") or {}
            return event["good"] if event.get("word") == "again" else 0

        waited(lambda: answers() >= self.idle_sessions - broken)
        outcome.idle_session_ok = answers() == self.idle_sessions
        if not outcome.idle_session_ok:
            outcome.notes.append(f"TCP: {answers()} of {self.idle_sessions} idle sessions answer")
        # A download that progresses may take as long as its rate requires; a stalled one may not.
        progress = [self.got(), time.monotonic()]

        def ended_or_stuck() -> bool:
            if self.got() != progress[0]:
                progress[:] = self.got(), time.monotonic()
            return bool(self.download.last("end")) or time.monotonic() - progress[1] > timeout / 2

        waited(ended_or_stuck, timeout + 2 * self.size / self.rate)
        end = self.download.last("end") or {}
        outcome.download_ok = end.get("got") == self.size and end.get("sha256") == self.hash
        stuck = (time.monotonic() - progress[1]) * 1000 if not end else 0
        outcome.longest_stall_ms = max(self.stall_ms(), round(stuck))
        if not end:
            outcome.notes.append(f"download: stuck at {self.got()} of {self.size} bytes")
        elif not outcome.download_ok:
            outcome.notes.append(f"download: {end['got']} of {self.size} bytes, or other bytes")
        return outcome

    def lasting(self, flows: set) -> set[tuple]:
        """The keys of those of these conntrack flows that live as long as the sessions."""
        return {f.key for f in flows if f.proto == "tcp" and f.orig.dport == self.base + ECHO}

    def make_flows(self, count: int, rate: int = 2000) -> int:
        """Real short UDP flows through the firewalls. Returns how many were answered."""
        return self.start_flows(count, rate).wait("flows", 60 + count / rate)["answered"]

    def start_flows(self, count: int, rate: int) -> Program:
        return Program(self.pair.client, "flows", self.address, self.base, count, rate)

    def stop(self) -> None:
        for program in (self.idle, self.udp, self.download, self.server):
            program.process.kill()


def main() -> None:
    programs = {"server": server, "download": download, "idle": idle, "udp": udp, "flows": flows}
    if len(sys.argv) < 2 or sys.argv[1] not in programs:
        sys.exit(f"usage: traffic.py {{{'|'.join(programs)}}} ...")
    words = [int(word) if word.isdigit() else word for word in sys.argv[2:]]
    programs[sys.argv[1]](*words)


if __name__ == "__main__":
    main()
