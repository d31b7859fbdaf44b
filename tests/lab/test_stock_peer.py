# SPDX-License-Identifier: ISC
"""Any standard peer: an unmodified strongSwan, and standard pfsync. See stock.py.

    mickey (encsync, wire=openbsd) ------ switch ------ minnie (strongSwan, swanctl)
"""

from __future__ import annotations

import json
import re
import secrets
import signal
import subprocess
import time
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
MICKEY6, MINNIE6 = "2001:db8:1::100", "2001:db8:1::101"
CREATOR = 0x0A0B0C0D
# Its userspace ESP has no 64-bit sequence numbers.
NO_ESN = {"esp": "aes256gcm16-curve25519-noesn"}
# DPD must not fire because a processor is emulated or busy.
PATIENT = {"dpddelay": "10s", "dpdtimeout": "2m"}


class Meeting:
    """Both, with one way to authenticate; who initiates, and an optional error."""

    def __init__(self, lab, initiator: str, kernel: bool = False, ipv6: bool = False):
        switch = lab.switch("syncsw")
        self.nodes = [lab.node(name) for name in ("mickey", "minnie")]
        self.addresses = (MICKEY6, MINNIE6) if ipv6 else (MICKEY, MINNIE)
        for node, address in zip(self.nodes, self.addresses):
            lab.plug(node, "sync", switch, f"{address}/{64 if ipv6 else 24}")
        self.initiator = initiator
        self.dir = lab.dir
        start = "start" if initiator == "mickey" else "add"
        self.poll = 0.5 if kernel else 0.02
        self.mickey = sync.Encsync(self.nodes[0], {"minnie": self.addresses[1]},
                                   left=self.addresses[0],
                                   conn={"wire": "auto" if ipv6 else "openbsd", **PATIENT,
                                         **({} if kernel else NO_ESN)},
                                   each={"minnie": {"auto": start}})
        self.mickey.init_keys()
        self.minnie = Stock(self.nodes[1], self.addresses[1], kernel)

    def set(self, **keywords: str) -> None:
        self.mickey.each["minnie"].update(keywords)
        self.mickey.write_config()

    # -- three ways to authenticate; `wrong` makes minnie's part invalid --

    def psk(self, wrong: bool = False) -> dict:
        key = secrets.token_hex(32)
        file = self.dir / "minnie.psk"
        file.write_text(key + "\n")
        file.chmod(0o600)
        self.set(authby="psk", secretfile=str(file))
        theirs = secrets.token_hex(32) if wrong else key
        return with_psk(documented("secrets").replace("the content of FILE", theirs))

    def stored_psk(self) -> tuple[dict, Path]:
        """In mickey's store, which a passphrase protects. minnie has what was made for her: its file,
        and what was printed of it."""
        passphrase, file = self.dir / "passphrase", self.dir / "made.psk"
        passphrase.write_text("correct horse battery\n")
        passphrase.chmod(0o600)
        self.mickey.setup["keypassphrase"] = str(passphrase)
        self.set(authby="psk")
        self.mickey.command("keys", "seal")
        printed = self.mickey.command("keys", "psk", "make", "minnie", file).stdout
        section = printed[printed.index("secrets {"):printed.index("Then destroy")]
        return with_psk(section.replace(f"the content of {file}", file.read_text().strip())), file

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
        """A CA made here certifies both: mickey's own key, and another kind of key for minnie."""
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

    def stored_x509(self) -> dict:
        """Likewise, in mickey's store."""
        theirs = self.x509()
        options = self.mickey.each["minnie"]
        self.mickey.command("keys", "cert", "import", "minnie", options["leftcert"])
        self.mickey.command("keys", "cert", "import", "--authority", "minnie", options["rightca"])
        self.set(leftcert="store", rightca="store")
        return theirs

    def _private(self, name: str) -> Path:
        return self.minnie.dir / f"private/{name}.pem"

    def _key(self, name: str) -> Path:
        openssl("genpkey", "-algorithm", "ED25519", "-out", self._private(name))
        return self._private(name)

    def _ca(self, name: str) -> Path:
        key, cert = self.dir / f"{name}.key", self.dir / f"{name}.pem"
        openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", key, "-out", cert,
                "-subj", f"/O=test/CN={name}", "-days", "40", "-addext",
                "keyUsage=critical,keyCertSign")
        return cert

    def _certify(self, ca: Path, name: str, more: list, days: str = "40") -> Path:
        """For a key of any kind; the key in the request is replaced if another one is given."""
        request, cert = self.dir / f"{name}.csr", self.dir / f"{name}.crt"
        extensions = self.dir / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:{name}\n")
        key = self._private(name)
        if more:
            key = self.dir / "throwaway.key"
            openssl("genpkey", "-algorithm", "ED25519", "-out", key)
        openssl("req", "-new", "-key", key, "-subj", f"/O=test/CN={name}", "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca.with_suffix(".key"),
                "-CAcreateserial", "-days", days, "-extfile", extensions, "-out", cert, *more)
        return cert

    # -- meeting --

    def begin(self, theirs: dict) -> None:
        self.minnie.configure("mickey", self.addresses[0], **theirs)
        self.mickey.start()
        if self.initiator == "minnie":
            self.minnie.initiate("mickey", check=False)

    def up(self, timeout: float = 20) -> None:
        # With wire=auto a peer is up once its packets have shown its dialect.
        auto = self.mickey.conn["wire"] == "auto"
        wait_for(lambda: len(self.mickey.spis()) == 2 if auto else
                 self.mickey.peer("minnie")["state"] == "up", timeout,
                 "the tunnel to be up", self.poll)
        assert "mickey" in self.minnie.sas() and "ESTABLISHED" in self.minnie.sas()

    def last_error(self) -> str:
        return self.mickey.peer("minnie")["last_error"]


