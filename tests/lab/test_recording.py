# SPDX-License-Identifier: ISC
"""Somebody records the tunnel, and gets all that the nodes hold once its keys have been replaced: their
memory and their files. It does not open what he has recorded (docs/keys.md)."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import conntrack
import sync
from lab import wait_for
from mallory import Mallory, frames
from pair import SERVER, FirewallPair, bin_dir
from test_ppk import carry, ppks, used, wait_settled

pytestmark = pytest.mark.daemon


@pytest.fixture
def released(monkeypatch):
    """The programs as they are installed. A sanitizer keeps what was freed, and maps more memory than
    anybody can read."""
    monkeypatch.setattr(sync, "bin_dir", lambda: sync.Encsync.commands)


def open_recording(*args) -> dict:
    done = subprocess.run([bin_dir() / "open_recording", *map(str, args)],
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def write_known(recording: Path, name: str, known: dict[str, str]) -> Path:
    file = recording.with_name(f"known.{name}")  # not where is searched
    file.write_text("".join(f"{each} {secret}\n" for each, secret in known.items()))
    return file


def opened_by(recording: Path, file: Path, known: dict[str, str] = {}) -> set[str]:
    """The streams that a private key in a file opens."""
    said = open_recording("--known", write_known(recording, "file", known), recording, file)
    return {o["stream"] for o in said["openings"] if o["kind"] == "private key"}


class Search:
    """Of all that a node holds, for what opens a recording, and for pieces of known secrets."""

    def __init__(self, recording: Path, instance: sync.Encsync, known: dict[str, str]):
        said = open_recording("--known", write_known(recording, instance.name, known), recording,
                              *instance.daemon.tree(), instance.node.dir)
        self.streams: dict[str, dict[str, int]] = said["streams"]
        self.openings: list[dict] = said["openings"]
        self.pieces: dict[str, list[str]] = {}  # of which secret, where
        for piece in said["pieces"]:
            self.pieces.setdefault(piece["secret"], []).append(piece["where"])

    def opened(self, kind: str = "key", where: str = "") -> set[str]:
        """The streams that something of this kind opens, all their packets."""
        return {o["stream"] for o in self.openings
                if o["kind"] == kind and o["where"].startswith(where)
                and o["opened"] == sum(self.streams[o["stream"]].values())}

    def kinds(self, streams: set[str]) -> set[str]:
        """Of packets in these streams."""
        return {kind for name in streams for kind in self.streams[name]}

    def secrets(self) -> dict[str, str]:
        """All that opens something, in hex, by what it is."""
        names = {o["secret"]: f"{o['kind']} of {o['stream']}" for o in self.openings}
        return {name: secret for secret, name in names.items()}


def search_all(recording: Path, instances: list, known: dict[str, str]) -> list[Search]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda each: Search(recording, each, known), instances))


def ppk(instance, peer: str) -> str:
    """The preshared key that it holds, in hex."""
    lines = (instance.key_dir / f"ppk.{peer}").read_text().splitlines()
    [secret] = [line.split()[-1] for line in lines if line.startswith("ppk: ")]
    return b64decode(secret).hex()


def ike(streams) -> set[str]:
    return {name for name in streams if name.startswith("IKE")}


def esp(instance) -> set[str]:
    """Its SAs, as streams of the recording."""
    return {f"ESP {spi}" for _, _, spi in instance.spis()}


def snapshot(pid: int) -> bytes:
    """The memory of a process that it may write to, but for what is zero."""
    page, kept = 4096, []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            place, mode = line.split()[:2]
            begin, end = (int(address, 16) for address in place.split("-"))
            if not mode.startswith("rw"):
                continue
            try:
                memory.seek(begin)
                pages = memory.read(end - begin)
            except OSError:  # unmapped meanwhile
                continue
            kept += [pages[at : at + page] for at in range(0, len(pages), page)
                     if pages[at : at + page] != bytes(page)]
    return b"".join(kept)


def started(fresh) -> tuple[Path, Path, list]:
    """The recording, from before the first packet of IKE; the memory of mickey's charon while it waits
    for the answer to that packet; and the nodes, in step."""
    pair = FirewallPair(fresh)
    recording = Mallory(pair).pcap
    # So that mickey's charon waits, and nobody takes minnie's for hung.
    both = mickey, minnie = sync.equip(pair, conn={"ppk": "required", "dpdtimeout": "30s"})
    minnie.each["mickey"] = {"auto": "add"}
    minnie.write_config()
    carry(mickey, minnie)
    for file in mickey.node.dir.glob("*.ppk"):
        file.unlink()  # as docs/keys.md says
    minnie.start()
    wait_for(lambda: " is up, pid" in minnie.log(), 20, "minnie's charon")
    [silent] = minnie.charons()
    os.kill(silent, signal.SIGSTOP)
    mickey.start()
    wait_for(lambda: any(frame[34:38] == struct.pack("!HH", 500, 500)
                         for frame in frames(recording.read_bytes())), 20, "IKE_SA_INIT")
    early = recording.with_name("charon.early")
    early.write_bytes(snapshot(mickey.charons()[0]))
    os.kill(silent, signal.SIGCONT)
    sync.wait_in_step(*both)
    wait_settled(mickey, minnie)
    for port in range(20):
        conntrack.insert(pair.mickey, "10.0.0.40", SERVER[0], 1000 + port, 443)
    return recording, early, list(both)


def rotate(recording: Path, mickey, minnie) -> None:
    """All that the tunnel is encrypted with, until what is in use is recorded, and the older SAs are
    gone on both."""
    mickey.command("keys", "rotate", "--what", "ppk")
    wait_for(lambda: [p["epoch"] for p in ppks(mickey, "minnie")] == [2], 30, "the next one", 0.3)
    wait_settled(mickey, minnie)
    before = open_recording(recording)["streams"].keys()
    mickey.command("keys", "rotate", "--what", "sa")

    def renewed() -> bool:
        fresh = open_recording(recording)["streams"].keys() - before
        return (len(esp(mickey)) == len(ike(fresh)) == 2
                and esp(mickey) == esp(minnie) <= fresh)

    wait_for(renewed, 60, "all SAs to be new ones", 0.3)


def test_what_is_held_later_does_not_open_what_was_recorded(fresh, released):
    recording, early, both = started(fresh)
    mickey, minnie = both
    first = ppk(mickey, "minnie")
    assert first == ppk(minnie, "mickey") and used(mickey, "minnie")

    # Control: while they are in use, the keys are found, and open everything.
    before = search_all(recording, both, {"PPK 1": first})
    for search, instance in zip(before, both):
        assert search.opened("key", "encsyncd") == esp(instance)
        assert search.opened("key", "charon") == ike(search.streams)
        assert search.opened("SK_d", "charon") == esp(instance)
        assert search.streams.keys() == esp(instance) | ike(search.streams)
        assert "IKE_AUTH" in search.kinds(ike(search.streams))
        for where in ("encsyncd", "charon", str(instance.key_dir)):
            assert any(place.startswith(where) for place in search.pieces["PPK 1"]), where
    old = before[0].streams.keys()
    secrets = before[0].secrets()
    assert Search(recording, mickey, secrets).pieces.keys() == secrets.keys()
    # With the private key of the negotiation, which is what a quantum computer finds, IKE is open, but
    # for ESP the preshared key is needed, too.
    assert opened_by(recording, early) == ike(old)
    assert opened_by(recording, early, {"PPK 1": first}) == old

    rotate(recording, mickey, minnie)
    second = ppk(mickey, "minnie")
    assert second == ppk(minnie, "mickey") != first
    known = {"PPK 1": first, "PPK 2": second}
    for search in before:
        known |= search.secrets()
    for search, instance in zip(search_all(recording, both, known), both):
        # What is in use now opens what is recorded now,
        assert search.opened("key", "encsyncd") == esp(instance)
        assert len(ike(search.opened("key", "charon"))) == 2
        # and nothing opens anything else.
        assert {o["stream"] for o in search.openings} == search.opened()
        closed = search.streams.keys() - search.opened()
        assert old <= closed and {"ESP", "IKE_AUTH", "CREATE_CHILD_SA"} <= search.kinds(closed)
        assert search.pieces.keys() == {"PPK 2"}
    # Nor does the later preshared key to somebody with a quantum computer.
    assert opened_by(recording, early, {"PPK 2": second}) == ike(old)
