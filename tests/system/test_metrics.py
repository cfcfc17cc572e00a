"""`echod status --openmetrics` with the tools that read it: promtool, node_exporter, Prometheus; and its timer."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from urllib.parse import urlencode

import pytest

from support.sockets import exchange, port_of_its_own
from support.systemd_box import UNITS, EchodBox
from support.wait import DEADLINE, need, wait_for

RULES = UNITS.parent / "etc" / "prometheus"
SERVICE, METRICS, TIMER = (UNITS / f"echod{name}" for name in (".service", "-metrics.service", "-metrics.timer"))


def get(url):
    """Return what a server of the test's answers, an empty string while it does not."""
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
            return answer.read().decode()
    except OSError:
        return ""


@pytest.fixture
def spawn():
    """Return a function that starts a program, which ends with the test."""
    started = []

    def spawn(*command):
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    yield spawn
    for process in started:
        process.terminate()
        process.wait(DEADLINE)


def test_promtool_has_nothing_to_say_of_it(running):
    promtool = need("promtool")
    exchange(running.address, b"hello")
    running.wait_idle()
    for code in (0, 3):
        text = running.run("status", "--openmetrics", check=code).stdout
        done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        running.run("stop", check=0)


def test_the_alerts_are_raised_when_they_are_to_be():
    promtool = need("promtool")
    for command in (["check", "rules", "echod.rules.yml"], ["test", "rules", "echod.test.yml"]):
        done = subprocess.run([promtool, *command], cwd=RULES, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_query_returns_what_the_clients_did(running, tmp_path, spawn):
    exporter, prometheus = need("prometheus-node-exporter"), need("prometheus")
    textfiles, ports = tmp_path / "textfiles", (port_of_its_own(), port_of_its_own())
    textfiles.mkdir()
    spawn(
        exporter, "--collector.disable-defaults", "--collector.textfile",
        f"--collector.textfile.directory={textfiles}", f"--web.listen-address=127.0.0.1:{ports[0]}",
    )  # fmt: skip
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES / "echod.rules.yml")],
        "scrape_configs": [{"job_name": "node", "static_configs": [{"targets": [f"127.0.0.1:{ports[0]}"]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    spawn(
        prometheus, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{ports[1]}",
    )  # fmt: skip

    def query(text):
        answer = get(f"http://127.0.0.1:{ports[1]}/api/v1/query?{urlencode({'query': text})}")
        return [float(series["value"][1]) for series in json.loads(answer)["data"]["result"]] if answer else []

    def export(code=0):
        new = textfiles / "echod.prom.new"
        new.write_text(running.run("status", "--openmetrics", check=code).stdout)
        new.rename(textfiles / "echod.prom")

    for size in (1000, 234):
        exchange(running.address, b"x" * size)
    running.wait_idle()
    export()
    wait_for(lambda: query("echod_received_bytes_total") == [1234], "the bytes", 2 * DEADLINE)
    assert query("echod_connections_closed_total{reason='eof'}") == [2]
    assert query("sum(echod_connections_closed_total)") == query("echod_connections_accepted_total") == [2]
    with running.connect() as conn:
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
        wait_for(lambda: running.status()["clients"] == 1, "the client")
        export()
        wait_for(lambda: query("echod_clients") == [1], "the client")
    running.run("stop", check=0)
    export(3)
    wait_for(lambda: query('ALERTS{alertname="EchodDown", alertstate="pending"}') == [1], "the alert")


def test_the_timer_as_it_is_shipped(tmp_path):
    box = EchodBox(tmp_path, SERVICE, METRICS, TIMER)
    try:
        box.run("mkdir -p /var/lib/prometheus/node-exporter")
        box.run("systemd-analyze verify --man=no /etc/systemd/system/echod-metrics.timer")
        box.run("systemctl start echod echod-metrics.timer")

        def has(line):
            box.run("systemctl start echod-metrics.service")
            return line in box.run("cat /var/lib/prometheus/node-exporter/echod.prom").splitlines()

        wait_for(lambda: box.run("ls /var/lib/prometheus/node-exporter").split() == ["echod.prom"], "the timer")
        assert box.echo("hello") == "hello"
        wait_for(lambda: has("echod_received_bytes_total 5"), "what the client did")
        assert has("echod_accept_queue_length 0"), "of the daemon's network, not the unit's"
        box.run("systemctl stop echod")
        assert has("echod_up 0")
        assert box.show("Result", "echod-metrics.service") == "success"
    finally:
        box.close()
