"""echod's command line: arguments, help, exit codes. One line on stderr for every error, never a traceback."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING, NoReturn

from lockfile import Error as LockError

from echod import __version__
from echod.common.config.kinds import LONGEST
from echod.common.errors import FAILED, NOT_PERMITTED, USAGE, EchodError, describe, printable
from echod.common.journal import mark
from echod.log.log import ERROR

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

COMMANDS = {  # name: the module with the function of that name, help
    "start": ("lifecycle", "become a daemon and serve; returns when clients can connect"),
    "stop": (
        "lifecycle",
        "stop accepting, let every client's echo get through, exit; returns when the process is gone",
    ),
    "restart": ("lifecycle", "stop, then start; a config, user, log or address that does not work stops nothing"),
    "reload": ("control", "read the config again; prints what changed, or why the previous settings remain in effect"),
    "upgrade": ("control", "have the daemon execute the installed version in its own place; no client notices"),
    "status": ("status.command", "print what the daemon is doing"),
    "check": (
        "check.command",
        "print the settings that would be in force, each with its origin, and what this machine cannot give",
    ),
    "reopen": ("control", "open the log file again, after rotation"),
    "run": ("lifecycle", "serve in the foreground, logging to stderr: for systemd, containers, debugging"),
    "inetd": ("inetd", "serve who is on descriptor 0, a socket or pipes: for inetd, xinetd, tcpserver, socat, ncat"),
}
EPILOG = """\
exit codes: 0 done, 1 failed, 2 usage, 4 not permitted, 5 not installed, 6 bad or missing config, 7 not running;
status: 0 running, 1 crashed or killed, 3 not running, 4 cannot tell

try it:  echod start  &&  printf 'hello\\n' | nc -N 127.0.0.1 27978  &&  echod stop
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and exit."""
        print(f"{mark(ERROR)}echod: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(USAGE)

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Print help or a version at once, or raise OSError; argparse alone would drop it (from Python 3.12 on)."""
        if stream := file or sys.stderr:  # None if the caller closed it
            stream.write(message)
            print(end="", flush=True)


def descriptor(text: str) -> int:
    """Read a number of a descriptor that is open, as `--ready-fd` takes it."""
    try:
        os.fstat(int(text))
    except (OSError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text} is no open descriptor") from None
    return int(text)


def seconds(text: str) -> float:
    """Read a number of seconds, as `--timeout` takes it."""
    value = float(text)
    if not 0 <= value < LONGEST:
        raise ValueError
    return value


def add_common(to: Parser, options: str, default: str | None) -> None:
    """Add `-c` and `-o`, which are understood before and after the command's name."""
    text = "the config file (default: /etc/echod.conf, if it exists)"
    to.add_argument("-c", dest="config", metavar="FILE", default=default, help=text)
    text = "a setting, which wins over the file; may be given several times"
    to.add_argument("-o", dest=options, metavar="KEY=VALUE", action="append", default=[], help=text)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    args = parser().parse_args(argv)
    args.options = args.options + args.later_options
    return args


def parser() -> Parser:
    """Return the command line's grammar."""
    top = Parser(
        prog="echod",
        description="A forking TCP echo daemon (RFC 862): one child per client, port 27978.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_common(top, "options", None)
    top.add_argument("-V", "--version", action="version", version=f"echod {__version__}")
    subs = top.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    for name, (_, text) in COMMANDS.items():
        sub = subs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        add_common(sub, "later_options", argparse.SUPPRESS)  # `options` would take the place of those before the name
        if name in ("stop", "restart"):
            sub.add_argument(
                "--timeout", type=seconds, metavar="S", help="seconds to wait (default: drain_timeout + 5)"
            )
            sub.add_argument("--force", action="store_true", help="end what is still there then, children too")
        if name == "check":
            sub.add_argument("--explain", metavar="ADDR", help="what would happen to a client from there, and why")
            sub.add_argument("--strict", action="store_true", help="exit 1 when there is a warning")
        if name == "run":
            sub.add_argument(
                "--ready-fd", type=descriptor, default=-1, metavar="N",
                help="write a newline to this descriptor when clients can connect (s6: the number in notification-fd)",
            )  # fmt: skip
        if name == "status":
            add_status_options(sub)
    return top


def add_status_options(sub: argparse.ArgumentParser) -> None:
    """Add the options of `status`."""
    form = sub.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object, for programs")
    form.add_argument("--openmetrics", action="store_true", help="metrics for Prometheus and node_exporter")
    form.add_argument(
        "--processes", action="store_true", help="the processes beside what they should be; exits 1 if one is not"
    )
    form.add_argument("--watch", action="store_true", help="the whole terminal, with rates, until Ctrl-C")
    sub.add_argument("--all", action="store_true", help="all clients, however many lines the terminal has")
    sub.add_argument(
        "-n", dest="interval", type=seconds, metavar="S", default=1.0, help="seconds from look to look (1)"
    )


def open_standard_descriptors() -> None:
    """See that 0 to 2 are open: the first socket would otherwise become stdin, and be written to as stderr.

    Raises OSError.
    """
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, "w" if fd else "r", closefd=False))  # noqa: SIM115 - it stays open
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a path may have what a terminal's set has not


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        open_standard_descriptors()
        args = parse(argv)
        module = import_module(f"echod.cli.{COMMANDS[args.command][0]}")  # an `inetd` process loads only what it needs
        code: int = getattr(module, args.command)(args)
        sys.stdout.flush()
    except EchodError as error:
        return fail(str(error), error.code)
    except LockError as error:
        return fail(str(error), NOT_PERMITTED if isinstance(error.__cause__, PermissionError) else FAILED)
    except BrokenPipeError:  # `| head`: no process reads the output, so no message is due
        return FAILED
    except OSError as error:
        return fail(describe(error), NOT_PERMITTED if isinstance(error, PermissionError) else FAILED)
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    return code


def fail(message: str, code: int) -> int:
    """Print one line on stderr and return `code`."""
    with contextlib.suppress(OSError):
        print(f"{mark(ERROR)}echod: {printable(' '.join(message.splitlines()))}", file=sys.stderr)
    return code
