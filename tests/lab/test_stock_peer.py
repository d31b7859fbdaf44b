# SPDX-License-Identifier: ISC
"""Any standard peer: a stock strongSwan, and pfsync to the letter. See stock.py.

    mickey (encsync, wire=openbsd) ------ switch ------ minnie (strongSwan, swanctl)
"""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

import pytest

import conntrack
import mallory
import sync
from lab import wait_for
from pair import SERVER
from stock import NEEDED, Stock, documented

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.skipif(not all(file.exists() for file in NEEDED),
                       reason="needs libcharon-extra-plugins and strongswan-swanctl"),
]

MICKEY, MINNIE = "192.168.1.100", "192.168.1.101"
CREATOR = 0x0A0B0C0D
CONN = {"wire": "openbsd"}
# Its userspace ESP has no 64-bit sequence numbers.
NO_ESN = {"esp": "aes256gcm16-curve25519-noesn"}


class Meeting:
    """Both, configured for one way to authenticate; who calls, and what is wrong, as asked."""

    def __init__(self, lab, initiator: str, kernel: bool = False):
        switch = lab.switch("syncsw")
        self.nodes = [lab.node(name) for name in ("mickey", "minnie")]
        for node, address in zip(self.nodes, (MICKEY, MINNIE)):
            lab.plug(node, "sync", switch, f"{address}/24")
        self.initiator = initiator
        self.dir = lab.dir
        start = "start" if initiator == "mickey" else "add"
        self.mickey = sync.Encsync(self.nodes[0], {"minnie": MINNIE}, left=MICKEY,
                                   conn=CONN if kernel else {**CONN, **NO_ESN},
                                   each={"minnie": {"auto": start}})
        self.mickey.init_keys()
        self.minnie = Stock(self.nodes[1], MINNIE, kernel)

    def set(self, **keywords: str) -> None:
        self.mickey.each["minnie"].update(keywords)
        self.mickey.write_config()

    # -- three ways to authenticate; `wrong` spoils minnie's part --

    def psk(self, wrong: bool = False) -> dict:
        key = secrets.token_hex(32)
        file = self.dir / "minnie.psk"
        file.write_text(key + "\n")
        file.chmod(0o600)
        self.set(authby="psk", secretfile=str(file))
        theirs = secrets.token_hex(32) if wrong else key
        section = documented("secrets").replace("the content of secretfile", theirs)
        return {"local": "auth = psk", "remote": "auth = psk",
                "secrets": "\n".join(section.splitlines()[1:-1])}

    def ed25519(self, wrong: bool = False) -> dict:
        """Raw public keys."""
        self._key("minnie")
        public = openssl("pkey", "-in", self._private("minnie"), "-pubout")
        (self.minnie.dir / "pubkey/minnie.pem").write_text(public)
        (self.minnie.dir / "pubkey/mickey.pem").write_text(
            self.mickey.command("keys", "export", "--pem").stdout)
        trusted = openssl("pkey", "-in", self._key("stranger"), "-pubout") if wrong else public
        file = self.dir / "minnie.pub"
        file.write_text(trusted)
        self.mickey.command("keys", "trust", "--name", "minnie", file)
        return {"local": "auth = pubkey\npubkeys = minnie.pem",
                "remote": "auth = pubkey\npubkeys = mickey.pem"}

    def x509(self, wrong: bool = False) -> dict:
        """A CA made here certifies both; mickey's own key, and another kind for minnie."""
        ca = self._ca("ca")
        own = self.dir / "mickey.pub.pem"
        own.write_text(self.mickey.command("keys", "export", "--pem").stdout)
        ours = self._certify(ca, "mickey", ["-force_pubkey", own])
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out",
                self._private("minnie"))
        theirs = self._certify(self._ca("other") if wrong else ca, "minnie", [])
        (self.minnie.dir / "x509/minnie.pem").write_text(theirs.read_text())
        (self.minnie.dir / "x509ca/ca.pem").write_text(ca.read_text())
        self.set(leftcert=str(ours), rightca=str(ca))
        return {"local": "auth = pubkey\ncerts = minnie.pem",
                "remote": "auth = pubkey\ncacerts = ca.pem"}

    def _private(self, name: str) -> Path:
        return self.minnie.dir / f"private/{name}.pem"

    def _key(self, name: str) -> Path:
        openssl("genpkey", "-algorithm", "ED25519", "-out", self._private(name))
        return self._private(name)

    def _ca(self, name: str) -> Path:
        key, cert = self.dir / f"{name}.key", self.dir / f"{name}.pem"
        openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", key, "-out", cert,
                "-subj", f"/O=test/CN={name}", "-days", "2", "-addext",
                "keyUsage=critical,keyCertSign")
        return cert

    def _certify(self, ca: Path, name: str, more: list) -> Path:
        """Of a key of any kind; the request's own key is replaced where there is another."""
        request, cert = self.dir / f"{name}.csr", self.dir / f"{name}.crt"
        extensions = self.dir / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:{name}\n")
        key = self._private(name)
        if more:
            key = self.dir / "throwaway.key"
            openssl("genpkey", "-algorithm", "ED25519", "-out", key)
        openssl("req", "-new", "-key", key, "-subj", f"/O=test/CN={name}", "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca.with_suffix(".key"),
                "-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", cert, *more)
        return cert

    # -- meeting --

    def begin(self, theirs: dict) -> None:
        self.minnie.configure("mickey", MICKEY, **theirs)
        self.mickey.start()
        if self.initiator == "minnie":
            self.minnie.initiate("mickey", check=False)

    def up(self, timeout: float = 20) -> None:
        wait_for(lambda: self.mickey.peer("minnie")["state"] == "up", timeout,
                 "the tunnel to be up")
        assert "mickey" in self.minnie.sas() and "ESTABLISHED" in self.minnie.sas()

    def last_error(self) -> str:
        return self.mickey.peer("minnie")["last_error"]


