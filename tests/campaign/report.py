"""The table of a whole campaign, in Markdown."""

from __future__ import annotations

import platform
import time
from collections import Counter

from campaign.cases import DEATH, OUTCOMES, WRONG, Case

Row = tuple[Case, str, str]  # with the outcome, and the details of a bad one

HEAD = """# Every system call, failed

Written by `make inject`: in each scene each system call of the server, or of a client's child, is made to fail
(strace(1)) with each errno that its manual page names, the first, the second and a later time that it is made. After
each the daemon serves, or has ended in order where that is the scene, or `start` has failed with one line and left
nothing; `status` agrees with what the clients saw; and no client but the one concerned noticed. (Not reached: the call
was made less often than when the scene was recorded. The byte by which a signal wakes the loop is not failed: a pipe
that has room takes it, and one that has none is readable anyway.)

{cases} cases, {bad} of them bad. {where}.
"""


def text(rows, seconds):
    """Return the report on `rows` of case, outcome and details."""
    bad = [row for row in rows if row[1] in (DEATH, WRONG)]
    where = f"{time.strftime('%Y-%m-%d')}, Linux {platform.release()}, Python {platform.python_version()}"
    lines = [HEAD.format(cases=len(rows), bad=len(bad), where=where)]
    lines += table(rows)
    if bad:
        lines += ["", "Again: `.venv/bin/python tests/campaign/inject.py --case CASE`", ""]
        lines += [f"- {outcome} `{case}`: {shown(detail)}" for case, outcome, detail in bad]
    return "\n".join([*lines, "", f"It took {seconds / 60:.0f} minutes.", ""])


def shown(detail):
    """Return a detail in one line that is no longer than a reader needs."""
    return " ".join(detail.split())[:400]


def table(rows):
    """Yield the lines of the table: scene, call, number of cases, and how many came out how."""
    yield "| scene | call | cases | " + " | ".join(OUTCOMES) + " |"
    yield "| --- | --- " + "| ---: " * (1 + len(OUTCOMES)) + "|"
    counts: dict[tuple[str, str], Counter[str]] = {}
    for case, outcome, _ in rows:
        counts.setdefault((case.scene, case.call), Counter())[outcome] += 1
    for (scene, call), found in counts.items():
        cells = [str(found[outcome] or "") for outcome in OUTCOMES]
        yield f"| {scene} | {call} | {found.total()} | " + " | ".join(cells) + " |"
