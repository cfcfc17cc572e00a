from __future__ import annotations

import re
import textwrap
from typing import get_type_hints

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from echod.common.config import settings as config
from echod.common.config.addresses import Address
from echod.common.config.networks import Network
from echod.common.config.settings import SETTINGS, Config
from echod.common.errors import BAD_CONFIG, ConfigError
from support.daemon import SOURCE
from support.sockets import settings

SAMPLE = SOURCE.parents[1] / "etc" / "echod.conf"

GOOD = {
    "listen": ("*:0, 127.0.0.1:7 [::1]:7", (("*", 0), ("127.0.0.1", 7), ("::1", 7))),
    "backlog": ("1", 1),
    "max_children": ("65536", 65536),
    "over_limit": ("refuse", "refuse"),
    "max_children_per_source": ("65536", 65536),
    "allow": ("10.0.0.0/8", ((32, 10 << 24, 8),)),
    "deny": ("::/0", ((128, 0, 0),)),
    "proxy_from": ("192.0.2.0/24 ::1", ((32, 0xC0000200, 24), (128, 1, 128))),
    "idle_timeout": ("never", None),
    "max_lifetime": ("1ms", 0.001),
    "drain_timeout": ("0s", 0.0),
    "keepalive": ("1s", 1.0),
    "user": ("www-data", "www-data"),
    "group": ("33", "33"),
    "pid_file": ("/run/a b.pid", "/run/a b.pid"),
    "directory": ("/var", "/var"),
    "umask": ("077", 0o77),
    "log": ("/var/log/echod.log", "/var/log/echod.log"),
    "log_level": ("debug", "debug"),
    "syslog_facility": ("local7", "local7"),
    "log_clients": ("no", False),
    "log_summary": ("192.0.2.10", ((32, 0xC000020A, 32),)),
    "banner": ("echo on %h port %p", "echo on %h port %p"),
    "delay": ("1s", 1.0),
    "close_after": ("1024", 1024),
}
BAD = {
    "listen": ["", "*", "*:65536", "*:7, *:7"],
    "backlog": ["", "0", "65536", "many"],
    "max_children": ["", "0", "65537"],
    "over_limit": ["", "drop"],
    "max_children_per_source": ["", "-1"],
    "allow": ["10.0.0.1/8", "localhost"],
    "deny": ["::1/129", "::1, ::1"],
    "proxy_from": ["balancer", "10.0.0.1/8"],
    "idle_timeout": ["", "0s", "10"],
    "max_lifetime": ["", "0s", "soon"],
    "drain_timeout": ["", "-1s"],
    "keepalive": ["", "0s", "999ms"],
    "user": ["", "a b"],
    "group": ["a:b"],
    "directory": [""],
    "umask": ["", "9", "1000"],
    "log": ["echod.log", "sys log", "~/echod.log", ".hidden"],
    "log_level": ["", "notice"],
    "syslog_facility": ["", "local8"],
    "log_clients": ["", "maybe"],
    "log_summary": ["*", "10.0.0.0/33"],
    "banner": ["x" * 256, "bell \a"],
    "delay": ["", "-1s", "10"],
    "close_after": ["", "0", "-1", "1KiB"],
}


def complaint(*overrides):
    with pytest.raises(ConfigError) as caught:
        settings(*overrides)
    return str(caught.value)


@pytest.fixture
def load(tmp_path):
    """Return a function that loads a file with this text."""

    def load(text, *overrides, base="/base"):
        path = tmp_path / "echod.conf"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return config.load(str(path), overrides, base)

    return load


def test_every_setting_has_a_good_value_here_and_a_default_that_parses():
    assert list(GOOD) == list(SETTINGS)
    assert settings().text("listen") == "*:27978"


@pytest.mark.parametrize("name", SETTINGS)
def test_a_good_value_is_taken_and_written_back(name):
    text, value = GOOD[name]
    found = settings(f"{name}={text}")
    assert getattr(found, name) == value
    assert getattr(settings(f"{name}={found.text(name)}"), name) == value


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_a_bad_value_is_refused_with_key_value_and_what_is_allowed(name, text):
    message = complaint(f"{name}={text}")
    assert message.startswith(f"-o {name}={text}: ")
    assert text in message
    assert "; " in message, "what is allowed, or what to write"
    assert "\n" not in message


def test_the_defaults_are_those_of_the_manual():
    defaults = {name: settings().text(name) for name in SETTINGS}
    assert " ".join(f"{name}={text}" for name, text in defaults.items()) == (
        "listen=*:27978 backlog=4096 max_children=256 over_limit=queue max_children_per_source=0 allow= deny= "
        "proxy_from= idle_timeout=10min max_lifetime=never drain_timeout=10s keepalive=1min user=nobody group= "
        "pid_file= directory=/ umask=022 log=stderr log_level=info syslog_facility=daemon log_clients=yes log_summary= "
        "banner= delay=0s close_after=never"
    )