def with_psk(section: str) -> dict:
    """What minnie's configuration needs: a section of secrets, without its first and last line."""
    return {"local": "auth = psk", "remote": "auth = psk",
            "secrets": "\n".join(section.strip().splitlines()[1:-1])}


def openssl(*words) -> str:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def decoded(meeting: Meeting) -> str:
    """What minnie has received, as text."""
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
    # From minnie: as from any pf, and into the kernel.
    minnie.send(mallory.pfsync(mallory.ACTION_INS, mallory.full_state(7, CREATOR)))
    wait_for(lambda: any(f.orig.src == "10.66.0.7" for f in conntrack.table(meeting.nodes[0])), 10,
             "minnie's state to be in mickey's kernel")
    assert "10.66.0.7" in mickey.states_text()
    # To minnie: nothing but standard pfsync.
    conntrack.insert(meeting.nodes[0], "10.0.0.30", SERVER[0], 2000, 443)
    wait_for(lambda: '"10.0.0.30"' in decoded(meeting), 10, "mickey's flow to reach minnie")
    assert all(packet["ttl"] == 255 and packet["from"] == MICKEY for packet in minnie.received())
    assert "hello" not in decoded(meeting).lower()
    # A DEL of minnie's ends it.
    ident = mallory.full_state(7, CREATOR)[:8] + CREATOR.to_bytes(4, "big")
    minnie.send(mallory.pfsync(mallory.ACTION_DEL_C, ident))
    wait_for(lambda: "10.66.0.7" not in mickey.states_text(), 10, "its end")


# States that an attacker with valid keys would send: source, destination, port, protocol, answering
# host.
STRANGER, VIP = "10.66.7.7", "203.0.113.1"
DOORS = {
    "local": [(STRANGER, MICKEY, 22, 6, None), (MICKEY, STRANGER, 22, 6, None),
              (STRANGER, MICKEY, 161, 17, None), (STRANGER, VIP, 443, 6, MICKEY)],
    "ipsec": [(STRANGER, MICKEY, 500, 17, None), (STRANGER, MICKEY, 4500, 17, None)],
    "loopback": [(STRANGER, "127.0.0.1", 22, 6, None), (STRANGER, VIP, 22, 6, "127.0.0.1")],
    "unspecified": [(STRANGER, "0.0.0.0", 22, 6, None)],
    "multicast": [(STRANGER, "224.0.0.18", 22, 17, None)],
    "protocol": [(STRANGER, MINNIE, 0, proto, None) for proto in (50, 112, 240)],
}
# Forwarded flows, which a peer may send. The last one is a port forwarded by this firewall.
WAYS = [(STRANGER, "198.51.100.9", 443, 6, None), (STRANGER, "198.51.100.9", 4500, 17, None),
        (STRANGER, MICKEY, 8080, 6, "10.0.0.80")]


