"""`echod status --prometheus` with the tools that read it: promtool, node_exporter, Prometheus; and its timer."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from urllib.parse import urlencode

import pytest

from echod.cli.status.metrics import METRICS
from support.daemon import Echod, give
from support.sockets import exchange, port_of_its_own
from support.systemd_box import UNITS, EchodBox
from support.wait import DEADLINE, need, wait_for

RULES = UNITS.parent / "etc" / "prometheus"
DASHBOARD = UNITS.parent / "etc" / "grafana" / "echod.json"
TEXTFILES = "/var/lib/prometheus/node-exporter"
SERVICE, METRICS_SERVICE, TIMER = (
    UNITS / f"echod{name}" for name in (".service", "-metrics.service", "-metrics.timer")
)


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
        text = running.run("status", "--prometheus", check=code).stdout
        done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        running.run("stop", check=0)


def test_the_alerts_are_raised_when_they_are_to_be():
    promtool = need("promtool")
    for command in (["check", "rules", "echod.rules.yml"], ["test", "rules", "echod.test.yml"]):
        done = subprocess.run([promtool, *command], cwd=RULES, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


class Monitoring:
    """A node_exporter that reads the directory `textfiles`, and a Prometheus that asks it each second."""

    def __init__(self, home, spawn):
        exporter, prometheus = need("prometheus-node-exporter"), need("prometheus")
        self.textfiles = home / "textfiles"
        self.textfiles.mkdir()
        source, self.port = port_of_its_own(), port_of_its_own()
        spawn(
            exporter, "--collector.disable-defaults", "--collector.textfile",
            f"--collector.textfile.directory={self.textfiles}", f"--web.listen-address=127.0.0.1:{source}",
        )  # fmt: skip
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES / "echod.rules.yml")],
            "scrape_configs": [{"job_name": "node", "static_configs": [{"targets": [f"127.0.0.1:{source}"]}]}],
        }
        (home / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        spawn(
            prometheus, f"--config.file={home}/prometheus.yml", f"--storage.tsdb.path={home}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
        )  # fmt: skip

    def ask(self, path, **parameters):
        """Return the data that Prometheus answers with, or an empty list while it does not answer."""
        answer = get(f"http://127.0.0.1:{self.port}/api/v1/{path}?{urlencode(parameters)}")
        return json.loads(answer)["data"] if answer else []

    def query(self, text):
        """Return the values of an expression."""
        found = self.ask("query", query=text)
        return [float(series["value"][1]) for series in found["result"]] if found else []

    def export(self, daemon, code=0, name="echod.prom"):
        """Write what a daemon's status prints, as the timer does."""
        new = self.textfiles / f"{name}.new"
        new.write_text(daemon.run("status", "--prometheus", check=code).stdout)
        new.rename(self.textfiles / name)


@pytest.fixture
def monitoring(tmp_path, spawn):
    return Monitoring(tmp_path, spawn)


def test_a_query_returns_what_the_clients_did(running, monitoring):
    query = monitoring.query
    for size in (1000, 234):
        exchange(running.address, b"x" * size)
    running.wait_idle()
    monitoring.export(running)
    wait_for(lambda: query("echod_received_bytes_total") == [1234], "the bytes", 2 * DEADLINE)
    assert query("echod_connections_closed_total{reason='eof'}") == [2]
    assert query("sum(echod_connections_closed_total)") == query("echod_connections_accepted_total") == [2]
    kinds = {name: entries[0]["type"] for name, entries in monitoring.ask("metadata").items() if "echod" in name}
    assert {name for name, kind in kinds.items() if kind == "counter"} == {name for name in kinds if "_total" in name}
    with running.connect() as conn:
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
        wait_for(lambda: running.status()["clients"] == 1, "the client")
        monitoring.export(running)
        wait_for(lambda: query("echod_clients") == [1], "the client")
    running.run("stop", check=0)
    monitoring.export(running, 3)
    wait_for(lambda: query('ALERTS{alertname="EchodDown", alertstate="pending"}') == [1], "the alert")


def test_two_daemons_on_one_host_are_two(running, public, monitoring):
    home = public / "two"
    home.mkdir()
    give(home)
    other = Echod(home).start(max_children=7)
    try:
        monitoring.export(running)
        monitoring.export(other, name="echod-two.prom")
        wait_for(lambda: monitoring.query("count(echod_up)") == [2], "both", 2 * DEADLINE)
        for daemon, limit in ((running, 256), (other, 7)):
            assert monitoring.query(f'echod_clients_limit{{pid_file="{daemon.pid_file}"}}') == [limit]
        assert monitoring.query("node_textfile_scrape_error") == [0]
    finally:
        other.cleanup()
    monitoring.export(other, 3, "echod-two.prom")
    wait_for(lambda: monitoring.query("echod_up == 0") == [0], "one that does not run")
    assert monitoring.query(f'echod_up{{pid_file="{running.pid_file}"}}') == [1]