def test_config_declares_the_settings_and_no_others():
    assert list(Config.__annotations__) == list(SETTINGS)


def test_values_have_the_type_that_config_declares():
    found, hints = settings(), get_type_hints(Config, {"Address": Address, "Network": Network})
    for name in SETTINGS:
        value, hint = getattr(found, name), hints[name]
        assert isinstance(value, getattr(hint, "__origin__", None) or hint), name


def test_a_config_is_never_changed():
    with pytest.raises(AttributeError, match="replaced"):
        settings().backlog = 1


def test_a_config_error_has_its_exit_code():
    with pytest.raises(ConfigError) as caught:
        settings("x")
    assert caught.value.code == BAD_CONFIG


def test_a_bad_value_is_named_with_file_and_line(load, tmp_path):
    with pytest.raises(ConfigError) as caught:
        load("# a comment\n[echod]\n\nbacklog = many\n")
    assert str(caught.value) == (
        f"{tmp_path}/echod.conf:4: backlog: 'many' is not a whole number; allowed: a whole number from 1 to 65535"
    )


def test_an_unknown_setting_is_named_with_the_nearest_known_one(load, tmp_path):
    with pytest.raises(ConfigError) as caught:
        load("[echod]\nmax_childs = 3\n")
    assert str(caught.value) == f"{tmp_path}/echod.conf:2: max_childs: unknown setting; did you mean max_children?"
    assert complaint("Listen=*:7").endswith("did you mean listen?")


def test_the_manual_is_named_if_no_setting_is_near(load, tmp_path):
    with pytest.raises(ConfigError) as caught:
        load("[echod]\ncolour = red\n")
    assert str(caught.value) == f"{tmp_path}/echod.conf:2: colour: unknown setting; man echod.conf lists them"


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('log = "/var/log/echod.log"', '"/var/log/echod.log"'),
        ("pid_file = '/run/e.pid'", "'/run/e.pid'"),
        ('backlog = "5"', '"5"'),
        ('listen = "*:7", "*:8"', '"*:7", "*:8"'),
        ("allow = 10.0.0.0/8, '192.0.2.1'", "'192.0.2.1'"),
    ],
)
def test_quotes_are_to_be_left_out(load, text, quoted):
    with pytest.raises(ConfigError) as caught:
        load(f"[echod]\n{text}\n")
    name = text.split()[0]
    assert f":2: {name}: '" in str(caught.value)
    assert f"'{quoted}'" in str(caught.value)
    assert str(caught.value).endswith("is in quotes; leave them out")


WORDS = [name for name, (text, _) in GOOD.items() if text.isalpha() and name not in ("user", "group")]


@pytest.mark.parametrize("name", WORDS)
def test_words_are_taken_in_any_case(name):
    text, value = GOOD[name]
    for written in (text.upper(), text.title()):
        assert getattr(settings(f"{name}={written}"), name) == value


@pytest.mark.parametrize(
    ("text", "log"), [("None", "none"), ("SYSLOG", "syslog"), ("./none", "/b/./none"), ("/x", "/x")]
)
def test_a_log_is_a_word_or_a_path_with_a_slash(text, log):
    assert config.load("/dev/null", [f"log={text}"], "/b").log == log


def test_a_file_from_another_system_is_taken_as_it_is_meant(load):
    found = load(b"\xef\xbb\xbf[echod]\r\nbacklog = 7  # seven\r\nidle_timeout = 1h30min\t; long\r\nlog=Syslog\r\n")
    assert (found.backlog, found.idle_timeout, found.log) == (7, 5400.0, "syslog")


def test_lists_are_separated_by_commas_or_blanks(load):
    for text in ("10.0.0.0/8,::1,192.0.2.1", "10.0.0.0/8 ::1\t192.0.2.1", " 10.0.0.0/8 , ::1 ,, 192.0.2.1 # three"):
        assert load(f"[echod]\nallow = {text}\n").text("allow") == "10.0.0.0/8, ::1, 192.0.2.1"


def test_a_setting_given_twice_is_named_with_both_lines(load, tmp_path):
    with pytest.raises(ConfigError, match=rf"{tmp_path}/echod.conf:3: umask: set twice, first at .*:2$"):
        load("[echod]\numask = 022\numask = 022\n")
    assert "-o umask=2: set twice, first at -o umask=1" in complaint("umask=1", "umask=2")


