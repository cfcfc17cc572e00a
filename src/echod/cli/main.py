"""echod's command line: arguments, help, exit codes. One line on stderr for every error, never a traceback."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
from functools import partial
from importlib import import_module
from io import TextIOWrapper

from echod import __version__
from echod.cli.machine import lacks
from echod.cli.words import has_command
from echod.common.config.kinds import LONGEST
from echod.common.config.settings import SETTINGS
from echod.common.errors import FAILED, NOT_PERMITTED, USAGE, EchodError, describe, printable
from echod.common.journal import mark_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from _typeshed import SupportsWrite

DEFAULT_COLUMNS = 80
COMMANDS = {  # name: the module with the function of that name, help
    "start": ("lifecycle", "become a daemon and serve clients; returns when the daemon accepts connections"),
    "stop": (
        "lifecycle",
        "stop accepting, wait up to drain_timeout for clients to receive their echo, then kill (SIGKILL) the rest",
    ),
    "restart": (
        "lifecycle",
        "stop, then start; if the config, the user, the log or an address would fail, the daemon is left alone",
    ),
    "reload": ("control", "apply the config again; prints what changed, or why the previous settings remain in effect"),
    "upgrade": ("control", "replace the daemon by the installed version, in the same process; no client notices"),
    "status": ("status.command", "print what the daemon is doing"),
    "check": (
        "check.command",
        "print the settings that would be in effect, with their origins, and warn of what this machine cannot provide",
    ),
    "reopen": ("control", "open the log file again, after rotation"),
    "run": ("lifecycle", "serve clients in the foreground, logging to stderr: for systemd, containers, debugging"),
    "inetd": (
        "inetd",
        "serve one client on descriptor 0, a socket or a pair of pipes: for inetd, xinetd, tcpserver, socat, ncat",
    ),
    "help": ("help", "print the commands, the options of one of them, or what a setting does"),
}
EPILOG = """\
exit codes: 0 done, 1 failed, 2 usage, 4 not permitted, 5 not installed, 6 bad or missing config, 7 not running;
status: 0 running, 1 crashed or killed, 3 not running, 4 state unknown

try it:  echod start  &&  printf 'hello\\n' | nc -N 127.0.0.1 27978  &&  echod stop
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and exit."""
        print(f"{mark_error()}echod: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(USAGE)

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Print help or a version at once, or raise OSError; argparse alone would drop it (from Python 3.12 on)."""
        if file is None:  # the caller closed stdout, and asked for nothing but this output
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        file.write(message)
        print(end="", flush=True)


def descriptor(text: str) -> int:
    """Read the number of an open descriptor, for `--ready-fd`."""
    try:
        os.fstat(int(text))
    except (OSError, OverflowError, ValueError):
        raise argparse.ArgumentTypeError(f"'{text}' is not an open descriptor") from None
    return int(text)


def seconds(text: str) -> float:
    """Read a number of seconds, for `--timeout`."""
    with contextlib.suppress(ValueError):
        if 0 <= (value := float(text)) < LONGEST:
            return value
    raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds, such as 10 or 0.5")


def add_common(to: Parser, options: str, default: str | None) -> None:
    """Add `-c` and `-o`, which are understood before and after the command's name."""
    text = "the config file (default: /etc/echod.conf, if it exists)"
    to.add_argument("-c", dest="config", metavar="FILE", default=default, help=text)
    text = "a setting, which overrides the file; may be given several times"
    to.add_argument("-o", dest=options, metavar="KEY=VALUE", action="append", default=[], help=text)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line. Raises EchodError, USAGE, for a word that echod does not have."""
    words = sys.argv[1:] if argv is None else argv
    top = parser(command_of(words))
    if not has_command(words, top, COMMANDS):
        top.print_help()
        sys.exit(USAGE)
    args = top.parse_args(words)
    args.options = args.options + args.later_options
    return args


def command_of(words: list[str]) -> str:
    """Return the command if only -c and -o stand before it, or nothing: a parser of one command is made sooner."""
    words = list(words)
    while words and words[0] in ("-c", "-o"):
        del words[:2]
    return words[0] if words and words[0] in COMMANDS.keys() - {"help"} else ""  # `help` prints those of all


def columns() -> int:
    """Return the columns of help, as argparse has them. It would load more for that, and ask for each option."""
    with contextlib.suppress(OSError, ValueError):
        return int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size(1).columns
    return DEFAULT_COLUMNS


def parser(only: str = "") -> Parser:
    """Return the command line's grammar; `only`: that of one command."""
    width = columns() - 2
    top = Parser(
        prog="echod",
        description="A forking TCP echo daemon (RFC 862): one child per client, port 27978.",
        epilog=EPILOG,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=width),
    )
    add_common(top, "options", None)
    top.add_argument("-V", "--version", action="version", version=f"echod {__version__}")
    subs = top.add_subparsers(dest="command", metavar="COMMAND", title="commands", prog="echod")
    for name, (_, text) in COMMANDS.items():
        if only not in ("", name):
            continue
        form = partial(argparse.HelpFormatter, width=width)
        sub = subs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", formatter_class=form)
        add_common(sub, "later_options", argparse.SUPPRESS)  # `options` would take the place of those before the name
        add_options(sub, name)
    return top


