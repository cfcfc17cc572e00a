"""The command line of echoc: options, and what they mean."""

from __future__ import annotations

import argparse
import re
import socket
import sys
from typing import TYPE_CHECKING, NoReturn

from echod import __version__
from echod.echoc import patterns
from echod.echoc.check import Outcome, State
from echod.echoc.connect import PORT
from echod.echoc.faults import UsageError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


def destination(text: str) -> tuple[str, str]:
    """Return the host and the port, which is empty where there is none. ValueError: the text is no destination.

    An IPv6 address has its brackets where a port follows it.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest[1:]) or rest[:1] not in ("", ":"):
            raise ValueError(f"{text!r} is not [V6] or [V6]:PORT")
        return host, rest[1:]
    host, colon, number = text.partition(":")
    if ":" in number:  # an IPv6 address as it is
        return text, ""
    if not host or (colon and not number):
        raise ValueError(f"{text!r} is not HOST or HOST:PORT")
    return host, number


def port(text: str) -> int:
    """Return a port's number, given that or a service's name. ValueError: it is neither."""
    try:
        number = int(text) if text.isascii() and text.isdecimal() else socket.getservbyname(text, "tcp")
    except OSError:
        number = 0
    if not 0 < number < 1 << 16:
        raise ValueError(f"{text!r} is neither a port (1 to 65535) nor a service")
    return number


FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
MOST = 1e6

DESCRIPTION = """\
echoc talks to an echo server (RFC 862), and finds out whether it is a good one.

  echoc HOST < file        send a file, write what comes back to stdout, and
                           fail unless as many bytes came back as were sent
  echoc HOST               the same on a terminal; Ctrl-D ends the input
  echoc --verify HOST      compare every byte, in every pattern of use
  echoc --ping HOST        round trip times, as ping(8) gives them
  echoc --check HOST       one round trip, for Nagios, Icinga and the like
"""

EPILOG = f"""\
patterns of --verify:
{chr(10).join(f"  {pattern.name:<13}{pattern.about}" for pattern in patterns.PATTERNS)}

exit status:
  0    all is well
  1    the server is wrong: bytes lost or changed, closed early, reset, silent
  2    usage
  3    cannot connect: name unknown, refused, unreachable, no answer
  4    our own input, output or system failed
  130  interrupted (--ping: 0 or 1, after its summary)
  141  nobody reads our output any more
  --check has its own: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN

examples:
  echoc localhost < /bin/ls | cmp - /bin/ls
  echoc --verify -P 50 --size 64MiB localhost
  echoc --verify --pattern late-reader --seed 4711 localhost 7
  echoc --ping -c 1000 -i 0 --histogram ::1
  echoc --check -w 5 -c 50 --timeout 2 echo.example.net
"""

MODES = ("verify", "ping", "check")
BELONGS = {
    "size": ("-s", "verify", "ping"),
    "seed": ("--seed", "verify", "ping"),
    "json": ("--json", "verify", "ping", "check"),
    "parallel": ("-P", "verify"),
    "pattern": ("--pattern", "verify"),
    "interval": ("-i", "ping"),
    "histogram": ("--histogram", "ping"),
    "c": ("-c", "ping", "check"),
    "w": ("-w", "check"),
}


class Parser(argparse.ArgumentParser):
    """Reports an error in one line, in a plugin's form with --check."""

    def error(self, message: str) -> NoReturn:
        """Leave, with the reason."""
        if "--check" in sys.argv[1:]:
            outcome = Outcome(State.UNKNOWN, f"usage: {message}")
            print(outcome.json() if "--json" in sys.argv[1:] else outcome.line())
            self.exit(State.UNKNOWN)
        self.exit(2, f"echoc: usage: {message}; see echoc --help\n")

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Print help or a version at once, or raise OSError; argparse alone would drop it (from Python 3.12 on)."""
        if stream := file or sys.stderr:  # None if the caller closed it
            stream.write(message)
            print(end="", flush=True)


def size(text: str) -> int:
    """Return the bytes that "1000", "64K", "64MiB" or "1G" mean; all units are binary."""
    match = re.fullmatch(r"(\d+)(?:([kmgt])(?:i?b)?|b)?", text.strip(), re.IGNORECASE)
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size above 0, like 1000, 16KiB or 64MiB")
    return int(match[1]) * FACTORS[(match[2] or "").lower()]


def positive(text: str) -> int:
    """Return a whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def number(text: str) -> float:
    """Return a number from 0 to a million: what every timer of the kernel can take."""
    if not re.fullmatch(r"\d+\.?\d*|\.\d+", text) or float(text) > MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1000000")
    return float(text)