@pytest.mark.parametrize("synclocal", ["no", "yes"])
def test_an_insider_opens_no_door(fresh, synclocal):
    """minnie has valid keys and sends any states: none of them permits access to mickey itself.
    With synclocal=yes flows of mickey itself are accepted, except IKE and ESP."""
    meeting = Meeting(fresh, "mickey")
    meeting.mickey.setup["synclocal"] = synclocal
    meeting.begin(meeting.psk())
    meeting.up()
    mickey, node, minnie = meeting.mickey, meeting.nodes[0], meeting.minnie
    minnie.talk(MICKEY)
    allowed = ["local"] if synclocal == "yes" else []
    number, taken, refused = 100, set(), {}
    for why, flows in [*DOORS.items(), ("", WAYS), ("later", [(STRANGER, VIP, 22, 6, None)])]:
        for src, dst, dport, proto, answers in flows:
            number += 1
            minnie.send(mallory.pfsync(mallory.ACTION_INS, mallory.full_state(
                number, CREATOR, src, dst, dport, proto, answers)))
            if why in ("", "later", *allowed):
                taken.add(number)
            else:
                refused[why] = refused.get(why, 0) + 1

    def planted() -> set[int]:
        return {flow.orig.sport - 10000 for flow in conntrack.table(node)
                if flow.involves(STRANGER)}

    wait_for(lambda: planted() >= taken, 10, "what may be planted to be in mickey's kernel")
    states = mickey.peer("minnie")["refused_states"]
    if allowed:  # as sources of packets of both protocol 17 and 6
        refused.pop("local", None)
    assert states == {"now": sum(refused.values()), **refused}
    assert planted() == taken
    wait_for(lambda: "of a loopback address (loopback)" in mickey.log(), 10,
             "the log to say so")
    # A new local address turns a forwarded flow into access to this firewall.
    node.ip(f"addr add {VIP}/32 dev sync")
    if allowed:
        wait_for(lambda: mickey.peer("minnie")["refused_states"] == states, 5, "no change")
        assert planted() == taken
        return
    wait_for(lambda: planted() == taken - {number}, 10, "the door to be closed")
    # It stays refused after the address was removed: it may come back at any time.
    node.ip(f"addr del {VIP}/32 dev sync")
    minnie.send(mallory.pfsync(mallory.ACTION_INS, mallory.full_state(
        number + 1, CREATOR, STRANGER, VIP, 22)))
    minnie.send(mallory.pfsync(mallory.ACTION_INS, mallory.full_state(number + 2, CREATOR)))
    wait_for(lambda: any(f.orig.sport == 10000 + number + 2 for f in conntrack.table(node)), 10,
             "what is said last to be there")
    assert planted() == taken - {number}


def test_what_a_peer_has_brought_can_be_removed(fresh):
    """Also what this node has taken over by now; what began here stays."""
    meeting = Meeting(fresh, "mickey")
    meeting.begin(meeting.psk())
    meeting.up()
    mickey, node, minnie = meeting.mickey, meeting.nodes[0], meeting.minnie
    minnie.talk(MICKEY)
    conntrack.insert(node, "10.0.0.30", SERVER[0], 2000, 443)
    for number in range(100):
        minnie.send(mallory.pfsync(mallory.ACTION_INS, mallory.full_state(number, CREATOR)))

    def planted() -> int:
        return sum(flow.orig.src.startswith("10.66.") for flow in conntrack.table(node))

    wait_for(lambda: planted() == 100, 10, "minnie's states to be in mickey's kernel")
    mickey.command("role", "active")
    minnie.swanctl("--terminate", "--ike", "mickey")
    wait_for(lambda: mickey.status()["own"] == 101, 20, "mickey to take them over")
    assert planted() == 100
    assert mickey.command("flush", "minnie").stdout == "minnie: 100 states removed\n"
    wait_for(lambda: planted() == 0, 10, "them to be gone")
    assert mickey.status()["own"] == 1
    assert [flow.orig.src for flow in conntrack.table(node)] == ["10.0.0.30"]
    done = mickey.command("flush", "donald", check=False)
    assert done.returncode == 1 and "there is no conn 'donald'" in done.stderr