def add_options(sub: argparse.ArgumentParser, name: str) -> None:
    """Add the options of one command."""
    if name in ("stop", "restart"):
        sub.add_argument("--timeout", type=seconds, metavar="S", help="seconds to wait (default: drain_timeout + 5)")
        sub.add_argument(
            "--force", action="store_true", help="after the time-out, kill (SIGKILL) the daemon and its children"
        )
    if name == "check":
        sub.add_argument("--explain", metavar="ADDR", help="what would happen to a client from this address, and why")
        sub.add_argument("--strict", action="store_true", help="exit 1 if there is a warning")
    if name == "help":
        sub.add_argument(
            "topic", metavar="NAME", nargs="?", choices=[*COMMANDS, *SETTINGS], help="a command or a setting"
        )
    if name == "run":
        sub.add_argument(
            "--ready-fd", type=descriptor, default=-1, metavar="N",
            help="write a newline to this descriptor when clients can connect (s6: the number in notification-fd)",
        )  # fmt: skip
    if name == "status":
        add_status_options(sub)


def add_status_options(sub: argparse.ArgumentParser) -> None:
    """Add the options of `status`."""
    form = sub.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object, for programs")
    form.add_argument("--prometheus", action="store_true", help="metrics in Prometheus' text format, for node_exporter")
    form.add_argument("--openmetrics", action="store_true", help="metrics in OpenMetrics, for a scraper")
    form.add_argument(
        "--processes",
        action="store_true",
        help="check daemon and children against expected values; exits 1 if one differs",
    )
    form.add_argument("--watch", action="store_true", help="show it, with rates, until Ctrl-C")
    sub.add_argument("--all", action="store_true", help="all clients, however many lines the terminal has")
    sub.add_argument(
        "-n",
        dest="interval",
        type=seconds,
        metavar="S",
        default=1.0,
        help="seconds between refreshes, for --watch (default: 1)",
    )


def open_standard_descriptors() -> None:
    """Open 0 to 2 if they are closed: otherwise the first socket would become stdin, and be written to as stderr.

    Raises OSError.
    """
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes the lowest number that is free: this one
        if getattr(sys, name) is None and name != "stdout":
            setattr(sys, name, open(fd, "w" if fd else "r", closefd=False))  # noqa: SIM115 - it stays open
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a path may hold any character


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        open_standard_descriptors()
        args = parse(argv)
        sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - /dev/null: not only the output is asked for
        module = import_module(f"echod.cli.{COMMANDS[args.command][0]}")  # an `inetd` process loads only what it needs
        code: int = getattr(module, args.command)(args)
        sys.stdout.flush()
    except EchodError as error:
        return fail(str(error), error.code)
    except lock_error() as error:
        return fail_by(error.__cause__, str(error))
    except BrokenPipeError:  # `| head`: no process reads the output, so no message is due
        return FAILED
    except OSError as error:
        return fail_by(error, describe(error))
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    return code


def fail_by(error: BaseException | None, message: str) -> int:
    """Print one line on stderr for an error of the system, and return its exit code."""
    if isinstance(error, PermissionError):
        return fail(f"{message}{lacks('CAP_DAC_OVERRIDE')}", NOT_PERMITTED)
    return fail(message, FAILED)


def lock_error() -> type[Exception]:
    """Return the class of lockfile's errors. An `except` asks for it only if there is an error."""
    from lockfile import Error  # noqa: PLC0415 - it takes milliseconds, and `status` does without

    found: type[Exception] = Error
    return found


def fail(message: str, code: int) -> int:
    """Print one line on stderr and return `code`."""
    with contextlib.suppress(OSError):
        print(f"{mark_error()}echod: {printable(' '.join(message.splitlines()))}", file=sys.stderr)
    return code
