"""`make test` on a machine that was installed just now: Debian's smallest, with the packages that README names.

A sample of the suite runs there without a network, as an ordinary user and as root from below root's home, where other
users may not go.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from support import chroot
from support.debian import ROOT
from support.wait import need_network, need_root

PACKAGES = ["make", "python3", "python3-venv"]
SAMPLE = [
    "tests/test_layout.py",
    "tests/unit/cli/test_main.py",
    "tests/unit/cli/test_control.py",
    "tests/unit/cli/test_context_users.py",
    "tests/unit/common/test_sockets.py",
    "tests/unit/echoc/test_options.py",
    "tests/system/test_output.py",
    "tests/system/test_as_user.py",
    "tests/system/test_upgrade.py::test_a_trial_ends_with_a_daemon_that_is_killed",
    "tests/faults/test_commands_during_a_start.py",
]
USERS = {chroot.USER: (f"/home/{chroot.USER}", chroot.USER_ID), "root": ("/root", 0)}
NEITHER_TESTED_NOR_COPIED = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "build", "dist"
)
TOTAL = re.compile(r"(\d+) passed(?:, (\d+) skipped)?(?:, \d+ deselected)? in ")

# It installs Debian and the test tools, and runs a sample twice: 80 s of processor time, in one worker.
pytestmark = [pytest.mark.timeout(600), pytest.mark.campaign, pytest.mark.xdist_group("fresh")]


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """Return the root directory of the machine, with an ordinary user."""
    need_root()
    need_network()
    root = chroot.make_chroot(tmp_path_factory.mktemp("fresh") / "root", "bookworm", PACKAGES)
    chroot.add_user(root)
    yield root
    shutil.rmtree(root)


def clone(machine, home, user_id):
    """Put the sources into a user's home, as a user who clones them has them, and return their directory."""
    directory = machine / home.lstrip("/") / "echod"
    shutil.copytree(ROOT, directory, ignore=NEITHER_TESTED_NOR_COPIED)
    subprocess.run(["chown", "-R", f"{user_id}:{user_id}", directory], check=True)
    return f"{home}/echod"


def make(machine, *words, **kwargs):
    """Run make on the machine and return what it printed."""
    said, code = chroot.run(machine, ["make", *words], **kwargs)
    assert code == 0, said
    return said


def install_and_test(machine, user):
    """Run the sample in a clone of a user's and return what was printed; only the installation has a network."""
    home, user_id = USERS[user]
    where = {"user": user, "directory": clone(machine, home, user_id)}
    make(machine, ".venv/bin/pytest", network=True, **where)
    return make(machine, "test", f"TESTS={' '.join(SAMPLE)}", **where)


@pytest.fixture(scope="module")
def runs(machine):
    """Return for each user what will have been printed; both work at once, since both wait most of the time."""
    with ThreadPoolExecutor() as pool:
        yield {user: pool.submit(install_and_test, machine, user) for user in USERS}


@pytest.mark.parametrize("user", USERS)
def test_make_test_is_green(runs, machine, user):
    assert (machine / "root").stat().st_mode & 0o777 == 0o700
    said = runs[user].result()
    passed, skipped = TOTAL.search(said.splitlines()[-1]).groups()
    assert int(passed) > 100
    lines = re.findall(r"^ *(\d+) tests? skipped: (.+)$", said, re.MULTILINE)
    reasons = {reason: int(count) for count, reason in lines}
    assert sum(reasons.values()) == int(skipped)
    assert {"needs strace", "needs /etc/services", "needs localhost in /etc/hosts"} <= reasons.keys()
    assert ("needs root" in reasons) == (user != "root")
    (command,) = re.findall("^To run them: apt-get install (.*)$", said, re.MULTILINE)
    assert {"netbase", "strace"} <= set(command.split())
