# SPDX-License-Identifier: ISC
"""encsync pair: two nodes that two people have compared a code on, and whatever may be in the way."""

from __future__ import annotations

import json
import re
import signal

import pytest

import conntrack
import sync
from lab import Lab, Process, wait_for
from pair import SERVER, SYNC, FirewallPair

pytestmark = [pytest.mark.daemon, pytest.mark.usefixtures("sanitized_command")]

ADDRESS = {"mickey": "192.168.1.100", "minnie": "192.168.1.101"}  # mickey connects, minnie listens
PORT = 4540
OTHER = {"mickey": "minnie", "minnie": "mickey"}
VERSION_2 = b"ESPAIR\x02\x01\x00\x20" + bytes(32)


def node_named(lab: Lab, name: str, role: str = "", peer: str = "", **options) -> sync.Encsync:
    """encsync on a node that has the address of mickey or minnie (role) and is called so."""
    role = role or name
    peer = peer or OTHER[role]
    setup = {"node": role, **options.pop("setup", {})}
    return sync.Encsync(lab.node(name), {peer: ADDRESS[OTHER[role]]}, left=ADDRESS[role],
                        setup=setup, **options)


def wire(lab: Lab, a: sync.Encsync, b: sync.Encsync) -> None:
    lab.cable(a.node, "sync", b.node, "sync")
    for instance in (a, b):
        instance.node.ip(f"addr add {instance.left}/24 dev sync")


def two(lab: Lab, **options) -> tuple[sync.Encsync, sync.Encsync]:
    mickey, minnie = node_named(lab, "mickey", **options), node_named(lab, "minnie")
    wire(lab, mickey, minnie)
    return mickey, minnie


def trusted(instance: sync.Encsync) -> list[str]:
    return [key["name"] for key in instance.json("keys", "list")]


def agree(*both: Process) -> None:
    assert len({sync.code_shown(process) for process in both}) == 1
    for process in both:
        process.say("yes")
    for process in both:
        assert process.wait() == 0, process.last_words()


def errors(process: Process, status: int = 1) -> str:
    assert process.wait() == status, process.last_words()
    return process.errors()


def test_two_nodes_pair_while_one_daemon_runs_and_a_state_crosses(fresh):
    pair = FirewallPair(fresh)
    mickey = sync.Encsync(pair.mickey, {"minnie": SYNC["minnie"]}, left=SYNC["mickey"])
    minnie = sync.Encsync(pair.minnie, {"mickey": SYNC["mickey"]}, left=SYNC["minnie"])
    mickey.init_keys()
    mickey.start()
    conntrack.insert(pair.mickey, "10.0.0.10", SERVER[0], 1, 2)
    # The one that connects first, so that it has to try again.
    at_mickey = mickey.start_pairing()
    wait_for(lambda: "Waiting for minnie (192.168.1.101, TCP port 4540)" in at_mickey.output(), 10,
             "mickey to wait")
    at_minnie = minnie.start_pairing("--json")
    assert wait_for(lambda: "    " in at_minnie.errors(), 20, "minnie to show a code")
    code = sync.code_shown(at_mickey)
    assert f"\n    {code}\n" in at_minnie.errors()
    at_mickey.say("yes")
    wait_for(lambda: "Waiting for the answer at minnie" in at_mickey.output(), 10, "minnie's turn")
    assert trusted(mickey) == [], "before both have said yes"
    at_minnie.say("yes")
    assert at_mickey.wait() == 0 and at_minnie.wait() == 0
    assert "encsyncd has read the keys anew" in at_mickey.output()
    result = json.loads(at_minnie.output())
    print_of_mickey = mickey.json("keys", "show")["identities"][0]["fingerprint"]
    (key,) = result.pop("trusted")
    assert (key["name"], key["fingerprint"]) == ("mickey", print_of_mickey)
    assert result == {"peer": "mickey", "address": SYNC["mickey"], "code": code, "new": 1,
                      "reloaded": False}
    assert [e["event"] for e in minnie.json("keys", "log")["entries"]] == ["init", "trust"]
    minnie.start()
    sync.wait_in_step(mickey, minnie)
    wait_for(lambda: pair.flows(pair.minnie), 10, "the flow to arrive")
    # Again, while both run: that was so before.
    both = [mickey.start_pairing("minnie"), minnie.start_pairing("mickey")]
    agree(*both)
    assert all("nothing has changed" in process.output() for process in both)


