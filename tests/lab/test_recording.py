# SPDX-License-Identifier: ISC
"""Somebody records the tunnel, and gets all that the nodes hold once its keys have been replaced: their
memory and their files. It does not open what he has recorded (docs/keys.md)."""

from __future__ import annotations

import json
import subprocess
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import conntrack
import sync
from lab import wait_for
from mallory import Mallory
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
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Search:
    """Of all that a node holds, for what opens a recording, and for pieces of known secrets."""

    def __init__(self, recording: Path, instance: sync.Encsync, known: dict[str, str]):
        file = recording.with_name(f"known.{instance.name}")  # not where is searched
        file.write_text("".join(f"{name} {secret}\n" for name, secret in known.items()))
        said = open_recording("--known", file, recording, *instance.daemon.tree(),
                              instance.node.dir)
        self.streams: dict[str, dict[str, int]] = said["streams"]
        self.openings: list[dict] = said["openings"]
        self.pieces: list[dict] = said["pieces"]

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
        return {f"{o['kind']} of {o['stream']}": o["secret"] for o in self.openings}

    def places(self, secret: str) -> list[str]:
        return [p["where"] for p in self.pieces if p["secret"] == secret]


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


def started(fresh) -> tuple[Path, list]:
    pair = FirewallPair(fresh)
    recording = Mallory(pair).pcap  # from before the first packet of IKE
    both = mickey, minnie = sync.equip(pair, conn={"ppk": "required"})
    carry(mickey, minnie)
    for file in mickey.node.dir.glob("*.ppk"):
        file.unlink()  # as docs/keys.md says
    for instance in both:
        instance.start()
    sync.wait_in_step(*both)
    wait_settled(mickey, minnie)
    for port in range(20):
        conntrack.insert(pair.mickey, "10.0.0.40", SERVER[0], 1000 + port, 443)
    return recording, list(both)


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
    recording, both = started(fresh)
    mickey, minnie = both
    first = ppk(mickey, "minnie")
    assert first == ppk(minnie, "mickey") and used(mickey, "minnie")

    # Control: while they are in use, the keys are found, and open everything.
    before = search_all(recording, both, {"PPK 1": first})
    for search, instance in zip(before, both):
        assert esp(instance) <= search.opened("key", "encsyncd")
        assert "IKE_AUTH" in search.kinds(search.opened("key", "charon"))
        assert search.opened("SK_d", "charon") & esp(instance)
        for where in ("encsyncd", "charon", str(instance.key_dir)):
            assert any(place.startswith(where) for place in search.places("PPK 1")), where
    old = before[0].streams.keys() | before[1].streams.keys()

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
        assert search.places("PPK 2")
        # and nothing opens anything else.
        assert {o["stream"] for o in search.openings} == search.opened()
        closed = search.streams.keys() - search.opened()
        assert old <= closed and {"ESP", "IKE_AUTH", "CREATE_CHILD_SA"} <= search.kinds(closed)
        assert {p["secret"] for p in search.pieces} == {"PPK 2"}
