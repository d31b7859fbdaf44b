# SPDX-License-Identifier: ISC
"""Keys with a passphrase, on a firewall that starts unattended; a firewall that is lost."""

from __future__ import annotations

import shutil

import pytest

import sync
from lab import LabError, wait_for
from pair import FirewallPair

pytestmark = [pytest.mark.daemon, pytest.mark.usefixtures("sanitized_command")]


def passphrase(place, text: str):
    place.write_text(text + "\n")
    place.chmod(0o600)
    return place


def test_a_sealed_store_needs_its_passphrase_at_the_start_only(fresh):
    pair = FirewallPair(fresh)
    mickey, minnie = sync.equip(pair)
    file = passphrase(pair.mickey.dir / "passphrase", "correct horse battery")
    mickey.command("keys", "seal", "--passphrase-file", file)
    assert "seed: " not in (mickey.key_dir / "identity").read_text()
    minnie.start()

    with pytest.raises(LabError, match="ended with status 1"):
        mickey.start()
    assert "the store is sealed, and no passphrase was given" in mickey.log()
    mickey.setup["keypassphrase"] = str(passphrase(pair.mickey.dir / "wrong", "battery horse"))
    mickey.write_config()
    with pytest.raises(LabError, match="ended with status 1"):
        mickey.start()
    assert "seal: the passphrase is wrong" in mickey.log()

    mickey.setup["keypassphrase"] = str(file)
    mickey.write_config()
    mickey.start()
    sync.wait_in_step(mickey, minnie)
    # It has the store key: neither a reload nor a new passphrase needs anything of it.
    new = passphrase(pair.mickey.dir / "new", "another passphrase")
    mickey.command("keys", "seal", "--change", "--new-passphrase-file", new)
    file.unlink()
    mickey.command("reload")
    sync.wait_in_step(mickey, minnie)

    def prints() -> list[str]:
        shown = mickey.json("keys", "show", "--passphrase-file", str(new))
        return [identity["fingerprint"] for identity in shown["identities"]]

    # The identity is rotated, in which encsyncd's own process writes to the store: it, too, has the
    # store key.
    (old,) = prints()
    mickey.command("keys", "rotate", "--what", "identity", "--passphrase-file", new)
    wait_for(lambda: len(prints()) == 1 and old not in prints(), 30, "the old key to be retired")
    assert "seed: " not in (mickey.key_dir / "identity").read_text()
    sync.wait_in_step(mickey, minnie)
    mickey.stop()

    # By the credential, which systemd puts into a directory of the service.
    credentials = pair.mickey.dir / "credentials"
    credentials.mkdir(mode=0o700)
    new.rename(credentials / "encsync.passphrase")
    (credentials / "encsync.passphrase").chmod(0o400)
    del mickey.setup["keypassphrase"]
    mickey.write_config()
    mickey.prefix = ("env", f"CREDENTIALS_DIRECTORY={credentials}")
    mickey.start()
    sync.wait_in_step(mickey, minnie)


def test_a_lost_machine_comes_back_with_its_keys(fresh):
    """The recipe of docs/keys.md, "A machine is lost"."""
    pair = FirewallPair(fresh)
    mickey, minnie = sync.equip(pair)
    for instance in (mickey, minnie):
        instance.start()
    sync.wait_settled(mickey, minnie)
    wait_for(lambda: minnie.peer("mickey")["ppk"]["required"], 10, "minnie to require hers")
    before = mickey.json("keys", "show")
    backup = pair.mickey.dir / "mickey.backup"
    phrase = passphrase(pair.mickey.dir / "backup.passphrase", "the backup's passphrase")
    mickey.command("keys", "backup", "--backup-passphrase-file", phrase, backup)
    mickey.kill()
    shutil.rmtree(mickey.key_dir)

    file = passphrase(pair.mickey.dir / "passphrase", "correct horse battery")
    mickey.setup["keypassphrase"] = str(file)
    mickey.write_config()
    mickey.command("keys", "restore", "--seal", "--backup-passphrase-file", phrase, backup)
    mickey.command("keys", "log", "--verify")
    after = mickey.json("keys", "show")
    assert after["secrets"] == "sealed"
    assert after["creatorid"] == before["creatorid"]
    assert ([i["fingerprint"] for i in after["identities"]]
            == [i["fingerprint"] for i in before["identities"]])
    mickey.command("check", "--live")
    mickey.start()
    wait_for(lambda: "one is required here" in minnie.peer("mickey")["last_error"], 20,
             "minnie to miss the preshared key, which is in no backup")
    minnie.command("keys", "ppk", "forget", "mickey")
    sync.wait_in_step(mickey, minnie)  # minnie was told nothing else