@pytest.mark.parametrize("who", ["mickey", "minnie"])
def test_one_no_is_enough(fresh, who):
    mickey, minnie = two(fresh)
    process = {"minnie": minnie.start_pairing(), "mickey": mickey.start_pairing()}
    assert sync.code_shown(process["mickey"]) == sync.code_shown(process["minnie"])
    process[OTHER[who]].say("yes")
    wait_for(lambda: "Waiting for the answer" in process[OTHER[who]].output(), 10, "the yes")
    process[who].say("yes, I think")
    assert "nothing is trusted: the answer here was not yes" in errors(process[who])
    assert f"nothing is trusted: the answer at {who} was not yes" in errors(process[OTHER[who]])
    assert trusted(mickey) == trusted(minnie) == []


def test_no_answer_is_no_and_an_interrupt_leaves_nothing(fresh):
    mickey, minnie = two(fresh)
    a, b = mickey.start_pairing(), minnie.start_pairing()
    sync.code_shown(a), sync.code_shown(b)
    b.say("yes")
    a.popen.stdin.close()
    assert "the answer here was not yes" in errors(a)
    assert "the answer at mickey was not yes" in errors(b)
    a, b = mickey.start_pairing(), minnie.start_pairing()
    sync.code_shown(a), sync.code_shown(b)
    a.say("yes")
    b.signal(signal.SIGINT)
    assert "nothing is trusted: it has broken off the connection" in errors(a)
    b.wait()
    b = minnie.start_pairing()
    wait_for(lambda: "Waiting for mickey" in b.output(), 10, "minnie to listen")
    a = mickey.start_pairing("--timeout", "3")
    sync.code_shown(a), sync.code_shown(b)
    b.say("yes")
    assert "there was no answer within 3 s" in errors(a)
    assert "the answer at mickey was not yes" in errors(b)
    assert trusted(mickey) == trusted(minnie) == []


def test_a_man_in_the_middle_is_seen_by_the_codes(fresh):
    """He has cut the cable and holds both ends, each with the address and the name of the node that
    was there, and with keys of his own."""
    mickey, minnie = node_named(fresh, "mickey"), node_named(fresh, "minnie")
    false_minnie = node_named(fresh, "left", role="minnie")
    false_mickey = node_named(fresh, "right", role="mickey")
    wire(fresh, mickey, false_minnie)
    wire(fresh, false_mickey, minnie)
    victims = [mickey.start_pairing(), minnie.start_pairing()]
    false = [false_minnie.start_pairing(), false_mickey.start_pairing()]
    codes = [sync.code_shown(process) for process in victims]
    assert codes == [sync.code_shown(process) for process in false]
    assert codes[0] != codes[1]
    for process in false:
        process.say("yes")
    for process, name in zip(victims, ("minnie", "mickey")):
        process.say("no")
        assert (f"If the codes differ, something else than {name} has answered: somebody on the "
                "network, or a second encsync pair") in errors(process)
    assert trusted(mickey) == trusted(minnie) == []


def test_strangers_do_not_hold_it_up(fresh):
    """A silent connection, another protocol, a later version, another address: each is named, and
    the pairing that comes after them succeeds."""
    mickey, minnie = two(fresh)
    mickey.node.ip("addr add 192.168.1.66/24 dev sync")
    at_minnie = minnie.start_pairing()
    say = "; ".join(("import socket, sys, time",
                     "c = socket.create_connection(('192.168.1.101', 4540), 5, (sys.argv[1], 0))",
                     "c.sendall(bytes.fromhex(sys.argv[2]))",
                     "print(c.recv(100).hex(), flush=True)", "time.sleep(60)"))

    def stranger(data: bytes, source: str = ADDRESS["mickey"]) -> Process:
        return mickey.node.start("/usr/bin/python3", "-c", say, source, data.hex(), name="stranger")

    wait_for(lambda: "Waiting for mickey" in at_minnie.output(), 10, "minnie to listen")
    silent = stranger(b"")
    wait_for(lambda: silent.output(), 10, "the silent one to be connected")
    for data, source, said in (
            (b"GET / HTTP/1.1\r\n", ADDRESS["mickey"], "it sends something else than a pairing"),
            (VERSION_2, ADDRESS["mickey"], "it speaks version 2 of the pairing"),
            (b"", "192.168.1.66", "a connection from 192.168.1.66 was refused: it is not right")):
        stranger(data, source)
        wait_for(lambda said=said: said in at_minnie.errors(), 10, said)
    # One that repeats what another pairing has sent, up to its commitment, and then nothing.
    stranger(b"ESPAIR\x01\x01\x00\x20" + bytes(32))
    at_mickey = mickey.start_pairing()
    agree(at_mickey, at_minnie)
    assert trusted(minnie) == ["mickey"] and trusted(mickey) == ["minnie"]


