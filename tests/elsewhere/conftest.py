"""Run each test that requests `place` in every place. Tests that fail today are strict expected failures."""

from __future__ import annotations

import pytest

from elsewhere.failures import FAILURES
from elsewhere.places import PLACES

# They take a minute of processor time, and a Debian mirror.
MADE_BY_A_MIRROR = ("i386", "armhf")


def pytest_generate_tests(metafunc):
    """Run a test in all places, or in those that `WHERE` in its module names. One worker runs all tests of a place."""
    if "place" not in metafunc.fixturenames:
        return
    params = []
    for name in getattr(metafunc.module, "WHERE", PLACES):
        marks = [pytest.mark.xdist_group(name)]
        if name in MADE_BY_A_MIRROR:
            marks.append(pytest.mark.campaign)
        if reason := FAILURES.get((metafunc.function.__name__, name)):
            marks.append(pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason))
        params.append(pytest.param(name, id=name, marks=marks))
    metafunc.parametrize("place", params, indirect=True, scope="session")


@pytest.fixture(scope="session")
def place(request):
    """Return a place; it is made once and removed at the end."""
    with PLACES[request.param]() as place:
        yield place


@pytest.fixture(scope="module")
def serving(place):
    """Return a daemon that serves in the place, for all tests of a file."""
    with place.daemon() as daemon:
        yield daemon.start()


@pytest.fixture
def daemon(place):
    """Return the test's own daemon in the place, not started yet."""
    with place.daemon() as daemon:
        yield daemon