def pattern_list(text: str) -> tuple[patterns.Pattern, ...]:
    """Return the patterns named in a list like "byte,late-reader"."""
    try:
        return patterns.named(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse() -> argparse.Namespace:
    """Return the options. SystemExit: 2 for what makes no sense (3 with --check), 0 for --help and --version."""
    parser = grammar()
    options = parser.parse_args()
    modes = [mode for mode in MODES if getattr(options, mode)]
    if len(modes) > 1:
        parser.error(f"--{modes[0]} and --{modes[1]}: one at a time")
    options.mode = modes[0] if modes else "stream"
    for name, (flag, *where) in BELONGS.items():
        if getattr(options, name) not in {None, False} and options.mode not in where:
            parser.error(f"{flag}: only with {' or '.join(f'--{mode}' for mode in where)}")
    _find_port(parser, options)
    if options.timeout == 0:
        parser.error("--timeout: must be above 0")
    if options.mode == "ping" and options.c is not None and (options.c < 1 or options.c % 1):
        parser.error("-c: a whole number of round trips, above 0")
    if options.mode == "check" and None not in {options.w, options.c} and options.w > options.c:
        parser.error("-w: must not exceed -c")
    return options


def _find_port(parser: Parser, options: argparse.Namespace) -> None:
    """Have `host` and `port` say where to connect to, however that was written."""
    try:
        options.host, inside = destination(options.host)
        ports = [text for text in (inside, options.port, options.p) if text]
        options.port = port(ports[0]) if ports else PORT
    except ValueError as error:
        parser.error(str(error))
    if len(ports) > 1:
        parser.error(f"the port is given twice: {' and '.join(ports)}")


def grammar() -> Parser:
    """Return the command line's grammar."""
    parser = Parser(
        prog="echoc",
        usage="echoc [options] HOST[:PORT] [PORT]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("host", metavar="HOST", help="HOST, HOST:PORT or [V6]:PORT; the addresses of a name are tried in turn")
    add("port", metavar="PORT", nargs="?", help=f"number or service name (default {PORT})")
    add("--version", action="version", version=f"echoc {__version__}", help="print the version, and leave")
    add = parser.add_argument_group("connection").add_argument
    add("-p", "--port", dest="p", metavar="PORT", help="the port, in place of one after HOST")
    add("-4", dest="family", action="store_const", const=socket.AF_INET, default=socket.AF_UNSPEC, help="IPv4 only")
    add("-6", dest="family", action="store_const", const=socket.AF_INET6, help="IPv6 only")
    add("--source", metavar="ADDR", help="connect from this local address")
    add(
        "--timeout",
        metavar="S",
        type=number,
        default=10.0,
        help="seconds in which an address must accept, and in "
        "which a server that owes bytes or its close must do something (default 10)",
    )
    add("--proxy", action="store_true", help="begin each connection with a PROXY protocol v2 header")
    _add_modes(parser)
    return parser


def _add_modes(parser: Parser) -> None:
    add = parser.add_argument_group("verify").add_argument
    add("--verify", action="store_true", help="send random data, compare every byte that returns")
    text = "bytes a connection, like 64MiB (default 64MiB); with --ping: bytes a round trip (default 56)"
    add("-s", "--size", metavar="SIZE", type=size, help=text)
    add("-P", "--parallel", metavar="N", type=positive, help="connections at once (default 1)")
    add("--pattern", metavar="NAME,...", type=pattern_list, help="only these patterns (default: all, see below)")
    add("--seed", metavar="N", type=int, help="repeat the run that had this seed, byte for byte")
    add("--json", action="store_true", help="report for programs (also with --ping and --check)")
    add = parser.add_argument_group("ping").add_argument
    add("--ping", action="store_true", help="measure round trips until Ctrl-C")
    add("-c", metavar="N", type=number, help="stop after N round trips; with --check: CRITICAL above N ms")
    add("-i", "--interval", metavar="S", type=number, help="seconds from one to the next (default 1; 0: no pause)")
    add("--histogram", action="store_true", help="draw the distribution of the times")
    add = parser.add_argument_group("check").add_argument
    add("--check", action="store_true", help="make one round trip, and report it as a monitoring plugin")
    add("-w", metavar="MS", type=number, help="WARNING above MS milliseconds; -c MS likewise: CRITICAL")
