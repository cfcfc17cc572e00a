from __future__ import annotations

import os
import signal

import pytest

from echod.common.errors import end_of, last_words
from support.processes import fork

TRACEBACK = """Traceback (most recent call last):
  File "/x/boot.py", line 7, in <module>
    from echod.server.main import main
  File "/x/acceptor.py", line 33
    def x(:
          ^
SyntaxError: invalid syntax

"""


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        ("", []),
        ("\n \n", []),
        ("one\ntwo\n", ["two"]),
        ("ld.so: error: no libx.so\nend\n", ["ld.so: error: no libx.so"]),
        (TRACEBACK, ["/x/acceptor.py:33: SyntaxError: invalid syntax"]),
        ('File "', [':: File "']),
    ],
)
def test_the_line_that_says_why(stderr, said):
    assert last_words(stderr) == said


def test_how_a_process_has_ended():
    assert end_of(os.waitpid(fork(lambda: 3), 0)[1]) == "it ended with exit status 3"
    pid = fork(signal.pause)
    os.kill(pid, signal.SIGKILL)
    assert end_of(os.waitpid(pid, 0)[1]) == "it was ended by SIGKILL"
