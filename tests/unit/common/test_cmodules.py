from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys

from echod.common import cmodules
from support.daemon import SOURCE


def test_a_long_is_as_long_as_c_says():
    assert struct.calcsize("l") == cmodules.LONG


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