def openssl(*words) -> str:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def decoded(meeting: Meeting) -> str:
    """What minnie has received, in words."""
    text = "\n".join(packet["payload"] for packet in meeting.minnie.received())
    return meeting.nodes[0].run(*meeting.mickey.argv("decode", "--hex", "--json"),
                                input=text + "\n", check=False).stdout


@pytest.mark.parametrize("initiator", ["mickey", "minnie"])
@pytest.mark.parametrize("way", ["psk", "ed25519", "x509"])
def test_states_go_both_ways(fresh, way, initiator):
    meeting = Meeting(fresh, initiator)
    meeting.begin(getattr(meeting, way)())
    meeting.up()
    mickey, minnie = meeting.mickey, meeting.minnie
    minnie.talk(MICKEY)
    # Here: as from any pf, and into the kernel.
    minnie.send(mallory.pfsync(mallory.ACTION_INS, mallory.full_state(7, CREATOR)))
    wait_for(lambda: any(f.orig.src == "10.66.0.7" for f in conntrack.table(meeting.nodes[0])), 10,
             "minnie's state to be in mickey's kernel")
    assert "10.66.0.7" in mickey.states_text()
    # There: nothing but standard pfsync.
    conntrack.insert(meeting.nodes[0], "10.0.0.30", SERVER[0], 2000, 443)
    wait_for(lambda: '"10.0.0.30"' in decoded(meeting), 10, "mickey's flow to reach minnie")
    assert all(packet["ttl"] == 255 and packet["from"] == MICKEY for packet in minnie.received())
    assert "hello" not in decoded(meeting).lower()
    # And it ends where minnie says so.
    ident = mallory.full_state(7, CREATOR)[:8] + CREATOR.to_bytes(4, "big")
    minnie.send(mallory.pfsync(mallory.ACTION_DEL_C, ident))
    wait_for(lambda: "10.66.0.7" not in mickey.states_text(), 10, "its end")


def test_the_documents_show_what_is_used_here(fresh):
    """docs/ipsec.md, line by line; strongswan.conf and secrets are read from there anyhow."""
    def lines(text: str) -> list[str]:
        return [line.strip() for line in text.splitlines() if line.strip()]

    meeting = Meeting(fresh, "minnie")
    meeting.begin(meeting.ed25519())
    assert lines(meeting.minnie.config.read_text()) == lines(documented("swanctl.conf"))


@pytest.mark.parametrize("way, initiator, says", [
    ("psk", "minnie", "its preshared key is not ours"),
    # Who answers judges first.
    ("psk", "mickey", "refused us: has it the same preshared key"),
    ("ed25519", "minnie", "no trusted key matches the one it signed with"),
    ("ed25519", "mickey", "no trusted key matches the one it signed with"),
    ("x509", "minnie", "no valid certificate for 'minnie' that the authority in rightca"),
    ("x509", "mickey", "no valid certificate for 'minnie' that the authority in rightca"),
])
def test_who_cannot_prove_it_stays_out(fresh, way, initiator, says):
    meeting = Meeting(fresh, initiator)
    meeting.begin(getattr(meeting, way)(wrong=True))
    wait_for(lambda: "authentication failed" in meeting.last_error(), 20, "the peer to be refused")
    refused = meeting.last_error()
    assert says in refused, refused
    assert refused in meeting.mickey.log()
    assert meeting.mickey.spis() == set()


@pytest.mark.parametrize("initiator", ["mickey", "minnie"])
@pytest.mark.parametrize("theirs", [{"ike": "aes128gcm16-prfsha256-ecp256"},
                                    {"esp": "aes128gcm16-ecp256"}], ids=["ike", "esp"])
