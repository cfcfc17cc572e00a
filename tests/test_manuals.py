"""The manuals name what the code has in its tables, all of it and nothing else; and mandoc finds nothing wrong."""

from __future__ import annotations

import argparse
import ast
import re
import signal
import subprocess
from pathlib import Path

import pytest

from echod.cli import main
from echod.cli.status import command
from echod.cli.status.metrics import METRICS
from echod.common import errors
from echod.common.config.settings import SETTINGS
from echod.common.signals_table import HANDLED
from echod.echoc import EchoError, patterns
from echod.echoc import options as echoc_options
from support.daemon import SOURCE
from support.events import RELIABLE
from support.wait import need

MAN = Path(__file__).parent.parent / "man"
PAGES = sorted(MAN.iterdir())
COMMON = {"-c", "-o", "-h", "--help"}


def section(page, title):
    """Return the text of a section."""
    return (MAN / page).read_text().partition(f".Sh {title}\n")[2].partition("\n.Sh ")[0]


def items(text, macro):
    """Return the first word of each item of a list, or those of one such as `.It 129 , 143`."""
    found = re.findall(rf"^\.It {macro} ?(.*)$", text, re.MULTILINE)
    return [word for line in found for word in line.split(" , ")]


def flags(text):
    """Return the options that a text names: `Fl s , Fl Fl size`, `Fl 4 , 6`."""
    short = {
        f"-{flag}"
        for group in re.findall(r"\bFl (\w(?: , \w)*)(?=\s|$)", text, re.MULTILINE)
        for flag in group.split(" , ")
    }
    return short | {f"--{name}" for name in re.findall(r"\bFl Fl ([\w-]+)", text)}


def options_of(parser):
    """Return the options of a parser."""
    return {word for action in parser._actions for word in action.option_strings}


