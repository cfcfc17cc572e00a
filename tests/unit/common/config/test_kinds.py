from __future__ import annotations

import pytest

from echod.common.config import kinds
from echod.common.config.addresses import parse_address, write_address
from echod.common.config.networks import parse_network, write_network


def refused(parse, text):
    with pytest.raises(ValueError, match=r"^(is|has|names) ") as caught:
        parse(text)
    return str(caught.value)


NUMBER = kinds.integer(1, 65536)


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("007", 7), ("65536", 65536)])
def test_a_whole_number_is_read(text, value):
    assert NUMBER.parse(text) == value


@pytest.mark.parametrize("text", ["", "0", "65537", "-1", "+1", "1.0", "1e3", "0x10", "1_000", "٣", "²", "9" * 5000])
def test_what_is_no_number_in_range_is_refused(text):
    refused(NUMBER.parse, text)


def test_a_number_says_its_range():
    assert NUMBER.allowed == "a whole number from 1 to 65536"


ADDRESSES = kinds.many(parse_address, write_address, "addresses", least=1)
NETWORKS = kinds.many(parse_network, write_network, "networks")


@pytest.mark.parametrize(("text", "mask"), [("0", 0), ("22", 0o22), ("022", 0o22), ("0777", 0o777)])
def test_a_umask_is_octal(text, mask):
    assert kinds.parse_umask(text) == mask


@pytest.mark.parametrize("text", ["", "8", "0o22", "1000", "00022", "-1", "0x7", "2 2", "٢"])
def test_what_is_no_umask_is_refused(text):
    refused(kinds.parse_umask, text)


@pytest.mark.parametrize("text", ["nobody", "65534", "www-data", "DOM\\user"])
def test_a_name_is_read(text):
    assert kinds.parse_name(text) == text


@pytest.mark.parametrize("text", ["", "two words", "a:b", "a,b", "../a", "a\tb"])
def test_what_is_no_name_is_refused(text):
    refused(kinds.parse_name, text)


def test_yes_and_no_have_their_synonyms():
    assert [kinds.parse_bool(word) for word in (*kinds.YES, *kinds.NO)] == [True] * 4 + [False] * 4
    assert kinds.parse_bool("YES") is kinds.parse_bool("On") is True
    for word in ("", "y", "2", "01"):
        refused(kinds.parse_bool, word)


def test_a_choice_is_one_of_its_words():
    kind = kinds.choice("queue", "refuse", "other")
    assert kind.parse("refuse") == kind.parse("Refuse") == "refuse"
    assert kind.allowed == "queue, refuse or other"
    refused(kind.parse, "queued")


def test_a_list_is_split_at_commas_and_blanks():
    assert NETWORKS.write(NETWORKS.parse(" 10.0.0.0/8,, 192.0.2.1\t::1 ")) == "10.0.0.0/8, 192.0.2.1, ::1"
    assert NETWORKS.parse("") == ()


def test_a_list_refuses_repetition_and_names_the_item_that_is_wrong():
    assert refused(ADDRESSES.parse, "") == "is empty"
    assert refused(ADDRESSES.parse, "*:7, *:007") == "names one of them twice"
    assert "'*:x'" in refused(ADDRESSES.parse, "*:7, *:x")


@pytest.mark.parametrize("text", ["syslog", "Stderr", "NONE"])
def test_a_log_is_a_word_in_any_case(text):
    assert kinds.parse_log(text) == text.lower()


@pytest.mark.parametrize("text", ["/a", "./Syslog", "../a"])
def test_a_log_is_a_path(text):
    assert kinds.parse_log(text) == text


@pytest.mark.parametrize("text", ["", "echod.log", "a/b", "~/a", ".a", "syslog:"])
def test_what_is_no_log_is_refused(text):
    refused(kinds.parse_log, text)


def test_quotes_are_refused_and_not_within_a_value():
    for text in ('"a"', "'a", '"'):
        with pytest.raises(ValueError, match="leave them out"):
            kinds.refuse_quotes(text)
    kinds.refuse_quotes("/a'b")
    kinds.refuse_quotes("")