def expressions():
    """Return the expressions of the dashboard."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_the_dashboard_has_each_metric_and_no_other():
    board, text = json.loads(DASHBOARD.read_text()), "\n".join(expressions())
    assert set(re.findall(r"echod_\w+", text)) == set(METRICS)
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    assert all(panel["title"] and panel["description"].endswith(".") for panel in board["panels"])
    variables = {variable["name"] for variable in board["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text())) - {"__all", "__rate_interval"} == variables
    for name, (kind, label, _) in METRICS.items():
        uses = [line for line in text.splitlines() if f"{name}{{" in line]
        assert all(("rate(" in line or "increase(" in line) == (kind == "counter") for line in uses), name
        assert not label or f"{{{{{label}}}}}" in DASHBOARD.read_text(), label


def test_prometheus_understands_the_dashboard(running, monitoring):
    monitoring.export(running)
    wait_for(lambda: monitoring.query("echod_up") == [1], "the metrics", 2 * DEADLINE)
    for expression in expressions():
        text = expression.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$pid_file", ".*")
        wait_for(lambda text=text: monitoring.query(text), expression)


def test_the_service_has_few_rights():
    done = subprocess.run(
        [need("systemd-analyze"), "security", "--offline=true", "--threshold=30", METRICS_SERVICE],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-200:]


@pytest.fixture
def box(tmp_path):
    """Yield a booted systemd with the units, where the directory is the user prometheus's, as with Debian."""
    with EchodBox(tmp_path, SERVICE, METRICS_SERVICE, TIMER) as box:
        box.run("getent passwd prometheus || echo prometheus:x:9090:9090::/:/bin/false >>/etc/passwd")
        box.run(f"install -d -o prometheus {TEXTFILES}")
        yield box


def test_the_timer_as_it_is_shipped(box):
    def has(line):
        box.run("systemctl start echod-metrics.service")
        return line in box.run(f"cat {TEXTFILES}/echod.prom").splitlines()

    box.run("systemd-analyze verify --man=no /etc/systemd/system/echod-metrics.timer")
    box.run("systemctl start echod echod-metrics.timer")
    wait_for(lambda: box.run(f"ls -A {TEXTFILES}").split() == ["echod.prom"], "the timer")
    assert box.run(f"stat -c '%U %a' {TEXTFILES}/echod.prom").split() == ["prometheus", "644"]
    assert box.echo("hello") == "hello"
    label = '{pid_file="/run/echod/echod.pid"}'
    wait_for(lambda: has(f"echod_received_bytes_total{label} 5"), "what the client did")
    assert has(f"echod_accept_queue_length{label} 0"), "of the daemon's network, not the unit's"
    box.run("systemctl stop echod")
    assert has(f"echod_up{label} 0")
    assert box.show("Result", "echod-metrics.service") == "success"


@pytest.mark.parametrize("target", [f"{TEXTFILES}/victim", "/dev/full", "/etc"])
def test_links_in_the_directory_lead_nowhere(box, target):
    """User prometheus, whose directory it is, has put links to root's files there, under every name that is known."""
    box.run(f"umask 077; echo precious >{TEXTFILES}/victim")
    for name in ("echod.prom", "echod.prom.new", ".echod.prom.new"):
        box.run(f"ln -s {target} {TEXTFILES}/{name}")
    box.run("systemctl start echod-metrics.service")
    assert box.run(f"cat {TEXTFILES}/victim; ls /etc/echod.prom 2>/dev/null", None).split() == ["precious"]
    assert box.run(f"stat -c %F {TEXTFILES}/echod.prom").strip() == "regular file"
    assert "echod_up" in box.run(f"cat {TEXTFILES}/echod.prom")


def test_where_nothing_can_be_written_no_file_is_left_and_the_old_one_stays(box):
    box.run(f"echo old >{TEXTFILES}/echod.prom; ln -s /dev/null /run/echod.link; mkdir -p /run/echod")
    box.run("ln -s /dev/null /run/echod/echod.pid")  # the state is unknown: exit code 4
    box.run("systemctl start echod-metrics.service", 1)
    assert box.run(f"ls -A {TEXTFILES}; cat {TEXTFILES}/echod.prom").split() == ["echod.prom", "old"]
