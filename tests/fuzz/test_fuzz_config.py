"""Whatever is in a config file or after -o: it is taken, or a ConfigError says in one line where and why not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.common.config.settings import SETTINGS
from fuzz.inputs import check_file, check_options, corpus, few_or_many

FILES, OPTIONS = corpus("config"), corpus("options")
WORDS = [*SETTINGS, "[echod]", "never", "yes", "*:7", "[::1]:7", "localhost:0", "10.0.0.0/8", "::/0", "30s", "1h30min"]
SEPARATORS = [
    "=",
    " = ",
    "\n",
    "\r\n",
    ",",
    " ",
    "#",
    ";",
    "\x0b",
    "\x1c",
    "\x85",
    "\u2028",
    "\ufeff",
    "\0",
    "%",
    "/",
    ":",
    "[",
]
pieces = st.one_of(st.sampled_from(WORDS), st.sampled_from(SEPARATORS), st.integers().map(str), st.text(max_size=8))
texts = st.lists(pieces, max_size=20).map("".join)
lines = st.tuples(st.sampled_from([*SETTINGS]), pieces, texts).map(lambda parts: f"{parts[0]}={parts[1]}{parts[2]}")
files = st.one_of(
    st.binary(max_size=200),
    texts.map(lambda text: text.encode(errors="surrogatepass")),
    st.lists(lines, max_size=4).map(lambda found: "\n".join(["[echod]", *found]).encode(errors="surrogatepass")),
)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_the_corpus(tmp_path, name):
    check_file(str(tmp_path / "echod.conf"), FILES[name])


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_the_corpus(name):
    check_options(OPTIONS[name])


options = st.one_of(st.binary(max_size=100), lines.map(lambda text: text.encode(errors="replace")))


@few_or_many
def test_any_file(tmp_path, examples):
    @examples
    @given(files)
    def check(content):
        check_file(str(tmp_path / "echod.conf"), content)

    check()


@few_or_many
def test_any_option(examples):
    examples(given(options)(check_options))()
