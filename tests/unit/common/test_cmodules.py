from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys

import pytest

from echod.common import cmodules
from support.daemon import SOURCE


@pytest.mark.parametrize("number", [0, 1, 250_000, 2**31 - 1])
def test_a_number_is_laid_out_as_a_c_long(number):
    assert cmodules.as_long(number) == struct.pack("l", number)


def test_a_number_that_is_no_long_is_an_error():
    with pytest.raises(OverflowError):
        cmodules.as_long(1 << 64)


def test_the_c_modules_have_the_calls_and_numbers_of_the_wrappers():
    assert cmodules.os.read is os.read
    assert cmodules.signal.SIGTERM == signal.SIGTERM
    assert cmodules.socket.SO_REUSEADDR == socket.SO_REUSEADDR
    assert cmodules.os.fork is os.fork


def test_they_load_none_of_the_wrappers():
    code = "import sys; sys.path.append(sys.argv[1]); import echod.common.cmodules as c; c.os.environ[b'A']; "
    code += "print(*sorted({'enum', 'os', 'socket', 'signal', 'struct', 'typing'} & set(sys.modules)))"
    command = [sys.executable, "-I", "-S", "-c", code, str(SOURCE.parent)]
    done = subprocess.run(command, capture_output=True, text=True, env={"A": "b"})
    assert (done.stdout, done.stderr) == ("\n", "")
