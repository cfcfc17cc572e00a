from __future__ import annotations

import re
from itertools import pairwise

import pytest

from echod.cli.status.openmetrics import METRICS, escaped, metrics
from echod.cli.status.snapshot import snapshot
from support.daemon import SOURCE
from support.wait import need_module

PARSERS = ("prometheus_client.openmetrics.parser", "prometheus_client.parser")


@pytest.fixture(params=PARSERS, ids=["openmetrics", "prometheus"])
def samples(request):
    """Return a function that parses a text, as each of the two formats, into values by name and label."""
    parser = need_module(request.param)

    def samples(text):
        families = list(parser.text_string_to_metric_families(text))
        assert all(family.documentation for family in families)
        return {
            (sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples
        }

    return samples


def test_both_formats_read_what_is_in_the_snapshot(board, samples):
    state = snapshot(board.copy()) | {"full_for": 3.2, "accept_queue": 17, "log_lines_lost": 2}
    found = samples(metrics(state, 1763740000.1234))
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


def test_a_reload_that_failed_and_a_queue_that_cannot_be_told(board, samples):
    board.set_texts(last_reload="/etc/echod.conf:2: max_children: 'many'")
    found = samples(metrics(snapshot(board.copy()) | {"accept_queue": None}))
    assert found["echod_config_last_reload_successful",] == 0
    assert ("echod_accept_queue_length",) not in found
    assert found["echod_full_seconds",] == 0


def test_where_no_daemon_runs_there_is_one_metric(samples):
    assert samples(metrics(None)) == {("echod_up",): 0}


def test_any_version_can_be_in_a_label(board, samples):
    odd = 'a"b\\c\nd'
    assert escaped(odd) == r"a\"b\\c\nd"
    assert ("echod_build_info", odd) in samples(metrics(snapshot(board.copy()) | {"version": odd}))


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
