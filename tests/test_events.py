from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from support.daemon import SOURCE
from support.events import EVENTS, RELIABLE

README = (Path(__file__).parents[1] / "README.md").read_text()
LEVELS = ("error", "warning", "info", "debug")
CALLS = {*LEVELS, "limited", "write", "format", "_debug"}
OTHER_KEYS = {"killed", "what", "why"}  # of what went wrong: the row's last column says which


def template(node):
    """Return the text of a string or an f-string, with {} for what is not constant; nothing for another node."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return ""


def logged():
    """Yield (call, text) for each line that the server's code logs."""
    for path in [path for folder in ("server", "session", "log") for path in (SOURCE / folder).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            call = getattr(node, "func", None)
            name = getattr(call, "attr", getattr(call, "id", None))  # of a method or a function
            for argument in node.args if isinstance(node, ast.Call) and name in CALLS else ():
                if re.match(r"[a-z]+( \w+=|$)", text := template(argument)):
                    yield name, text
            if isinstance(node, ast.Assign) and re.match(r"[a-z]+ \w+=", text := template(node.value)):
                yield "", text


LOGGED = sorted(set(logged()))


def test_each_event_is_logged_somewhere_and_no_other():
    verbs = {text.split()[0] for _, text in LOGGED}
    assert verbs | {"read", "write", "upgrade"} >= set(EVENTS)
    assert verbs <= set(EVENTS)


@pytest.mark.parametrize(("call", "text"), LOGGED)
def test_level_and_keys_are_those_of_the_table(call, text):
    level, keys, _ = EVENTS[text.split()[0]]
    found = set(re.findall(r"(\w+)=", text))
    assert found - OTHER_KEYS <= set(keys.split())
    if call in LEVELS and not found & OTHER_KEYS:
        assert call == level


def test_what_programs_may_rely_on_is_in_the_readme():
    section = README.partition("\n## The log\n")[2].partition("\n## ")[0]
    assert set(RELIABLE) <= set(EVENTS)
    assert [verb for verb in RELIABLE if f"`{verb}`" not in section] == []


@pytest.mark.parametrize("row", EVENTS.values(), ids=EVENTS)
def test_a_row_has_a_level_and_says_when(row):
    level, _, when = row
    assert level in LEVELS
    assert when