def test_refuse_is_about_what_this_peer_tells(fresh):
    meeting = Meeting(fresh, "mickey")
    meeting.set(refuse="dst 198.51.100.64/26 and proto tcp")
    meeting.begin(meeting.psk())
    meeting.up()
    mickey, node, minnie = meeting.mickey, meeting.nodes[0], meeting.minnie
    minnie.talk(MICKEY)

    def say(number: int, dst: str) -> None:
        minnie.send(mallory.pfsync(mallory.ACTION_INS,
                                   mallory.full_state(number, CREATOR, dst=dst)))

    def there() -> set[int]:
        return {flow.orig.sport - 10000 for flow in conntrack.table(node)
                if flow.involves("198.51.100.0/24")}

    say(1, "198.51.100.100")
    say(2, "198.51.100.200")
    wait_for(lambda: there() == {2}, 10, "what fits no rule to be there")
    assert mickey.peer("minnie")["refused_states"] == {"now": 1, "refuse": 1}
    # A rule added by reload applies to existing flows, once minnie names them again.
    meeting.mickey.each["minnie"]["refuse"] = "dst 198.51.100.192/26"
    assert "changed minnie" in mickey.reload().stdout
    meeting.up()
    say(1, "198.51.100.100")
    say(2, "198.51.100.200")
    wait_for(lambda: there() == {1}, 10, "the new rule to hold")


def begin_rotation(meeting: Meeting) -> dict:
    """Up with raw public keys, and mickey has a next one: what minnie's config may become, as it
    was printed."""
    theirs = meeting.ed25519()
    meeting.begin(theirs)
    meeting.up()
    text = meeting.mickey.command("keys", "rotate", "--what", "identity").stdout
    pem = text[text.index("-----BEGIN"):].split("# ----")[0]
    assert "/etc/swanctl/pubkey/mickey-next.pem" in text
    (meeting.minnie.dir / "pubkey/mickey-next.pem").write_text(pem)
    (line,) = [line.strip() for line in text.splitlines() if "pubkeys = " in line]
    assert line == "pubkeys = mickey.pem, mickey-next.pem"
    return {**theirs, "remote": f"auth = pubkey\n{line}"}


def identities(meeting: Meeting) -> list[str]:
    shown = json.loads(meeting.mickey.command("keys", "show", "--json").stdout)
    return [each["fingerprint"] for each in shown["identities"]]


def test_an_identity_is_rotated_with_a_peer_that_is_not_told(fresh):
    meeting = Meeting(fresh, "mickey")
    both = begin_rotation(meeting)
    mickey = meeting.mickey
    _, fresh_key = identities(meeting)
    # minnie does not have it yet: nothing changes.
    wait_for(lambda: "does not accept this node's next key yet" in mickey.log(), 20, "a try")
    assert f"is our key {fresh_key} trusted there" in mickey.log()
    spis = mickey.spis()
    early = mickey.command("keys", "retire", check=False)
    assert early.returncode == 1 and "minnie has not shown that the new key" in early.stderr
    assert mickey.peer("minnie")["last_error"] == ""
    # Both keys there; then it is one, without a gap.
    meeting.minnie.configure("mickey", meeting.addresses[0], **both)
    assert mickey.spis() == spis
    mickey.reload()
    wait_for(lambda: identities(meeting) == [fresh_key], 30, "the older one to be retired")
    assert "peer minnie: accepts this node's next key" in mickey.log()
    assert "peer minnie: down" not in mickey.log()
    (meeting.minnie.dir / "pubkey/mickey.pem").unlink()
    meeting.minnie.configure("mickey", meeting.addresses[0], **{
        **both, "remote": "auth = pubkey\npubkeys = mickey-next.pem"})
    meeting.minnie.talk(MICKEY)
    meeting.minnie.send(mallory.pfsync(mallory.ACTION_INS, mallory.full_state(7, CREATOR)))
    wait_for(lambda: "10.66.0.7" in mickey.states_text(), 10, "minnie's state to arrive")


def test_a_peer_that_has_only_the_next_key_comes_back(fresh):
    """Its administrator has replaced the key instead of adding one."""
    meeting = Meeting(fresh, "mickey")
    both = begin_rotation(meeting)
    _, fresh_key = identities(meeting)
    meeting.minnie.configure("mickey", meeting.addresses[0], **{
        **both, "remote": "auth = pubkey\npubkeys = mickey-next.pem"})
    meeting.minnie.swanctl("--terminate", "--ike", "mickey")
    wait_for(lambda: identities(meeting) == [fresh_key], 60, "the next key to be used")
    meeting.up()


def test_the_documents_show_what_is_used_here(fresh):
    """docs/ipsec.md, line by line; strongswan.conf and secrets are always read from there."""
    def lines(text: str) -> list[str]:
        return [line.strip() for line in text.splitlines() if line.strip()]

    meeting = Meeting(fresh, "minnie")
    meeting.begin(meeting.ed25519())
    assert lines(meeting.minnie.config.read_text()) == lines(documented("swanctl.conf"))


