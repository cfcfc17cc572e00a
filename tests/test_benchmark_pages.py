"""The benchmark's goals and the pages that it writes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE / "benchmarks"))  # its scripts import each other

import goals  # noqa: E402
import metrics  # noqa: E402
import page  # noqa: E402
import picture  # noqa: E402
import run  # noqa: E402
from generator import BenchmarkError  # noqa: E402
from goals import FORKING, Goal  # noqa: E402
from metrics import METRICS  # noqa: E402
from peers import PEERS  # noqa: E402
from report import show  # noqa: E402

MORE = Goal("rate", "rate", ("smallest", "tcpserver"), 0.9, 1.0, least=True)
LESS = Goal("p50", "p50", ("smallest", "tcpserver"), 1.2, 1.0, least=False)
ALONE = Goal("more", "more", (), 64, 0, least=False, unit="KiB")


@pytest.mark.parametrize(
    ("goal", "own", "smallest", "tcpserver", "reached", "verdict"),
    [
        (MORE, 100, 50, 80, 1.25, "aim met"),
        (MORE, 95, 50, 100, 0.95, "met"),
        (MORE, 85, 100, 50, 0.85, "NOT MET"),
        (LESS, 100, 200, 125, 0.8, "aim met"),
        (LESS, 110, 100, 200, 1.1, "met"),
        (LESS, 130, 100, 200, 1.3, "NOT MET"),
        (ALONE, 0, 9, 9, 0, "aim met"),
        (ALONE, 48, 9, 9, 48, "met"),
        (ALONE, 65, 9, 9, 65, "NOT MET"),
    ],
)
def test_a_goal_is_a_ratio_to_the_best_of_its_peers(goal, own, smallest, tcpserver, reached, verdict):
    medians = {"echod": {goal.key: own}, "smallest": {goal.key: smallest}, "tcpserver": {goal.key: tcpserver}}
    assert goal.reached(medians) == pytest.approx(reached)
    assert goal.verdict(goal.reached(medians)) == verdict


@pytest.mark.parametrize("medians", [{}, {"echod": {}}, {"echod": {"rate": 1.0}}, {"smallest": {"rate": 1.0}}])
def test_a_goal_that_was_not_measured_is_not_met(medians):
    assert MORE.verdict(MORE.reached(medians)) == "not measured"


def test_goals_are_of_what_is_measured_and_of_peers_that_there_are():
    assert {goal.key for goal in goals.GOALS} <= {metric.key for metric in METRICS}
    assert {peer for goal in goals.GOALS for peer in goal.peers} <= PEERS.keys()
    assert set(FORKING) == PEERS.keys() - {"echod", "uvloop"}


def test_groups_of_few_servers_are_of_those():
    assert set(metrics.FEW) <= metrics.GROUPS.keys()
    assert set(metrics.COMPARED) <= PEERS.keys()
    taking_part = {name for name, peer in PEERS.items() if run.takes_part(peer, "pace")}
    assert taking_part == set(metrics.COMPARED)
    assert {name for name, peer in PEERS.items() if run.takes_part(peer, "networks")} == {"echod"}
    assert all(run.takes_part(peer, "connect") for peer in PEERS.values())
    assert metrics.ROUNDS.keys() <= metrics.GROUPS.keys()


def medians_of_all():
    return {peer: {metric.key: number * 1000.0 for metric in METRICS} for number, peer in enumerate(PEERS, 1)}


def test_the_table_of_goals_has_a_row_for_each():
    rows = goals.rows(medians_of_all(), show)
    assert [row[0] for row in rows] == [goal.title for goal in goals.GOALS]
    assert not any("not measured" in row for row in rows)


def test_the_page_keeps_the_last_run_of_each_processor():
    text = ""
    for section in ("## Xeon\n\nfirst\n", "## EPYC\n\nsecond\n", "## Xeon\n\nthird\n\n### of it\n"):
        text = page.merge(text, section)
    assert text == page.HEAD + "## Xeon\n\nthird\n\n### of it\n\n## EPYC\n\nsecond\n"


def test_the_page_that_there_is_has_that_form():
    text = (HERE / "benchmarks" / "RESULTS.md").read_text()
    first = text.partition("\n## ")[2]
    section = "## " + first.partition("\n## ")[0]
    assert page.merge(text, section) == text


def test_the_readme_gets_the_figures_in_three_sentences():
    text = page.sentences(medians_of_all(), "AMD EPYC, 2 cores")
    assert "on AMD EPYC, 2 cores, " in text
    assert all(len(sentence.split()) < 70 for sentence in re.split(r"\.\s", text))
    assert text.count(". ") + text.count(".\n") == 2
    assert max(map(len, text.splitlines())) <= 120
    readme = (HERE / "README.md").read_text()
    replaced = page.replace(readme, text)
    assert text in replaced
    assert page.replace(replaced, text) == replaced
    assert replaced.count("\n## ") == readme.count("\n## ")


def test_a_readme_without_a_place_for_them_is_an_error():
    with pytest.raises(BenchmarkError, match="comments around the figures"):
        page.replace("# echod\n", "text")


def test_the_picture_names_the_machine_and_each_server(tmp_path):
    picture.draw(medians_of_all(), list(PEERS.values()), "AMD EPYC", str(tmp_path / "picture.svg"))
    text = (tmp_path / "picture.svg").read_text()
    assert "AMD EPYC" in text
    assert all(text.count(f">{peer.title}<") == 2 for peer in PEERS.values()), "once in each row of panels"