def test_proposals_that_do_not_match_are_named(fresh, initiator, theirs):
    meeting = Meeting(fresh, initiator)
    meeting.begin({**meeting.psk(), **theirs})
    (what,) = theirs
    wait_for(lambda: "no proposal in common" in meeting.last_error(), 20, "the reason")
    error = meeting.last_error()
    if initiator == "minnie":  # who is asked sees both sides'
        assert f"no common proposal for {what}: it offers" in error
        assert "AES_GCM_16_128" in error and "AES_GCM_16_256" in error
    else:
        assert f"minnie accepts none of our {what} proposals" in error
    assert "no proposal in common" in meeting.mickey.command("peers").stdout
    assert error in meeting.mickey.log()
    assert meeting.mickey.spis() == set()


def test_selectors_that_do_not_match_are_named(fresh):
    meeting = Meeting(fresh, "minnie")
    meeting.begin({**meeting.psk(), "local_ts": "10.1.1.0/24", "remote_ts": "10.2.2.0/24"})
    wait_for(lambda: "other addresses" in meeting.last_error(), 20, "the reason")
    assert "10.1.1.0/24" in meeting.last_error()
    assert meeting.mickey.spis() == set()


def test_an_authority_speaks_for_its_own_conn_only(fresh):
    """minnie has a certificate, good for a conn with rightca; hers is one of trusted keys."""
    meeting = Meeting(fresh, "minnie")
    theirs = meeting.x509()
    ca = meeting.mickey.each["minnie"].pop("rightca")
    del meeting.mickey.each["minnie"]["leftcert"]
    stranger = meeting.dir / "stranger.pub"
    stranger.write_text(openssl("pkey", "-in", meeting._key("stranger"), "-pubout"))
    meeting.mickey.command("keys", "trust", "--name", "minnie", stranger)
    meeting.mickey.peers["donald"] = "192.168.1.102"
    meeting.mickey.each["donald"] = {"rightca": ca}
    meeting.mickey.write_config()
    (meeting.minnie.dir / "pubkey/mickey.pem").write_text(
        meeting.mickey.command("keys", "export", "--pem").stdout)
    meeting.begin({**theirs, "remote": "auth = pubkey\npubkeys = mickey.pem",
                   "more": "send_cert = always"})
    wait_for(lambda: "no trusted key matches" in meeting.last_error(), 20, "minnie to be refused")
    assert meeting.mickey.spis() == set()


def test_a_certificate_for_another_key_is_named(fresh):
    meeting = Meeting(fresh, "mickey")
    theirs = meeting.x509()
    meeting.set(leftcert=str(meeting.dir / "minnie.crt"))
    meeting.begin(theirs)
    assert "minnie.crt is not for this node's key" in meeting.mickey.log()
    wait_for(lambda: meeting.last_error(), 20, "an error")
    assert meeting.mickey.spis() == set()


def test_who_does_not_trust_our_authority_says_so(fresh):
    meeting = Meeting(fresh, "mickey")
    theirs = meeting.x509()
    other = meeting._ca("another")
    (meeting.minnie.dir / "x509ca/ca.pem").write_text(other.read_text())
    meeting.begin(theirs)
    wait_for(lambda: "refused us: does it trust the authority of our leftcert" in
             meeting.last_error(), 20, "the reason")
    assert meeting.mickey.spis() == set()


@pytest.mark.parametrize("spoil, says", [
    (lambda file: file.chmod(0o644), "mode 0644 lets others in"),
    (lambda file: file.write_text("short\n"), "16 bytes at least"),
    (lambda file: file.unlink(), "No such file or directory"),
])
def test_a_preshared_key_is_kept_as_one(fresh, spoil, says):
    meeting = Meeting(fresh, "minnie")
    meeting.psk()
    file = Path(meeting.mickey.each["minnie"]["secretfile"])
    spoil(file)
    done = meeting.nodes[0].run(sync.bin_dir() / "encsyncd", "--config", meeting.mickey.config,
                                "--run-dir", meeting.mickey.run_dir, "--foreground", check=False)
    assert done.returncode == 1 and str(file) in done.stderr and says in done.stderr


def test_another_preshared_key_cuts_off_at_once(fresh):
    meeting = Meeting(fresh, "minnie")
    meeting.begin(meeting.psk())
    meeting.up()
    spis = meeting.mickey.spis()
    assert "no conn differs" in meeting.mickey.reload().stdout and meeting.mickey.spis() == spis
    Path(meeting.mickey.each["minnie"]["secretfile"]).write_text(secrets.token_hex(32))
    meeting.mickey.reload()
    assert not spis & meeting.mickey.spis()
    assert "cut off" in meeting.mickey.log()
    meeting.minnie.initiate("mickey", check=False)
    wait_for(lambda: "authentication failed" in meeting.last_error(), 20, "minnie to be refused")