@pytest.mark.parametrize("way, initiator, says", [
    ("psk", "minnie", "its preshared key is not ours"),
    # The responder checks first.
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
    if initiator == "minnie":  # the responder knows both
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
    """minnie has a certificate, valid for a conn with rightca; minnie's conn has trusted keys."""
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


def test_an_authority_that_charon_cannot_read_admits_nobody(fresh):
    """minnie has a certificate of another conn's authority, and her own conn's is of a kind that
    OpenSSL reads and charon does not."""
    meeting = Meeting(fresh, "minnie")
    theirs = meeting.x509()
    readable = meeting.mickey.each["minnie"]["rightca"]
    odd = meeting.dir / "odd.pem"
    openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", meeting.dir / "odd.key",
            "-out", odd, "-subj", "/O=test/CN=odd", "-days", "40", "-addext",
            "1.3.6.1.4.1.99999.1=critical,DER:0500")
    meeting.set(rightca=str(odd))
    meeting.mickey.peers["donald"] = "192.168.1.102"
    meeting.mickey.each["donald"] = {"rightca": readable}
    meeting.mickey.write_config()
    meeting.begin(theirs)
    wait_for(lambda: "authentication failed" in meeting.mickey.log(), 20, "minnie to be refused")
    assert "the certificate of rightca cannot be read" in meeting.mickey.log()
    assert meeting.mickey.spis() == set()


def test_a_certificate_for_another_key_is_named(fresh):
    meeting = Meeting(fresh, "mickey")
    theirs = meeting.x509()
    meeting.set(leftcert=str(meeting.dir / "minnie.crt"))
    meeting.begin(theirs)
    assert "minnie.crt is not for this node's key" in meeting.mickey.log()
    wait_for(lambda: meeting.last_error(), 20, "an error")
    assert meeting.mickey.spis() == set()


def test_certificates_that_expire_are_named(fresh):
    meeting = Meeting(fresh, "mickey")
    theirs = meeting.x509()
    ca, own = meeting.dir / "ca.pem", meeting.dir / "mickey.pub.pem"
    meeting.begin(theirs)
    meeting.up()
    assert meeting.mickey.status()["key_ages"] == []  # control: 40 days are enough

    def renewed(days: str) -> str:
        meeting._certify(ca, "mickey", ["-force_pubkey", own], days)
        log = meeting.mickey.log()
        meeting.mickey.reload()
        (age,) = meeting.mickey.status()["key_ages"]
        named = re.match(r".*mickey.crt expire[sd]", age)[0]  # the days may be fewer a second later
        assert f"keys: {named}" in meeting.mickey.log()[len(log):]
        assert f"warning: {named}" in meeting.mickey.command("status").stdout
        return age

    assert "mickey.crt expires in " in renewed("3")
    meeting.up()
    assert "mickey.crt expired 1 day ago, at " in renewed("-1")
    (meeting.dir / "mickey.crt").write_bytes(b"0 this is none")
    refused = meeting.mickey.command("reload", check=False)
    assert refused.returncode == 1 and "mickey.crt: is no X.509 certificate" in refused.stderr


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


def test_a_preshared_key_of_the_sealed_store(fresh):
    meeting = Meeting(fresh, "minnie")
    theirs, file = meeting.stored_psk()
    mickey, minnie = meeting.mickey, meeting.minnie
    key = file.read_text().strip()
    assert not any(key in f.read_text() for f in mickey.key_dir.iterdir())
    meeting.begin(theirs)
    meeting.up()
    # Another one: minnie is cut off at once, and refused until it is again the one that she has.
    spis = mickey.spis()
    mickey.command("keys", "psk", "make", "--replace", "minnie", meeting.dir / "another.psk")
    assert not spis & mickey.spis() and "cut off" in mickey.log()
    minnie.initiate("mickey", check=False)
    wait_for(lambda: "its preshared key is not ours" in meeting.last_error(), 20,
             "minnie to be refused")
    assert mickey.spis() == set()
    mickey.command("keys", "psk", "import", "--replace", "minnie", file)
    minnie.initiate("mickey", check=False)
    meeting.up()
    # None.
    mickey.command("keys", "psk", "forget", "minnie")
    assert mickey.spis() == set()
    assert "there is no preshared key with 'minnie'; 'encsync keys psk make minnie FILE'" in \
        meeting.last_error()
    minnie.swanctl("--initiate", "--child", "mickey", "--timeout", "2", check=False)
    assert mickey.spis() == set()
    assert key not in mickey.log()


def preshared_keys(meeting: Meeting) -> list[bool]:
    """Of each that mickey has with minnie: whether it is the next one."""
    status = json.loads(meeting.mickey.command("keys", "status", "--json").stdout)
    return [key["next"] for key in status["psks"]]


def test_a_preshared_key_is_rotated_with_a_peer_that_is_not_told(fresh):
    meeting = Meeting(fresh, "mickey")
    theirs, file = meeting.stored_psk()
    mickey, minnie = meeting.mickey, meeting.minnie
    meeting.begin(theirs)
    meeting.up()
    spis, next_file = mickey.spis(), meeting.dir / "next.psk"
    printed = mickey.command("keys", "psk", "make", "minnie", next_file).stdout
    # minnie does not have it yet: nothing changes.
    wait_for(lambda: "does not accept this node's next preshared key yet" in mickey.log(), 20,
             "a try")
    assert mickey.spis() == spis and preshared_keys(meeting) == [False, True]
    assert mickey.peer("minnie")["last_error"] == ""
    # Both there, as was printed; then it is one, without a gap.
    secret = with_psk(printed[printed.index("secrets {"):printed.index("Then destroy")].replace(
        f"the content of {next_file}", next_file.read_text().strip()))["secrets"]
    assert "ike-mickey-next {" in secret
    minnie.configure("mickey", meeting.addresses[0],
                     **{**theirs, "secrets": theirs["secrets"] + "\n" + secret})
    assert mickey.spis() == spis
    mickey.reload()
    wait_for(lambda: preshared_keys(meeting) == [False], 30, "the older one to be dropped")
    assert "peer minnie: accepts this node's next preshared key" in mickey.log()
    assert "peer minnie: down" not in mickey.log() and "cut off" not in mickey.log()
    events = [line.split()[1] for line in mickey.command("keys", "log").stdout.splitlines()
              if " PSK" in line]
    assert events[-3:] == ["psk", "psk-next", "psk"]
    # minnie needs the older one no more.
    only = with_psk(documented("secrets").replace("the content of FILE",
                                                  next_file.read_text().strip()))
    minnie.configure("mickey", meeting.addresses[0], **only)
    mickey.command("keys", "rotate", "--what", "sa")
    wait_for(lambda: not spis & mickey.spis() and len(mickey.spis()) == 2, 20, "new SAs")
    minnie.talk(MICKEY)
    minnie.send(mallory.pfsync(mallory.ACTION_INS, mallory.full_state(7, CREATOR)))
    wait_for(lambda: "10.66.0.7" in mickey.states_text(), 10, "minnie's state to arrive")


def test_a_peer_that_has_only_the_next_preshared_key_comes_back(fresh):
    """Its administrator has replaced the key instead of adding one, and it calls."""
    meeting = Meeting(fresh, "minnie")
    theirs, _ = meeting.stored_psk()
    meeting.begin(theirs)
    meeting.up()
    next_file = meeting.dir / "next.psk"
    meeting.mickey.command("keys", "psk", "make", "minnie", next_file)
    # So that it is minnie who comes next: mickey tries it again only after a minute.
    wait_for(lambda: "does not accept this node's next preshared key yet" in meeting.mickey.log(),
             20, "a try")
    only = with_psk(documented("secrets").replace("the content of FILE",
                                                  next_file.read_text().strip()))
    meeting.minnie.configure("mickey", meeting.addresses[0], **only)
    meeting.minnie.swanctl("--terminate", "--ike", "mickey")
    meeting.minnie.initiate("mickey")
    wait_for(lambda: preshared_keys(meeting) == [False], 30, "the older one to be dropped")
    meeting.up()


def test_an_identity_is_rotated_with_a_peer_that_knows_a_certificate(fresh):
    meeting = Meeting(fresh, "mickey")
    meeting.begin(meeting.x509())
    meeting.up()
    mickey, ca = meeting.mickey, meeting.dir / "ca.pem"
    printed = mickey.command("keys", "rotate", "--what", "identity").stdout
    assert f"put that into {meeting.dir / 'mickey.crt'}, and run 'encsync reload'" in printed
    _, fresh_key = identities(meeting)
    key = meeting.dir / "mickey-next.pem"
    key.write_text(printed[printed.index("-----BEGIN"):])
    spis = mickey.spis()
    # By an authority that minnie does not know: nothing changes.
    meeting._certify(meeting._ca("another"), "mickey", ["-force_pubkey", key])
    mickey.reload()
    wait_for(lambda: "does not accept this node's next certificate yet" in mickey.log(), 20, "a try")
    assert mickey.spis() == spis and len(identities(meeting)) == 2
    # By hers: then the next identity is the only one, without a gap.
    meeting._certify(ca, "mickey", ["-force_pubkey", key])
    mickey.reload()
    wait_for(lambda: identities(meeting) == [fresh_key], 30, "the older one to be retired")
    assert "peer minnie: accepts this node's next certificate" in mickey.log()
    assert "peer minnie: down" not in mickey.log() and "cut off" not in mickey.log()
    meeting.up()


def certificates(meeting: Meeting) -> list[tuple[str, bool]]:
    """Of each in mickey's store: its use, and whether it is the next one."""
    status = json.loads(meeting.mickey.command("keys", "status", "--json").stdout)
    return [(one["use"], one["next"]) for one in status["certificates"]]


def test_a_certificate_of_the_store_outlives_a_restart_while_the_next_one_is_refused(fresh):
    meeting = Meeting(fresh, "mickey")
    theirs = meeting.stored_x509()
    mickey, minnie = meeting.mickey, meeting.minnie
    meeting.begin(theirs)
    meeting.up()
    printed = mickey.command("keys", "rotate", "--what", "identity").stdout
    assert "run 'encsync keys cert import minnie FILE' with that" in printed
    key = meeting.dir / "mickey-next.pem"
    key.write_text(printed[printed.index("-----BEGIN"):])
    # By an authority that minnie does not know yet.
    another, spis = meeting._ca("another"), mickey.spis()
    coming = meeting._certify(another, "mickey", ["-force_pubkey", key])
    mickey.command("keys", "cert", "import", "minnie", coming)
    wait_for(lambda: "does not accept this node's next certificate yet" in mickey.log(), 20, "a try")
    both = [("own", False), ("own", True), ("authority", False)]
    assert mickey.spis() == spis and certificates(meeting) == both
    assert meeting.last_error() == ""
    mickey.restart()
    meeting.up()
    assert certificates(meeting) == both
    # Control: as a file, it is the only one that encsyncd has after a restart.
    meeting.set(leftcert=str(coming))
    mickey.restart()
    wait_for(lambda: "refused us: does it trust the authority of our leftcert" in
             meeting.last_error(), 20, "minnie to refuse it")
    assert len(mickey.spis()) < 2
    meeting.set(leftcert="store")
    mickey.restart()
    meeting.up()
    # minnie knows it, too: then there is one, without a gap, and one identity.
    log = mickey.log()
    (minnie.dir / "x509ca/another.pem").write_text(another.read_text())
    minnie.configure("mickey", meeting.addresses[0], **{
        **theirs, "remote": "auth = pubkey\ncacerts = ca.pem, another.pem"})
    mickey.reload()
    wait_for(lambda: certificates(meeting) == [("own", False), ("authority", False)], 90,
             "the older one to be dropped")
    wait_for(lambda: len(identities(meeting)) == 1, 60, "the older identity to be retired")
    log = mickey.log()[len(log):]
    assert "peer minnie: accepts this node's next certificate\n" in log
    assert "peer minnie: down" not in log and "cut off" not in log
    events = [line.split()[1] for line in mickey.command("keys", "log").stdout.splitlines()
              if line.split()[1].startswith(("cert", "ca"))]
    assert events == ["cert", "ca", "cert", "cert-gone"]
    meeting.up()


def test_a_certificate_for_the_same_key_is_kept_until_it_expires(fresh):
    """minnie goes by the one that she knows, though she does not trust the authority of the other:
    so that she comes up is no proof, and once she has forgotten it, mickey shows it again."""
    meeting = Meeting(fresh, "mickey")
    theirs = meeting.stored_x509()
    meeting.set(dpddelay="1s", dpdtimeout="4s")
    mickey, minnie = meeting.mickey, meeting.minnie
    meeting.begin(theirs)
    meeting.up()
    own = meeting.dir / "mickey.pub.pem"
    renewed = meeting._certify(meeting._ca("another"), "mickey", ["-force_pubkey", own])
    mickey.command("keys", "cert", "import", "minnie", renewed)
    wait_for(lambda: "or still knows the one before" in mickey.log(), 20, "it to be tried")
    time.sleep(2)  # it would be dropped within a second
    assert certificates(meeting) == [("own", False), ("own", True), ("authority", False)]
    spis = mickey.spis()
    minnie.restart()
    minnie.configure("mickey", meeting.addresses[0], **theirs)
    wait_for(lambda: not spis & mickey.spis(), 30, "mickey to see that minnie is gone")
    meeting.up(60)
    assert "minnie refused us" in mickey.log()  # the newer one
    # Nobody needs it any more.
    ending = meeting._certify(meeting.dir / "ca.pem", "mickey", ["-force_pubkey", own])
    mickey.command("keys", "cert", "import", "--replace", "minnie", ending)
    assert certificates(meeting) == [("own", False), ("authority", False)]
    mickey.restart()
    meeting.up()


def test_one_authority_takes_the_place_of_another(fresh):
    meeting = Meeting(fresh, "minnie")
    theirs = meeting.stored_x509()
    mickey, minnie = meeting.mickey, meeting.minnie
    meeting.begin(theirs)
    meeting.up()
    spis, older, newer = mickey.spis(), meeting.dir / "ca.pem", meeting._ca("another")
    mickey.command("keys", "cert", "import", "--authority", "minnie", newer)
    assert mickey.spis() == spis

    def comes_from(authority: Path) -> None:
        """With another key each time, as charon remembers certificates of the one before."""
        meeting._key("minnie")
        certificate = meeting._certify(authority, "minnie", [])
        (minnie.dir / "x509/minnie.pem").write_text(certificate.read_text())
        minnie.configure("mickey", meeting.addresses[0], **theirs)
        minnie.swanctl("--terminate", "--ike", "mickey", check=False)
        wait_for(lambda: mickey.spis() == set(), 20, "the SAs of before to be gone")
        minnie.initiate("mickey", check=False)

    for authority in (newer, older):
        comes_from(authority)
        meeting.up()
    # Whose authority is gone is cut off, and is not let in again.
    mickey.command("keys", "cert", "retire", "--authority", "minnie")
    assert certificates(meeting) == [("own", False), ("authority", False)]
    assert "cut off" in mickey.log()
    comes_from(newer)
    meeting.up()
    comes_from(older)
    wait_for(lambda: "no valid certificate for 'minnie' that the authority in rightca" in
             meeting.last_error(), 20, "minnie to be refused")
    wait_for(lambda: mickey.spis() == set(), 10, "nothing of it to be left")
    # Without any, it stays down and says so.
    mickey.command("keys", "cert", "forget", "--authority", "minnie")
    assert "there is no authority for 'minnie' in the key store" in meeting.last_error()


def test_what_export_prints_is_what_it_needs(fresh):
    """mickey waits, and minnie calls with nothing but the exported text and the secret."""
    meeting = Meeting(fresh, "minnie")
    meeting.psk()
    secret = meeting.mickey.each["minnie"]["secretfile"]
    done = meeting.mickey.command("export", "strongswan", "minnie")
    assert done.stderr == f"note: write the content of {secret} for the secret\n"
    strongswan, swanctl = done.stdout.split("# ---- /etc/swanctl/swanctl.conf\n")
    assert strongswan == "# ---- /etc/strongswan.conf\n" + documented("strongswan.conf") + "\n"
    meeting.mickey.start()
    meeting.minnie.config.write_text(
        swanctl.replace(f"the content of {secret}", Path(secret).read_text().strip()))
    meeting.minnie.swanctl("--load-all", "--noprompt")
    meeting.up()
    refused = meeting.mickey.command("export", "openbsd", "minnie", check=False)
    assert refused.returncode == 1 and "needs type=cable" in refused.stderr


def test_a_peer_that_owes_a_response_is_told_that_it_is_cut_off(fresh):
    """It sends no dead peer detection requests of its own, so it would keep its SAs for hours."""
    meeting = Meeting(fresh, "minnie")
    psk = meeting.psk()
    meeting.set(dpddelay="1s", dpdtimeout="30s")
    meeting.begin(psk)
    meeting.up()
    meeting.minnie.charon.signal(signal.SIGSTOP)
    time.sleep(2.5)  # mickey's next dead peer detection request stays unanswered
    Path(meeting.mickey.each["minnie"]["secretfile"]).write_text(secrets.token_hex(32))
    meeting.mickey.reload()
    assert "cut off" in meeting.mickey.log()
    meeting.minnie.charon.signal(signal.SIGCONT)
    wait_for(lambda: "mickey" not in meeting.minnie.sas(), 5, "minnie to close its SAs")
