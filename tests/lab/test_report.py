# SPDX-License-Identifier: ISC
"""encsync report: what a bug report needs is in its archive, and no secret is."""

from __future__ import annotations

import base64
import json
import re
import tarfile

import pytest

import sync
from pair import FirewallPair

pytestmark = pytest.mark.daemon

OWN = {"check.txt", "contents.txt", "doctor.txt", "encsync.conf", "keys-log.txt", "keys.json",
       "metrics.txt", "peers.json", "policy-verify.txt", "policy.txt", "sas.json", "status.json",
       "version.txt"}


def contents(archive) -> dict[str, bytes]:
    """By their names in the one folder that is in it."""
    with tarfile.open(archive) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
    assert len({name.split("/")[0] for name in files}) == 1
    return {name.split("/", 1)[1]: text for name, text in files.items()}


def secrets(instance) -> set[bytes]:
    """What must be nowhere else: as the store has them, and raw."""
    found = set()
    for file in instance.key_dir.iterdir():
        if file.name == "identity" or file.name == "node.secret" or file.name.startswith("ppk."):
            for line in file.read_text().splitlines():
                if line.startswith(("seed: ", "secret: ", "ppk: ")):
                    found.update(re.findall(r"[A-Za-z0-9+/]{43}=", line))
    assert len(found) == 3
    return {each.encode() for each in found} | {base64.b64decode(each) for each in found}


@pytest.fixture
def nodes(fresh):
    both = list(sync.equip(FirewallPair(fresh)))
    for instance in both:
        instance.start()
    sync.wait_settled(*both)
    return both


def test_all_is_there_but_secrets(nodes, tmp_path):
    mickey, minnie = nodes
    file = tmp_path / "report.tar.gz"
    assert str(file) in mickey.command("report", file).stdout
    assert file.stat().st_mode & 0o777 == 0o600
    there = contents(file)
    assert OWN <= set(there)
    for name in ("status.json", "peers.json", "sas.json", "keys.json"):
        json.loads(there[name])
    assert json.loads(there["status.json"])["node"] == "mickey"
    assert there["encsync.conf"] == mickey.config.read_bytes()
    assert b"peer minnie" in there["doctor.txt"]
    assert b"table inet encsync" in there["rules.txt"]
    assert b"192.168.1.100" in there["addresses.txt"]
    listed = there["contents.txt"].decode().splitlines()
    assert {line.split(":")[0] for line in listed} | {"contents.txt"} == set(there)
    for line in listed:
        assert not line.startswith(tuple(OWN)) or line.endswith((": status 0", ": copied")), line
    for secret in secrets(mickey):
        assert not any(secret in text for text in there.values())
    # Control: it would be found.
    assert any(secret in (mickey.key_dir / "identity").read_bytes() for secret in secrets(mickey))
    # What is there already is not replaced.
    before = file.read_bytes()
    again = mickey.command("report", file, check=False)
    assert again.returncode == 1 and "File exists" in again.stderr
    assert file.read_bytes() == before
    assert minnie.json("report", str(tmp_path / "other.tar.gz")) == {
        "file": str(tmp_path / "other.tar.gz")}


def test_also_where_nothing_runs(nodes, tmp_path):
    mickey, _ = nodes
    mickey.stop()
    mickey.config.write_text(mickey.config.read_text().replace("left=", "lfet="))
    mickey.command("report", tmp_path / "report.tar.gz")
    there = contents(tmp_path / "report.tar.gz")
    assert b"encsyncd is not running" in there["status.json"]
    assert b"did you mean 'left'" in there["check.txt"]
    assert re.search(rb"^status.json: encsync .*: status 1$", there["contents.txt"], re.M)


def test_a_folder_that_nobody_can_write_to(nodes, tmp_path):
    mickey, _ = nodes
    refused = mickey.command("report", tmp_path / "missing/report.tar.gz", check=False)
    assert refused.returncode == 1 and "missing/report.tar.gz: No such file" in refused.stderr
