# SPDX-License-Identifier: ISC
"""What other programs read. encsync metrics, and the same over HTTP from within the sandbox: read by
the readers of Prometheus, true, and of no use to an attacker. And --json, as its schema says."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
from pathlib import Path

import jsonschema
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families

import conntrack
import sync
from lab import PYTHON, wait_for
from pair import CLIENT, SERVER
from promtool import promtool
from schema import holds, schema

pytestmark = pytest.mark.daemon

ROOT = Path(__file__).resolve().parents[2]
ADDRESS, PORT = "127.0.0.1", 9240
OPEN = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
PORTS = range(6000, 6005)


@pytest.fixture(scope="module")
def instances(pair):
    """mickey serves on a port, minnie on a socket."""
    mickey, minnie = both = sync.equip(pair)
    mickey.setup["metricslisten"] = f"{ADDRESS}:{PORT}"
    minnie.setup["metricslisten"] = str(socket_of(minnie))
    for instance in both:
        instance.write_config()
        instance.start()
    sync.wait_in_step(*both)
    return both


def socket_of(instance) -> Path:
    return instance.run_dir / "metrics.sock"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self.path))


def get(instance, path: str = "/metrics", method: str = "GET", headers: dict = {}
        ) -> tuple[int, str, str]:
    """Status, type of the content, content."""
    with instance.node.entered():
        connection = (http.client.HTTPConnection(ADDRESS, PORT, timeout=30)
                      if instance.name == "mickey" else UnixConnection(socket_of(instance)))
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
    return answer.status, answer.getheader("Content-Type"), text


def values(instance) -> dict[tuple, float]:
    """By name and labels, of all samples."""
    text = instance.ask("metrics")
    return {(sample.name, *sorted(sample.labels.items())): sample.value
            for family in open_families(text) for sample in family.samples}


def value(instance, name: str, **labels: str) -> float | None:
    return values(instance).get((f"encsync_{name}", *sorted(labels.items())))


def test_the_readers_of_prometheus_read_it(instances):
    for instance in instances:
        status, kind, text = get(instance, headers=OPEN)
        assert status == 200 and kind.startswith("application/openmetrics-text; version=1.0.0")
        assert len(list(open_families(text))) > 100
        status, kind, text = get(instance)
        assert status == 200 and kind.startswith("text/plain; version=0.0.4")
        assert len(list(families(text))) > 100
        assert get(instance, method="HEAD")[2] == ""


def test_promtool_finds_nothing_wrong(instances):
    mickey, _ = instances
    assert len(list(open_families(mickey.command("metrics").stdout))) > 100
    text = mickey.command("metrics", "--format", "prometheus").stdout
    done = promtool("check", "metrics", input=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    # It does not accept everything.
    assert promtool("check", "metrics", input=text.replace("_bytes_total", "_bytes")).returncode != 0


def test_requests_are_refused_by_name(instances):
    for instance in instances:
        assert get(instance, "/")[::2] == (404, "404: not_found\n")
        assert get(instance, "/metrics", "POST")[::2] == (405, "405: method_not_allowed\n")
        assert get(instance, headers={"X": "x" * 9000})[::2] == (431, "431: too_large\n")
        assert get(instance, headers={"Host ": "bad"})[::2] == (400, "400: bad_request\n")
        for reason in ("not_found", "method_not_allowed", "too_large", "bad_request"):
            assert value(instance, "metrics_refused_total", reason=reason) >= 1


def test_it_is_documented(instances):
    page = (ROOT / "docs/metrics.md").read_text()
    told = {re.sub("_(bucket|sum|count)$", "", name) if "latency" in name else name
            for instance in instances for name, *_ in values(instance)}
    assert {name for name in told if f"| `{name}` |" not in page} == set()


# ---- it is true ------------------------------------------------------------------------------


def flows(pair, ports: range) -> None:
    """On mickey, if they are not there yet."""
    there = {flow.orig.sport for flow in conntrack.table(pair.mickey)}
    for port in set(ports) - there:
        conntrack.insert(pair.mickey, CLIENT[0], SERVER[0], port, 443)


def test_it_says_what_status_says(pair, instances):
    mickey, minnie = instances
    flows(pair, PORTS)
    wait_for(lambda: sum(flow.orig.sport in PORTS for flow in conntrack.table(pair.minnie))
             == len(PORTS), 15, "the flows to reach minnie")
    for instance, other in (mickey, "minnie"), (minnie, "mickey"):
        found, status = values(instance), instance.status()
        (peer,) = status["peers"]
        of_peer = ("peer", other)
        assert found[("encsync_ready",)] == status["ready"] == 1
        assert found[("encsync_peer_up", of_peer)] == 1
        assert found[("encsync_peer_in_step", of_peer)] == 1
        assert found[("encsync_role", ("role", "auto"))] == 1
        assert found[("encsync_role", ("role", "active"))] == 0
        assert not any(count for (name, *_), count in found.items() if name == "encsync_unready")
        assert 0 < found[("encsync_peer_rx_bytes_total", of_peer)] <= peer["rx_bytes"]
        assert 0 < found[("encsync_peer_tx_messages_total", of_peer)] <= peer["tx_messages"]
        assert found[("encsync_peer_ike_established_total", of_peer)] >= 1
        assert found[("encsync_peer_sa_age_seconds", ("direction", "in"), of_peer)] >= 0
        assert found[("encsync_peer_mtu_bytes", of_peer)] == peer["mtu"]
        assert found[("encsync_ruleset_in_place",)] == 1
    # mickey has announced the flows, and minnie has acknowledged them.
    assert value(mickey, "own_states") >= len(PORTS)
    assert value(minnie, "copied_states") >= len(PORTS)
    wait_for(lambda: value(mickey, "peer_lag_seconds", peer="minnie") == 0, 10, "an acknowledgement")
    assert value(mickey, "peer_ack_latency_seconds_count", peer="minnie") >= 1


def test_no_flow_is_in_it(pair, instances):
    """No address of one, and no series for each. (Those of a reason begin with its first case.)"""
    before, more = len(values(instances[0])), range(PORTS.stop, PORTS.stop + 50)
    flows(pair, more)
    wait_for(lambda: value(instances[1], "copied_states") >= len(PORTS) + len(more), 15,
             "the flows to reach minnie")
    assert len(values(instances[0])) < before + len(more)
    for instance in instances:
        text = instance.ask("metrics")
        assert SERVER[0] not in text and CLIENT[0] not in text


def test_lag_grows_while_a_peer_does_not_acknowledge(pair, instances):
    mickey, minnie = instances
    minnie.signal_all(signal.SIGSTOP)
    try:
        flows(pair, range(7000, 7002))
        wait_for(lambda: value(mickey, "peer_lag_seconds", peer="minnie") > 2, 20, "the lag")
        wait_for(lambda: value(mickey, "peer_up", peer="minnie") == 0, 20, "minnie to be missed")
    finally:
        minnie.signal_all(signal.SIGCONT)
    sync.wait_in_step(*instances)
    wait_for(lambda: value(mickey, "peer_lag_seconds", peer="minnie") == 0, 20, "no lag")


# ---- JSON ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["status", "peers", "sas", "states", "talkers", "policy show",
                                     "role", "keys show", "keys list", "keys status", "keys log"])
def test_json_is_what_the_schema_says(pair, instances, command):
    flows(pair, range(8000, 8001))
    rule = schema(command.replace(" show", "") if "policy" in command else command.replace(" ", "-"))
    for instance in instances:
        holds(rule, instance.json(*command.split()))


def test_json_of_what_looks_at_the_machine_is_what_the_schema_says(instances, tmp_path):
    # The clock of this machine may be wrong.
    found = instances[0].command("doctor", "--json", check=False).stdout
    holds(schema("doctor"), json.loads(found))
    holds(schema("report"), instances[0].json("report", str(tmp_path / "report.tar.gz")))


def test_errors_are_json_too(instances):
    failed = instances[0].command("bulk", "goofy", "--json", check=False)
    jsonschema.validate(json.loads(failed.stderr), schema("error"))


# ---- where it is served ----------------------------------------------------------------------


HOLD = """
import socket, sys
s = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("held", flush=True)
sys.stdin.read()
"""


def test_off_by_default_and_a_taken_port_does_not_keep_it_from_syncing(pair, instances):
    mickey, minnie = instances
    mickey.stop()
    del mickey.setup["metricslisten"]
    mickey.write_config()
    mickey.start()
    with pytest.raises(ConnectionRefusedError):
        get(mickey)
    mickey.stop()
    holder = pair.mickey.start(PYTHON, "-c", HOLD, ADDRESS, PORT, stdin=True)
    wait_for(lambda: "held" in holder.output(), 10, "the port to be held")
    mickey.setup["metricslisten"] = f"{ADDRESS}:{PORT}"
    mickey.write_config()
    mickey.start()
    sync.wait_in_step(*instances)
    trouble = f"cannot listen on {ADDRESS}:{PORT}: another program does"
    assert trouble in mickey.log()
    assert trouble in mickey.command("status").stdout
    holder.kill()
    wait_for(lambda: mickey.status()["metrics"]["trouble"] == "", 30, "mickey to listen after all")
    assert get(mickey)[0] == 200
    assert "warning" not in mickey.command("status").stdout


def test_a_stopped_daemon_leaves_no_socket(instances):
    _, minnie = instances
    minnie.stop()
    assert not socket_of(minnie).exists()
    minnie.start()
    assert get(minnie)[0] == 200
    minnie.kill()
    assert socket_of(minnie).exists()
    minnie.start()  # replaces it
    assert get(minnie)[0] == 200
    sync.wait_in_step(*instances)
