"""Measure echod and its peers in turn on this machine, check every byte, and tell how they compare."""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import signal
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import growth
import metrics
import page
import report
import rules
from generator import BenchmarkError, Generator
from peers import PEERS
from plan import FULL, QUICK

if TYPE_CHECKING:
    from collections.abc import Callable

    from plan import Figures, Plan
    from report import Samples
    from servers import Peer

GROWING = ("echod", "textbook")  # how cost grows: echod's, and the kernel's part of it


def note(text: str) -> None:
    """Print progress to stderr, apart from the results."""
    print(text, file=sys.stderr, flush=True)


def chosen(names: str | None, known: list[str], what: str) -> list[str]:
    """Return the names asked for, in the order of the known ones; all where None."""
    wanted = names.split(",") if names else known
    if unknown := sorted(set(wanted) - set(known)):
        raise BenchmarkError(f"{unknown[0]}: no such {what}; there are {', '.join(known)}")
    return [name for name in known if name in wanted]


def present(names: list[str], *, insist: bool) -> list[Peer]:
    """Return those that are installed; say which are not. Raises BenchmarkError for one that was asked for."""
    here = []
    for peer in (PEERS[name] for name in names):
        if reason := peer.missing():
            if insist:
                raise BenchmarkError(f"{peer.name}: {reason}")
            note(f"left out: {reason}")
        else:
            here.append(peer)
    return here


class Failures(list[str]):
    """What went wrong, a line each. A peer that fails lacks those figures; the run goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.serious = False
        self.given_up: set[tuple[str, str]] = set()  # not tried again: what hangs takes 10 s each time

    def attempt(self, peer: Peer, group: str, measure: Callable[..., dict[str, Any]], *how: Any) -> dict[str, Any]:
        """Return what was measured; nothing for a failure, and after one that was known."""
        if (peer.name, group) in self.given_up:
            return {}
        try:
            return measure(peer, *how)
        except (BenchmarkError, OSError) as error:
            known = group in peer.excused[0] and peer.excused[1] in str(error)
            self.serious |= not known
            if known:
                self.given_up.add((peer.name, group))
            self.append(f"{peer.title}, {group}: {error}{' (known)' if known else ''}")
            note(self[-1])
            return {}


def measure_group(peer: Peer, group: str, generator: Generator, plan: Plan) -> Figures:
    """One group of figures, of a fresh server."""
    with peer.serving() as server:
        return metrics.GROUPS[group](server, generator, plan)


def takes_part(peer: Peer, group: str) -> bool:
    """Return True if a group of figures is taken of this server."""
    if group in rules.GROUPS:
        return peer.name == "echod"
    return group not in metrics.FEW or peer.name in metrics.COMPARED


def measure_rounds(
    peers: list[Peer], groups: list[str], generator: Generator, arguments: argparse.Namespace, failures: Failures
) -> Samples:
    """Run all of it, round by round: A B C, B C A, …; a drift of the machine affects all alike."""
    samples: Samples = {peer.name: {} for peer in peers}
    plan = QUICK if arguments.quick else FULL
    began = time.monotonic()
    for number in range(arguments.rounds):
        turn = number % len(peers)
        for group in groups:
            if number >= metrics.ROUNDS.get(group, arguments.rounds):
                continue
            for peer in peers[turn:] + peers[:turn]:
                if arguments.quick and group in peer.excused[0]:
                    continue  # where it hangs that is 10 s
                if not takes_part(peer, group):
                    continue
                if group in rules.GROUPS:
                    figures = failures.attempt(peer, group, rules.GROUPS[group], generator, plan)
                else:
                    figures = failures.attempt(peer, group, measure_group, group, generator, plan)
                for key, value in figures.items():
                    samples[peer.name].setdefault(key, []).append(value)
        note(f"round {number + 1} of {arguments.rounds} done, {time.monotonic() - began:.0f} s")
    return samples


def facts_of(peers: list[Peer]) -> list[str]:
    """Return machine, versions, command: what the figures belong to. Taken before the run loads the machine."""
    command = f"{os.path.basename(sys.executable)} {shlex.join(sys.argv)}"
    versions = "; ".join(f"{peer.title} {peer.version()}" for peer in peers)
    return [*report.machine(), versions, f"`{command}`"]


def benchmark(arguments: argparse.Namespace) -> bool:
    """Measure, print, and write what is to be written. False: a wrong byte, or a server that failed."""
    groups = chosen(arguments.metrics, [*metrics.GROUPS, *rules.GROUPS, "growth"], "metric")
    peers = present(chosen(arguments.peers, list(PEERS), "peer"), insist=arguments.peers is not None)
    if not peers:
        raise BenchmarkError("no server is left to measure")
    if arguments.quick and not arguments.metrics:
        groups = [group for group in groups if group not in metrics.LONG]
    facts = facts_of(peers)
    failures = Failures()
    grown: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="echod-benchmark-") as directory:
        generator = Generator(directory)
        samples = measure_rounds(peers, [g for g in groups if g != "growth"], generator, arguments, failures)
        for peer in peers if "growth" in groups else []:
            if peer.name in GROWING:
                note(f"how cost grows: {peer.title}")
                if taken := failures.attempt(peer, "growth", growth.measure, generator):
                    grown[peer.name] = taken
    facts += [*report.unfinished(samples, peers), *(f"failed: {failure}" for failure in failures)]
    print(report.processor(), *facts, sep="\n")
    print("", report.comparison(samples, peers), sep="\n\n")
    if "echod" in samples:
        print(report.reach(samples))
    if grown:
        print(report.growth(grown, peers))
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"facts": facts, "samples": samples, "growth": grown}, file, indent=1)
    if not arguments.quick and not arguments.peers and not arguments.metrics:
        note("wrote " + ", ".join(page.write(samples, peers, grown, facts, arguments.rounds)))
    return not failures.serious


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="benchmark", description=__doc__)
    parser.add_argument("--rounds", type=int, default=12, metavar="N", help="rounds over all peers (default: 12)")
    parser.add_argument("--peers", metavar="A,B", help=f"only these of {', '.join(PEERS)}; writes no page")
    parser.add_argument(
        "--metrics", metavar="A,B", help=f"only these of {', '.join([*metrics.GROUPS, *rules.GROUPS])}, growth; no page"
    )
    parser.add_argument("--json", metavar="FILE", help="write every single figure there")
    parser.add_argument("--quick", action="store_true", help="one short round: does it work, is every byte right")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds: at least 1")
    arguments.rounds = 1 if arguments.quick else arguments.rounds
    return arguments


def main() -> int:
    """Return the exit code: 1 for a wrong byte or a peer that failed, whatever its speed."""
    arguments = parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end the servers first
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for servers that keep all clients in one process
    try:
        return 0 if benchmark(arguments) else 1
    except (BenchmarkError, OSError) as error:
        note(f"benchmark: {error}")
        return 1
    except KeyboardInterrupt:
        note("benchmark: interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
