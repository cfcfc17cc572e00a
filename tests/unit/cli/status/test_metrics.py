from __future__ import annotations

import re
from itertools import pairwise

import pytest

from echod.cli.status.metrics import METRICS, escaped, metrics
from echod.cli.status.snapshot import snapshot
from echod.common import scoreboard
from support.daemon import SOURCE
from support.wait import need_module

PARSERS = {True: "prometheus_client.openmetrics.parser", False: "prometheus_client.parser"}
PID_FILE = "/run/echod/echod.pid"


class Reader:
    """One of the two formats, read by the parser that defines it."""

    def __init__(self, *, openmetrics):
        self.openmetrics = openmetrics
        self.parser = need_module(PARSERS[openmetrics])

    def families(self, state, started=0.0, pid_file=PID_FILE):
        """Write a snapshot and return what the parser reads."""
        text = metrics(state, pid_file, started, openmetrics=self.openmetrics)
        return list(self.parser.text_string_to_metric_families(text))

    def samples(self, state, started=0.0, pid_file=PID_FILE):
        """Return the values by name and label."""
        families = self.families(state, started, pid_file)
        assert all(family.documentation for family in families)
        found = {}
        for sample in (sample for family in families for sample in family.samples):
            assert sample.labels.pop("pid_file") == pid_file
            found[sample.name, *sample.labels.values()] = sample.value
        return found


@pytest.fixture(params=[True, False], ids=["openmetrics", "prometheus"])
def form(request):
    """Return one of the two formats."""
    return Reader(openmetrics=request.param)


def test_both_formats_read_what_is_in_the_snapshot(board, form):
    state = snapshot(board.copy()) | {"full_for": 3.2, "accept_queue": 17, "log_lines_lost": 2}
    found = form.samples(state, 1763740000.1234)
    assert {key[0] for key in found} == set(METRICS)
    assert found["echod_up",] == 1
    assert found["echod_build_info", state["version"]] == 1
    assert [found["echod_state", name] for name in ("starting", "running", "draining")] == [0, 1, 0]
    assert found["echod_start_time_seconds",] == 1763740000.123
    clients = ("echod_clients", "echod_clients_limit", "echod_clients_peak")
    assert [found[name,] for name in clients] == [3, 256, 4]
    assert (found["echod_full_seconds",], found["echod_accept_queue_length",]) == (3.2, 17)
    assert found["echod_connections_accepted_total",] == 4
    assert found["echod_connections_closed_total", "eof"] == 1
    assert found["echod_connections_refused_total", "access"] == 1
    assert found["echod_connections_refused_total", "over_limit"] == 0, "a counter is there before it counts"
    assert (found["echod_received_bytes_total",], found["echod_sent_bytes_total",]) == (115, 109)
    assert (found["echod_config_generation",], found["echod_config_last_reload_successful",]) == (1, 1)
    assert found["echod_log_lines_lost_total",] == 2


def test_a_reload_that_failed_and_a_queue_that_cannot_be_told(board, form):
    board.set_texts(last_reload="/etc/echod.conf:2: max_children: 'many'")
    found = form.samples(snapshot(board.copy()) | {"accept_queue": None})
    assert found["echod_config_last_reload_successful",] == 0
    assert ("echod_accept_queue_length",) not in found
    assert found["echod_full_seconds",] == 0


def test_where_no_daemon_runs_there_is_one_metric(form):
    assert form.samples(None) == {("echod_up",): 0}


def test_any_version_can_be_in_a_label(board, form):
    odd = 'a"b\\c\nd'
    assert escaped(odd) == r"a\"b\\c\nd"
    assert ("echod_build_info", odd) in form.samples(snapshot(board.copy()) | {"version": odd})


def test_each_counter_is_declared_as_one_and_all_else_as_a_gauge(board, form):
    families = form.families(snapshot(board.copy()) | {"accept_queue": 0})
    kinds = {family.name.removesuffix("_total"): family.type for family in families}
    assert kinds == {name.removesuffix("_total"): kind for name, (kind, _, _) in METRICS.items()}


def test_only_openmetrics_has_an_end(board):
    text = metrics(snapshot(board.copy()), PID_FILE, openmetrics=True)
    assert text.endswith("\n# EOF")
    assert "# TYPE echod_sent_bytes counter" in text
    assert "# EOF" not in metrics(snapshot(board.copy()), PID_FILE)


def test_what_another_process_has_forged_cannot_reach_a_terminal_or_a_parser(board, form):
    board.words[scoreboard.CLOSED] = board.words[scoreboard.BYTES_IN] = -(2**63)
    board.words[scoreboard.START_TIME] = board.words[scoreboard.PEAK] = 2**63 - 1
    state = snapshot(board.copy()) | {"version": "\x1b[2J\udcff\r"}
    assert form.samples(state)["echod_connections_closed_total", "eof"] == 0
    assert metrics(state, "/\x1b", openmetrics=form.openmetrics).replace("\n", "").isprintable()


def test_any_pid_file_can_be_in_a_label(form):
    assert form.samples(None, pid_file='/a b/"c"\\\n,}') == {("echod_up",): 0}


def test_the_manual_lists_them():
    found = {}
    lines = (SOURCE.parent.parent / "man" / "echod.8").read_text().splitlines()
    for line, following in pairwise(lines):
        if match := re.fullmatch(r"\.It Li (echod_\w+)(?: Pq Va (\w+))?", line):
            found[match[1]] = (match[2] or "", following)
    assert found == {name: (label, text) for name, (_, label, text) in METRICS.items()}


def test_names_follow_the_conventions():
    for name, (kind, label, text) in METRICS.items():
        assert name.endswith("_total") == (kind == "counter")
        assert text.endswith(".")
        assert label != "instance"
