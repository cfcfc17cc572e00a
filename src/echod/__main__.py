"""The commands' first instructions: from here on Ctrl-C ends a program with one line, whatever it is doing.

While its modules are imported SIGINT ends the program at once; then it raises KeyboardInterrupt, a single one: whoever
has been interrupted cleans up in peace; and once `main` is over it is ignored, for there is nothing left to interrupt.
A callback's exception is dropped (sys.unraisablehook), those of the import system among them: raised there, it ends the
program at once, too.
"""

from __future__ import annotations

import posix
import sys
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:
    import _signal as signal  # all that is needed here; what `signal` adds to it takes milliseconds to import

NOT_INSTALLED, INTERRUPTED = 5, 130


def enter(name: str, module: str) -> int:
    """Run a program and return its exit code; a package that is missing is one line."""
    try:
        return run_interruptibly(name, module)
    except ModuleNotFoundError as error:
        posix.write(2, f"{name}: not installed: {error}; `python3 -m pip install {error.name}` may help\n".encode())
        return NOT_INSTALLED


def run_interruptibly(name: str, module: str) -> int:
    """Import the module of a program and run its `main`; returns the exit code."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return run(import_module(module).main)  # the caller has it ignored
    signal.signal(signal.SIGINT, lambda *_: leave(name))
    main = import_module(module).main
    sys.unraisablehook = lambda dropped: end_or_report(name, dropped)
    try:
        signal.signal(signal.SIGINT, interrupt)
        code = run(main)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        leave(name)
    except RuntimeError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # Python 3.11 wraps what __set_name__ raises
            leave(name)
        raise
    return code


def run(main: Callable[[], int]) -> int:
    """Run the `main` of a program to the end of its output, and return the exit code."""
    try:
        return main()
    finally:
        finish_output()


def finish_output() -> None:
    """Write out what stdout and stderr still hold. If that fails, `main` has reported it: drop the rest.

    Otherwise Python would try again at exit, print "Exception ignored", and replace the exit code by 120.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            posix.dup2(posix.open("/dev/null", posix.O_WRONLY), stream.fileno())


def interrupt(_signum: int, _frame: object) -> None:
    """Raise KeyboardInterrupt, once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def end_or_report(name: str, dropped: sys.UnraisableHookArgs) -> None:
    """End where what a callback has raised is KeyboardInterrupt: nobody else would hear of it."""
    if dropped.exc_type is KeyboardInterrupt:
        leave(name)
    sys.__unraisablehook__(dropped)


def leave(name: str) -> None:
    """Say that the program was interrupted, and end."""
    try:
        posix.write(2, f"{name}: interrupted\n".encode())
    finally:
        posix._exit(INTERRUPTED)  # noqa: SLF001 - os._exit


def echod() -> int:
    """Run the daemon's command line."""
    return enter("echod", "echod.cli.program")


def echoc() -> int:
    """Run the client's command line."""
    return enter("echoc", "echod.echoc.cli")


if __name__ == "__main__":
    sys.exit(echod())
