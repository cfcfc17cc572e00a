"""RESULTS.md, its picture and the README's figures: the last full runs, to be read without running it."""

from __future__ import annotations

import os
import re
import textwrap
from typing import TYPE_CHECKING, Any

import goals
import picture
import report
from generator import HERE, BenchmarkError

if TYPE_CHECKING:
    from goals import Medians
    from report import Samples
    from servers import Peer

RESULTS, PICTURE = os.path.join(HERE, "RESULTS.md"), os.path.join(HERE, "results.svg")
README = os.path.join(os.path.dirname(HERE), "README.md")
WIDTH = 120
HEAD = """# Benchmark results

The last run on each kind of processor, the latest first. What each figure means: [README.md](README.md).

![The latest run as a picture](results.svg)

"""
SECTION = """## {processor}

{facts}

{reach}
Medians over {rounds} rounds ± the interquartile range, as a share of the median; figures without it were taken once.

{comparison}
{growth}"""
SENTENCES = """As [`make bench`](benchmarks/README.md) measured last ([all figures](benchmarks/RESULTS.md)) on
{processor}, echod makes {rate} connections a second for 8 clients that connect, send 64 bytes and close: {loop} of
what the smallest loop in Python makes that accepts and forks, {socketserver} times CPython's ForkingTCPServer,
{tcpserver} times tcpserver with cat. A message of 64 KiB is back in {message} µs (the best of the others that fork, C
included: {best_message}), bulk of 16 clients moves {bulk} MB/s ({best_bulk}), {held} clients are held at once, and an
idle one has {private} KiB to itself (the smallest loop {private_loop}, ForkingTCPServer {private_socketserver}, C
{private_c}). The connection rates of C ({rate_c}), xinetd ({rate_xinetd}) and socat ({rate_socat}) cannot be had with
a fork in Python, which copies an interpreter's page tables: if you need many short connections a second, use a server
that does not fork."""
BLOCK = re.compile(r"(<!-- figures of the last `make bench` -->\n).*?(\n<!-- end of figures -->)", re.DOTALL)


def merge(page: str, section: str) -> str:
    """Return the page with this section first, in place of the one of the same title."""
    title = section.partition("\n")[0]
    sections = re.split(r"(?m)^(?=## )", page)[1:]
    kept = [text.strip() + "\n" for text in sections if text.partition("\n")[0] != title]
    return HEAD + "\n".join([section.strip() + "\n", *kept])


def sentences(medians: Medians, processor: str) -> str:
    """Return what the README says. Raises KeyError where a figure is missing."""

    def rate(peer: str) -> float:
        return medians[peer]["connect.8.rate"]

    def figure(peer: str, key: str) -> str:
        return report.show(medians[peer][key])

    others = [medians[peer] for peer in goals.FORKING]
    own, private = rate("echod"), "memory.1000.private"
    message, bulk = "messages.64.p50", "bulk.16.rate"
    text = SENTENCES.format(
        processor=processor,
        rate=report.show(own),
        loop=report.show(own / rate("smallest")),
        socketserver=report.show(own / rate("socketserver")),
        tcpserver=report.show(own / rate("tcpserver")),
        message=figure("echod", message),
        best_message=report.show(min(other[message] for other in others if message in other)),
        bulk=figure("echod", bulk),
        best_bulk=report.show(max(other[bulk] for other in others if bulk in other)),
        private=figure("echod", private),
        private_c=figure("textbook", private),
        private_loop=figure("smallest", private),
        private_socketserver=figure("socketserver", private),
        rate_c=figure("textbook", "connect.8.rate"),
        rate_xinetd=figure("xinetd", "connect.8.rate"),
        rate_socat=figure("socat", "connect.8.rate"),
        held=figure("echod", "most.held"),
    )
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def replace(readme: str, text: str) -> str:
    """Return the README with these sentences. Raises BenchmarkError when it has no place for them."""
    if not BLOCK.search(readme):
        raise BenchmarkError("README.md: the comments around the figures are missing")
    return BLOCK.sub(lambda found: found[1] + text + found[2], readme)


def rewrite(path: str, text: str) -> None:
    """Replace a file."""
    with open(path, "w") as file:
        file.write(text)


def write(
    samples: Samples, peers: list[Peer], grown: dict[str, dict[str, Any]], facts: list[str], rounds: int
) -> list[str]:
    """Write all three and return their paths; README keeps its figures where one is missing."""
    processor, medians = report.processor(), report.medians(samples)
    section = SECTION.format(
        processor=processor,
        facts="\n".join(f"- {fact}" for fact in facts),
        reach=report.reach(samples),
        rounds=rounds,
        comparison=report.comparison(samples, peers),
        growth=report.growth(grown, peers) if grown else "",
    )
    with open(RESULTS) as file:
        rewrite(RESULTS, merge(file.read(), section))
    picture.draw(medians, peers, processor, PICTURE)
    try:
        text = sentences(medians, processor)
    except KeyError:
        return [RESULTS, PICTURE]
    with open(README) as file:
        rewrite(README, replace(file.read(), text))
    return [RESULTS, PICTURE, README]
