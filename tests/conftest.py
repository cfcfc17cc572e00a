"""The fixtures that all tests share; what they use is in `support`."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import tempfile
from pathlib import Path

import hypothesis
import pytest

from echod.common.sockets import Listener, bind
from support.daemon import Echod, children_of, give
from support.packages import reasons, skip_summary
from support.reachable import open_the_way
from support.sockets import Served, settings

PR_SET_CHILD_SUBREAPER = 36

# A shell starts what runs in the background with these ignored, and so would be all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
for signum in (signal.SIGQUIT, signal.SIGHUP):
    signal.signal(signum, signal.SIG_DFL)

open_the_way()

hypothesis.settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)  # a busy machine takes its time; no test asserts one
hypothesis.settings.load_profile("any-machine")


@pytest.fixture
def public():
    """Return a new directory that everybody can read, as pytest's are not, and that belongs to the daemon's user."""
    path = Path(tempfile.mkdtemp(prefix="echod-test-"))
    path.chmod(0o755)
    give(path)
    yield path
    shutil.rmtree(path)


# The long searches for faults and for servers that go wrong, other machines, units in boxes, and the benchmark.
CAMPAIGN = (
    "faults/test_network_", "faults/test_soak", "faults/test_state_machine", "faults/test_injection_sample",
    "faults/test_delays", "elsewhere/", "system/test_systemd_by_hand", "system/test_systemd_retries",
    "system/test_metrics", "faults/test_a_start_next_to", "unit/echoc/test_every_server", "test_benchmark.py",
)  # fmt: skip
TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Mark the tests of the campaign, and put them first: the longest tests must not come last."""
    for item in items:
        if os.path.relpath(item.path, TESTS).startswith(CAMPAIGN):
            item.add_marker(pytest.mark.campaign)
    items.sort(key=lambda item: item.get_closest_marker("campaign") is None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter, config):
    """Say last, after the list of failures, how many tests were skipped for each reason, and what to install."""
    yield
    counts = reasons(terminalreporter.stats.get("skipped", ()))
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    for line in skip_summary(counts, whole):
        terminalreporter.write_line(line)


BOTH_LEVELS = ("test_clients", "test_stop")


def pytest_generate_tests(metafunc):
    """Let the campaign repeat the tests of clients and stops at the log level `debug`.

    `debug` changes nothing but the log. Each of these tests therefore holds at both levels.
    """
    if "log_level" in metafunc.fixturenames:
        levels = [pytest.param("info", id="")]
        if metafunc.module.__name__.endswith(BOTH_LEVELS):
            levels = [pytest.param("info", id="info"), pytest.param("debug", id="debug", marks=pytest.mark.campaign)]
        metafunc.parametrize("log_level", levels, indirect=True)


@pytest.fixture
def log_level(request):
    """Return the level that `echod` logs at."""
    return request.param


@pytest.fixture
def echod(public, log_level):
    """Return a daemon that is not started yet; root's will serve as nobody, the default."""
    daemon = Echod(public, log_level=log_level)
    yield daemon
    daemon.cleanup()


@pytest.fixture
def running(echod):
    """Return a daemon that serves."""
    return echod.start()


@pytest.fixture
def subreaper():
    """Make this process the one that adopts orphans; request it before the daemon, to reap it after."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    before = set(children_of(os.getpid()))  # of other fixtures, which reap them
    yield os.getpid()
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    for pid in set(children_of(os.getpid())) - before:
        os.waitpid(pid, 0)


@pytest.fixture
def serve():
    """Return a function that makes a `Served`."""
    made: list[Served] = []

    def serve(*args, **kwargs):
        made.append(Served(*args, **kwargs))
        return made[-1]

    yield serve
    for served in made:
        served.close()


@pytest.fixture
def bound():
    """Return a function that binds an address, with what the test needs closed at its end."""
    opened: list[Listener] = []

    def bound(*address, config=None, opener=None):
        found = bind(address, config or settings(), opener)
        opened.extend(found)
        return found

    yield bound
    for one in opened:
        one.close()