def subparsers():
    (found,) = [action for action in main.parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return found.choices


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_mandoc_finds_nothing_wrong(page):
    done = subprocess.run([need("mandoc"), "-T", "lint", "-W", "warning", page], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_there_is_a_manual_for_each_program_and_for_the_config():
    assert [page.name for page in PAGES] == ["echoc.1", "echod.8", "echod.conf.5"]


def commands():
    """Return the manual's text of each command."""
    parts = re.split(r"^\.It Cm (\w+)", section("echod.8", "COMMANDS"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_commands():
    assert set(commands()) == set(main.COMMANDS)


@pytest.mark.parametrize("name", main.COMMANDS)
def test_options_of_a_command(name):
    assert flags(commands()[name]) | COMMON == options_of(subparsers()[name])


def test_options_of_every_command():
    assert flags(section("echod.8", "DESCRIPTION")) == options_of(main.parser()) >= COMMON


def test_options_of_the_client():
    assert flags((MAN / "echoc.1").read_text()) == options_of(echoc_options.grammar()) - {"-h"}


def test_patterns_of_the_client():
    found = items(section("echoc.1", "DESCRIPTION"), "Cm")
    assert [name for name in found if name in {pattern.name for pattern in patterns.PATTERNS}] == [
        pattern.name for pattern in patterns.PATTERNS
    ]


def test_settings_with_their_defaults_and_what_a_reload_does():
    parts = re.split(r"^\.It Ic (\w+)\n", section("echod.conf.5", "SETTINGS"), flags=re.MULTILINE)
    assert parts[1::2] == list(SETTINGS)
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        default = SETTINGS[name].default
        assert (f"Default:\n.Li {default} .\n" if default else "Default: empty.\n") in text, name
        assert ("for new clients." in text, "needs a restart." in text) == (
            SETTINGS[name].effect == "new clients",
            SETTINGS[name].effect == "restart",
        ), name


def plain(text):
    """Return the text of a paragraph without its macros, up to the end of the first sentence."""
    words: list[str] = []
    for line in text.splitlines():
        macro, *rest = line.split() if line.startswith(".") else ["", *line.split()]
        if macro == ".Xr":
            rest[:2] = [f"{rest[0]}({rest[1]})"]
        words += rest
        if words[-1].endswith("."):
            break
    return re.sub(r" ([,;:.])(?= |$)", r"\1", " ".join(words))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_begins_with_its_line_of_help(name):
    text = section("echod.conf.5", "SETTINGS").partition(f".It Ic {name}\n")[2]
    assert plain(text) == SETTINGS[name].help


def test_words_of_settings():
    text = section("echod.conf.5", "SETTINGS")
    for name in ("over_limit", "log_level"):
        part = text.partition(f".It Ic {name}\n")[2].partition(".It Ic ")[0]
        for word in re.findall(r"\w+", SETTINGS[name].kind.allowed.replace(" or ", " ")):
            assert word in part, (name, word)


def test_signals():
    assert items(section("echod.8", "SIGNALS"), "Dv") == [signal.Signals(number).name for number in HANDLED]


def test_exit_codes():
    codes = {value for name, value in vars(errors).items() if name.isupper() and isinstance(value, int)}
    text = section("echod.8", "EXIT STATUS")
    assert set(map(int, items(text, ""))) == codes | {130}
    listed = re.findall(r"(\d) \w+", text.partition(".Cm status :\n")[2].partition("\n")[0])
    assert list(map(int, listed)) == [command.RUNNING, command.DEAD, command.STOPPED, command.CANNOT_TELL]


def test_exit_codes_of_the_client():
    def below(kind):
        return {kind.code}.union(*(below(other) for other in kind.__subclasses__()))

    signals = {128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    assert set(map(int, items(section("echoc.1", "EXIT STATUS"), ""))) == below(EchoError) | signals | {0}


WORD = 5
MESSAGES_OF = ("connect", "faults", "diagnose", "roundtrip", "check", "probe", "transfer", "duplex", "options", "cli")
NOT_MESSAGES = (" bytes returned by ", "ECHO ", "one byte")  # a check that is OK, a number
HELP = {"grammar", "_add_modes"}  # these functions have the texts of --help


def messages(name):
    """Yield the fixed text of each message in a module of echoc: of f-strings, the longest part."""
    tree = ast.parse((SOURCE / "echoc" / f"{name}.py").read_text())
    others = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    others |= {id(part) for node in tree.body if getattr(node, "name", "") in HELP for part in ast.walk(node)}
    others |= {id(node.value) for node in tree.body if isinstance(node, ast.Assign)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            others |= {id(part) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            found = [part.value for part in node.values if isinstance(part, ast.Constant)]
        else:
            found = [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []
        text = max(map(str, found), key=len, default="")
        if id(node) not in others and re.search(r"[a-z]{2} ", text) and not text.startswith(NOT_MESSAGES):
            yield text.strip()


@pytest.mark.parametrize("name", MESSAGES_OF)
def test_each_message_of_the_client_is_in_its_manual(name):
    text = section("echoc.1", "DIAGNOSTICS")
    assert [message for message in messages(name) if message not in text] == []


def test_each_message_in_the_clients_manual_is_in_the_code():
    code = "".join((SOURCE / "echoc" / f"{name}.py").read_text() for name in (*MESSAGES_OF, "patterns", "report"))
    for item in re.findall(r'^\.It Li "(.*)"$', section("echoc.1", "DIAGNOSTICS"), re.MULTILINE):
        parts = re.split(r"\bN(?: bytes)?\b|0xN+|\b[A-Z]{2,}\b|'X'|--?[XY]\b|\.\.\.", item)
        long = [part.strip(" ();:") for part in parts if len(part) > WORD]
        assert any(part in code for part in long) or item.startswith(ELSEWHERE), item


ELSEWHERE = ("NAME: Name or service not known", "not installed: ")  # the C library's, and __main__'s


def test_log_events():
    assert items(section("echod.8", "LOG"), "Li") == list(RELIABLE)


def test_metrics():
    found = items(section("echod.8", "METRICS"), "Li")
    assert found == [f"{name} Pq Va {label}" if label else name for name, (_, label, _) in METRICS.items()]