def test_silence_is_no_peer(fresh):
    """mickey finds something that accepts connections and says nothing; minnie waits in vain."""
    mickey, minnie = two(fresh)
    listen = ("import socket, time; s = socket.create_server(('192.168.1.101', 4540)); "
              "print('listening', flush=True); time.sleep(600)")
    stranger = minnie.node.start("/usr/bin/python3", "-c", listen, name="stranger")
    wait_for(stranger.output, 10, "the stranger to listen")
    at_mickey = mickey.start_pairing("--timeout", "2")
    assert "it accepts connections and says nothing" in errors(at_mickey)
    refused = minnie.command("pair", "--timeout", "1", check=False)
    assert refused.returncode == 1
    assert "192.168.1.101, port 4540 is in use here: by another encsync pair" in refused.stderr
    alone = minnie.command("pair", "--timeout", "1", "--port", "4541", check=False)
    assert alone.returncode == 1
    assert alone.stderr == ("encsync: not paired with mickey (192.168.1.100): nobody has "
                            "connected\n")
    alone = mickey.command("pair", "--timeout", "1", "--port", "4541", check=False)
    assert alone.stderr == ("encsync: not paired with minnie (192.168.1.101): Connection "
                            "refused\n")


def test_another_key_of_that_name_is_not_replaced_unasked(fresh):
    mickey, minnie = two(fresh)
    sync.pair_keys(mickey, minnie)
    old = mickey.json("keys", "list")[0]["fingerprint"]
    for file in minnie.key_dir.iterdir():  # minnie is set up anew
        file.unlink()
    a, b = mickey.start_pairing(), minnie.start_pairing()
    said = errors(a)
    assert f"its key: minnie is trusted with {old}, and" in said
    assert "If minnie was set up anew, ask there for its fingerprint and give --new-identity" in said
    assert "mickey cannot trust the key of this node; its screen says why" in errors(b)
    assert not re.search(r"\d{4} \d{4}\n", a.output())
    assert trusted(minnie) == []
    a, b = mickey.start_pairing("--new-identity"), minnie.start_pairing()
    agree(a, b)
    assert trusted(mickey) == ["minnie", "minnie"]
    # A rotation is signed by the trusted key, so it needs no such word.
    minnie.command("keys", "rotate", "--what", "identity")
    mickey.command("keys", "retire", "--peer", "minnie")
    sync.pair_keys(mickey, minnie)
    assert len({key["fingerprint"] for key in mickey.json("keys", "list")}) == 2


def test_a_name_that_does_not_fit_is_named(fresh):
    mickey = node_named(fresh, "mickey", peer="donald")
    minnie = node_named(fresh, "minnie")
    wire(fresh, mickey, minnie)
    a, b = mickey.start_pairing(), minnie.start_pairing()
    assert ("it is 'minnie', and the conn expects 'donald': write rightid=minnie into the conn, or "
            "node=donald there") in errors(a)
    assert "mickey expects another name than that of this node" in errors(b)
    assert trusted(mickey) == trusted(minnie) == []
    mickey.each = {"donald": {"rightid": "minnie"}}
    mickey.write_config()
    a, b = mickey.start_pairing(), minnie.start_pairing()
    assert sync.code_shown(a) == sync.code_shown(b)
