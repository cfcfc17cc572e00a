"""Each test that asks for a `place` runs in all of them; those that fail today are strict expected failures."""

from __future__ import annotations

import pytest

from elsewhere.failures import FAILURES
from elsewhere.places import PLACES
from support.wait import need_root


def pytest_configure(config):
    """Know the mark of pytest-xdist where that is missing: one worker makes a place, and has all of its tests."""
    config.addinivalue_line("markers", "xdist_group(name): one worker of pytest-xdist runs the tests of a group")


def pytest_generate_tests(metafunc):
    """Give a test the places, or those that its mark `places` names."""
    if "place" not in metafunc.fixturenames:
        return
    params = []
    for name in getattr(metafunc.module, "WHERE", PLACES):
        marks = [pytest.mark.xdist_group(name)]
        if reason := FAILURES.get((metafunc.function.__name__, name)):
            marks.append(pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason))
        params.append(pytest.param(name, id=name, marks=marks))
    metafunc.parametrize("place", params, indirect=True, scope="session")


@pytest.fixture(scope="session")
def place(request):
    """Return a machine; it is made once, and nothing of it is left."""
    need_root()
    with PLACES[request.param]() as place:
        yield place


@pytest.fixture(scope="module")
def serving(place):
    """Return a daemon there that serves, for all tests of a file."""
    with place.daemon() as daemon:
        yield daemon.start()


@pytest.fixture
def daemon(place):
    """Return a daemon there of the test's own, which is not started yet."""
    with place.daemon() as daemon:
        yield daemon
