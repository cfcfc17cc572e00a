from __future__ import annotations

import errno
import os

import pytest

from echod.common.errors import BAD_CONFIG, FAILED, NOT_PERMITTED, ConfigError, EchodError, describe, from_os_error


def os_error(number, *path):
    return OSError(number, os.strerror(number), *path)


def test_an_error_has_the_exit_code_of_its_kind_or_one_of_its_own():
    assert EchodError("what: why").code == FAILED
    assert EchodError("what: why", NOT_PERMITTED).code == NOT_PERMITTED
    assert EchodError("what: why", 0).code == 0
    assert ConfigError("file:1: why").code == BAD_CONFIG
    assert str(EchodError("what: why")) == "what: why"


def test_a_system_error_is_described_with_its_path_where_it_has_one():
    assert describe(os_error(errno.ENOSPC, "/run/echod.pid")) == "/run/echod.pid: No space left on device"
    assert describe(os_error(errno.EMFILE)) == "Too many open files"
    assert describe(OSError("no words of the system's")) == "no words of the system's"


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.EACCES, NOT_PERMITTED), (errno.EPERM, NOT_PERMITTED), (errno.ENOENT, FAILED), (errno.EIO, FAILED)],
)
def test_lacking_permission_has_its_own_exit_code(number, code):
    error = from_os_error("cannot open the log", os_error(number, "/log"))
    assert str(error) == f"cannot open the log: /log: {os.strerror(number)}"
    assert error.code == code
