"""Fail each system call of the daemon in turn: `make inject`, or `inject.py --case 'SCENE:CALL:ERRNO:WHEN'` for one.

The model is SQLite, which fails each allocation and each read and write in its tests (sqlite.org/testing.html).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from campaign import cases, report, start
from campaign.scenes import SCENES
from campaign.target import Target

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
TRIES = 3  # a scene is to be played without a fault first
terminated: list[int] = []
NAMES = [start.NAME, *SCENES]


def adopt():
    """Have this process adopt the daemons that it starts, and end with whoever started it."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGTERM, terminate)


def terminate(signum, _frame):
    terminated.append(signum)
    sys.exit(1)


@contextlib.contextmanager
def one_target():
    """Give a daemon for the `with` block."""
    target = Target()
    try:
        yield target
    finally:
        target.close()
        if terminated:
            os._exit(1)  # or a worker of the pool would go on with the next


def observe(name):
    """Return a scene's name, the calls in it, and a row for each time that it failed without any fault."""
    rows: list[report.Row] = []
    for _ in range(TRIES):
        with one_target() as target:
            try:
                return name, cases.observe(target, name), rows
            except cases.BROKEN as error:
                rows.append((cases.Case(name, "no fault", "-", 0), cases.WRONG, f"{error} {target.crash()}"))
    return name, {}, rows


def play(chunk):
    """Play some cases with one daemon, as long as it survives them."""
    with one_target() as target:
        return [(case, *cases.play(target, case)) for case in chunk]


def chunks(found, size=12):
    """Divide the cases into lists of one scene each."""
    for name in NAMES:
        of_scene = [case for case in found if case.scene == name]
        yield from (of_scene[at : at + size] for at in range(0, len(of_scene), size))


def plan(pool, names):
    """Return all the cases of these scenes, and the rows of scenes that fail without a fault."""
    found: list[cases.Case] = []
    rows: list[report.Row] = []
    for name, calls, broken in pool.map(observe, names):
        found += cases.cases_of(name, calls)
        rows += broken
        shown = [f"{call}*{len(places)}" for call, places in sorted(calls.items())]
        print(f"{name}: {' '.join(shown) or 'no call'}", flush=True)
    return found, rows


def words():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", help="only this one, as the report names it; may be given again")
    parser.add_argument("--scene", action="append", help="only this one; may be given again")
    parser.add_argument("--seed", help="of a sample")
    parser.add_argument("--sample", type=int, metavar="N", help="only N cases, chosen by the seed")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the table there")
    return parser.parse_args()


def show(rows, *, everything=False):
    """Print the rows that are bad."""
    for case, outcome, detail in rows:
        if outcome in (cases.DEATH, cases.WRONG) or everything:
            print(f"{outcome} {case}: {report.shown(detail)}", flush=True)


def main():
    asked, begun, rows = words(), time.monotonic(), []
    with ProcessPoolExecutor(2, initializer=adopt) as pool:
        found = [cases.Case.parse(text) for text in asked.case or ()]
        if not found:
            found, rows = plan(pool, asked.scene or NAMES)
        if asked.sample:
            found = sorted(found, key=lambda case: case.rank(asked.seed))[: asked.sample]
        print(f"{len(found)} cases", flush=True)
        show(rows)
        for done in pool.map(play, chunks(found)):
            rows += done
            show(done, everything=bool(asked.case))
    if asked.report:
        asked.report.parent.mkdir(exist_ok=True)
        asked.report.write_text(report.text(rows, time.monotonic() - begun))
    bad = sum(row[1] in (cases.DEATH, cases.WRONG) for row in rows)
    print(f"{len(rows)} cases, {bad} bad, {time.monotonic() - begun:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("inject.py: must be root, to serve as another user")
    sys.exit(main())
