from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.common.config import file as configfile
from echod.common.config.file import absolute, nearest, read, read_overrides
from echod.common.config.settings import SETTINGS
from echod.common.errors import ConfigError
from support.processes import NOBODY, isolated
from support.wait import need_root


@pytest.fixture
def lines(tmp_path):
    """Return a function that reads a file with this content."""

    def lines(content):
        path = tmp_path / "echod.conf"
        path.write_bytes(content)
        return [(where.removeprefix(f"{path}:"), key, value) for where, key, value in read(str(path))]

    return lines


def complaint(path):
    with pytest.raises(ConfigError) as caught:
        list(read(str(path)))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(path))


def test_lines_come_with_their_numbers_and_without_blanks(lines):
    text = b"# comment\r\n; another\n\n[echod]\n a = 1 \n\tb=two = words\r\nc =\n"
    assert lines(text) == [("5", "a", "1"), ("6", "b", "two = words"), ("7", "c", "")]


def test_a_comment_begins_a_line_or_stands_after_a_blank(lines):
    text = b"  # a = 1\n[echod] # here\na = 1 # one\nb = 2\t;two # three\nc = 3#4;5\nd = # nothing\ne=#5\n"
    assert lines(text) == [("3", "a", "1"), ("4", "b", "2"), ("5", "c", "3#4;5"), ("6", "d", ""), ("7", "e", "#5")]


def test_a_byte_order_mark_is_no_part_of_the_text(lines):
    assert lines(b"\xef\xbb\xbf[echod]\r\na = 1\r\n") == [("2", "a", "1")]
    assert lines(b"\xef\xbb\xbf# nothing\n") == []


def test_a_last_line_without_an_end_counts(lines):
    assert lines(b"[echod]\na = 1") == [("2", "a", "1")]


def test_an_empty_file_has_no_settings(lines):
    assert lines(b"") == lines(b"[echod]") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = 1\n", ":1: 'a = 1' is before the section; allowed: [echod], then KEY = VALUE lines"),
        (b"[echod]\njust words\n", ":2: 'just words' is not KEY = VALUE; allowed: [echod], then KEY = VALUE lines"),
        (b"[echod]\n= 1\n", ":2: '= 1' is not KEY = VALUE; allowed: [echod], then KEY = VALUE lines"),
        (b"\n[other]\n", ":2: '[other]' is an unknown section; allowed: one section, [echod]"),
        (b"[echod]\n[other]\n", ":2: '[other]' is an unknown section; allowed: one section, [echod]"),
        (b"[echod]\n[echod]\n", ":2: '[echod]' comes twice; allowed: one section, [echod]"),
        (b"[echod]\n\xff\n", ":2: is not UTF-8 text"),
        (b"[echod]\n\na = \0\n", ":3: has a NUL character"),
        (b"\x7fELF\x02\x01\x01\x00\xb7", ":1: is not UTF-8 text"),
    ],
)
def test_a_line_that_is_no_setting_is_named(tmp_path, content, message):
    path = tmp_path / "echod.conf"
    path.write_bytes(content)
    assert complaint(path) == message


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    assert complaint(tmp_path / "none.conf") == ": No such file or directory"
    assert complaint(tmp_path / ("x" * 300)) == ": File name too long"


def test_no_file_at_the_default_place_means_no_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(configfile, "DEFAULT_PATH", str(tmp_path / "echod.conf"))
    assert list(read("")) == []


def test_a_file_at_the_default_place_is_read_and_named(tmp_path, monkeypatch):
    default = tmp_path / "echod.conf"
    monkeypatch.setattr(configfile, "DEFAULT_PATH", str(default))
    default.write_text("[echod]\na = 1\n")
    assert list(read("")) == [(f"{default}:2", "a", "1")]
    default.write_text("a = 1\n")
    with pytest.raises(ConfigError, match=f"^{default}:1: "):
        list(read(""))


def test_a_directory_is_no_config_file(tmp_path):
    assert complaint(tmp_path) == ": Is a directory"


def test_a_fifo_is_refused_rather_than_read_as_empty_or_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    assert "pipe" in complaint(tmp_path / "fifo")


def test_dev_null_is_an_empty_config():
    assert list(read("/dev/null")) == []


def test_a_file_of_more_than_a_mebibyte_is_refused(tmp_path):
    path = tmp_path / "echod.conf"
    path.write_bytes(b"[echod]\n" + b"#" * ((1 << 20) - 8))
    assert list(read(str(path))) == []
    path.write_bytes(b"[echod]\n" + b"#" * ((1 << 20) - 7))
    assert complaint(path) == ": larger than 1 MiB; this is not a config file"
    assert "larger" in complaint("/dev/zero")


def test_a_name_that_no_file_can_have_is_refused():
    for name in ("a\0b", "\ud800"):
        with pytest.raises(ConfigError, match="is not a path"):
            list(read(name))


def test_a_file_that_may_not_be_read_is_an_error(tmp_path):
    need_root()
    path = tmp_path / "echod.conf"
    path.write_text("")
    path.chmod(0)

    def read_as_nobody():
        os.chdir(tmp_path)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        assert complaint("echod.conf") == ": Permission denied"

    isolated(read_as_nobody)


def test_no_descriptor_is_left_open(tmp_path):
    before = os.listdir("/proc/self/fd")
    for path in (tmp_path, "/dev/zero", "/dev/null"):
        try:
            list(read(str(path)))
        except ConfigError:
            continue
    assert os.listdir("/proc/self/fd") == before


def test_overrides_are_read_like_lines():
    assert list(read_overrides(["a=1", " b = x=y "])) == [("-o a=1", "a", "1"), ("-o  b = x=y ", "b", "x=y")]


@pytest.mark.parametrize("text", ["a", "", "=b", " = b", "a=b\nc=d"])
def test_an_override_is_a_key_and_a_value(text):
    with pytest.raises(ConfigError, match="is not KEY=VALUE"):
        list(read_overrides([text]))


def test_an_override_has_no_comments():
    assert list(read_overrides(["a=b # c"])) == [("-o a=b # c", "a", "b # c")]


def test_an_absolute_path_stays_and_a_relative_one_is_below_the_base():
    assert absolute("/a", "", "-c") == "/a"
    assert absolute("a", "/b", "-c") == "/b/a"
    assert absolute("a", "/", "-c") == "/a"
    with pytest.raises(ConfigError, match=r"^-c: is empty"):
        absolute("", "/", "-c")
    with pytest.raises(ConfigError, match=r"^-c: 'a' is relative, and the current directory has been removed"):
        absolute("a", "", "-c")


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("lisen", "listen"),
        ("maxchildren", "max_children"),
        ("user_", "user"),
        ("LISTEN", "listen"),
        ("lsiten", "listen"),
    ],
)
def test_the_nearest_word_has_the_fewest_letters_to_change(word, known):
    assert nearest(word, ["backlog", "user", "max_children", "listen"]) == known


@given(st.text(max_size=30), st.lists(st.text(max_size=30), min_size=1))
def test_the_nearest_word_is_a_known_one_or_none(word, known):
    assert nearest(word, known) in ("", *known)


def test_a_known_word_is_the_nearest_to_itself():
    assert {nearest(name, SETTINGS) for name in SETTINGS} == set(SETTINGS)


@pytest.mark.parametrize("word", ["", "x", "port", "timeout", "bind_address", "=" * 1000])
def test_none_is_the_nearest_where_none_is_near(word):
    assert nearest(word, SETTINGS) == ""
