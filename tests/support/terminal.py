"""A terminal of the test's own: a pseudo-terminal, and what a user would see on it."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import termios

from support.wait import DEADLINE, need_module, wait_for


class Terminal:
    """A program on a terminal of so many columns and lines, which `screen` shows."""

    def __init__(self, command, columns, lines, term):
        pyte = need_module("pyte")
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.output = b""
        self._fd, slave = pty.openpty()
        termios.tcsetwinsize(slave, (lines, columns))
        self._slave = slave  # kept, or what the program wrote last would be gone with it
        self.modes = termios.tcgetattr(slave)
        # Curses would take LINES and COLUMNS for the size and ignore the terminal's; pytest's workers set them.
        env = {key: value for key, value in os.environ.items() if key not in ("LINES", "COLUMNS")} | {"TERM": term}
        self.process = subprocess.Popen(  # Ctrl-C and SIGWINCH come from the controlling terminal
            ["setsid", "--ctty", *command], stdin=slave, stdout=slave, stderr=slave, env=env
        )

    def look(self):
        """Take what the program has written; return the lines of the screen."""
        while select.select([self._fd], [], [], 0)[0]:
            data = os.read(self._fd, 1 << 16)
            self.output += data
            self._stream.feed(data)
        return [line.rstrip() for line in self.screen.display]

    def wait_for(self, what):
        """Wait until a text is on the screen; return its lines."""
        return wait_for(lambda: (lines := self.look()) and any(what in line for line in lines) and lines, what)

    def resize(self, columns, lines):
        """Give the terminal another size, and tell the program."""
        self.screen.resize(lines, columns)
        termios.tcsetwinsize(self._slave, (lines, columns))

    def type(self, keys):
        os.write(self._fd, keys)

    def end(self):
        """Wait for the program's end; return its exit code."""
        wait_for(lambda: self.look() and self.process.poll() is not None, "the program's end")
        self.look()
        return self.process.returncode

    def is_as_it_was(self):
        """Tell whether the terminal has its modes again, its first screen and its cursor."""
        modes = termios.tcgetattr(self._slave) == self.modes
        return (
            modes
            and self.output.rindex(b"\x1b[?1049l") > self.output.rindex(b"\x1b[?1049h")
            and (self.output.rindex(b"\x1b[?25h") > self.output.rindex(b"\x1b[?25l"))
        )

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(DEADLINE)
        os.close(self._fd)
        os.close(self._slave)