def test_overrides_win_over_the_file(load):
    found = load("[echod]\nbacklog = 5\numask = 077\n", "backlog = 6")
    assert (found.backlog, found.umask) == (6, 0o77)


def test_an_override_without_equals_or_with_a_line_break_is_refused():
    for text in ("backlog", "", "backlog=5\numask=0"):
        assert complaint(text).endswith("is not KEY=VALUE")


def test_relative_paths_are_taken_from_the_base(load):
    found = load("[echod]\npid_file = run/e.pid\nlog = ./e.log\n", "directory=..", base="/base/")
    assert (found.pid_file, found.log, found.directory) == ("/base/run/e.pid", "/base/./e.log", "/base/..")


def test_relative_paths_need_a_base(load):
    assert load("[echod]\nlog = stderr\ndirectory = /x\n", base="").log == "stderr"
    with pytest.raises(
        ConfigError, match=r":2: log: './e.log' is relative, and the current directory has been removed"
    ):
        load("[echod]\nlog = ./e.log\n", base="")


def test_the_log_has_the_default_of_who_asks(load):
    assert load("").log == "syslog"
    assert config.load("/dev/null", ["log="], "/", log="stderr").log == "stderr"
    assert config.load("/dev/null", ["log=syslog"], "/", log="stderr").log == "syslog"


KEYS = st.one_of(st.sampled_from(list(SETTINGS)), st.text(max_size=8))
LINES = st.builds(lambda key, equals, text: key + equals + text, KEYS, st.sampled_from(["=", " = ", ""]), st.text())
TEXTS = st.lists(LINES).map(lambda lines: "\n".join(["[echod]", *lines]).encode(errors="surrogatepass"))


@tuned(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.one_of(st.binary(), TEXTS), st.lists(st.one_of(LINES, st.text(st.characters(min_codepoint=0)))))
@example(b"\xef\xbb\xbf[echod]\n", [])
@example(b"[echod]\r\nbacklog = 7\r\n", ["listen=[\udcff]:7"])
def test_no_input_raises_anything_but_its_own_error(tmp_path, content, overrides):
    path = tmp_path / "any.conf"
    path.write_bytes(content)
    try:
        found = config.load(str(path), overrides, "/")
    except ConfigError:
        return
    for name in SETTINGS:
        assert isinstance(found.text(name), str)


@tuned(max_examples=300)
@given(
    st.sampled_from(list(SETTINGS)),
    st.one_of(st.text(), st.from_regex(r"[\[\]*:./0-9a-f, ]*(ms|s|min|h)?", fullmatch=True)),
)
def test_whatever_is_taken_is_written_as_a_text_that_means_the_same(name, text):
    try:
        found = settings(f"{name}={text}")
    except ConfigError:
        return
    assert getattr(settings(f"{name}={found.text(name)}"), name) == getattr(found, name)


def test_the_sample_shows_every_setting_at_its_default_in_order():
    lines = SAMPLE.read_text().splitlines()
    assert lines.count("[echod]") == 1
    body = lines[lines.index("[echod]") + 1 :]
    shown = [line for line in body if re.match(r"#\w+ =", line)]
    assert shown == [f"#{name} = {row.default}".rstrip() for name, row in SETTINGS.items()]
    for line in body:
        assert not line or line in shown or line.startswith("# "), line
        assert len(line) <= 100
    for name in SETTINGS:
        before = body[body.index(next(line for line in shown if line.startswith(f"#{name} ="))) - 1]
        assert before.startswith("# "), f"{name} has no comment"


NOTES = {"at once": "", "new clients": " [a reload: for new clients]", "restart": " [needs a restart]"}


def test_the_sample_says_of_each_setting_what_its_help_says():
    lines = SAMPLE.read_text().splitlines()
    for name, row in SETTINGS.items():
        text = textwrap.wrap(f"{row.help}{NOTES[row.effect]}", 98)
        at = lines.index(f"#{name} = {row.default}".rstrip())
        assert lines[at - len(text) : at] == [f"# {line}" for line in text], name


def test_a_line_of_help_is_one_sentence_with_a_verb():
    for row in SETTINGS.values():
        assert re.fullmatch(r"(Sets|Limits|Closes|Logs|Sends) [^.]*\.", row.help), row.help


def test_the_sample_parses_as_it_is_and_with_every_setting_taken_out_of_its_comment(load):
    text = SAMPLE.read_text()
    wanted = {name: load("").text(name) for name in SETTINGS}
    for sample in (text, re.sub(r"(?m)^#(\w+ =)", r"\1", text)):
        found = load(sample)
        assert {name: found.text(name) for name in SETTINGS} == wanted
