"""The first instructions of both commands. From here on Ctrl-C ends a program with one line, whatever it is doing.

While the program's modules are imported, SIGINT ends the program at once. Afterwards it raises KeyboardInterrupt, but
only once, so that it does not interrupt the clean-up. When `main` has returned, the program ignores SIGINT.
Python drops the exception of a callback (sys.unraisablehook), for example of one in the import system. There, too,
SIGINT ends the program at once.
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
    import _signal as signal  # `signal` makes enumerations, which takes milliseconds

NOT_INSTALLED = 5
INTERRUPTED = 130
DISTRIBUTIONS = {  # module: its distribution, and Debian's package
    "daemon": ("python-daemon", "python3-daemon"),
    "lockfile": ("lockfile", "python3-lockfile"),
    "tqdm": ("tqdm", "python3-tqdm"),
}


def enter(name: str, module: str) -> int:
    """Run a program and return its exit code. Report a missing package, or a stranger's of its name, in one line."""
    try:
        return run_interruptibly(name, module)
    except Exception as error:
        why = missing_module(error)
        if not why:
            raise
        posix.write(2, f"{name}: not installed: {' '.join(why.split())}\n".encode(errors="replace"))
        return NOT_INSTALLED


def missing_module(error: Exception) -> str:
    """Return which module is missing and what provides it, if that is why the import of a module failed."""
    if stranger := strangers_module(error):
        return f"{stranger}: {error}"
    if not isinstance(error, ImportError) or not error.name:
        return ""
    module = error.name.partition(".")[0]
    if module in DISTRIBUTIONS:
        return f"no module {module}; {how_to_install(module)}"
    if module in sys.stdlib_module_names or module.startswith("_"):
        more = ", or Debian's package python3 is not complete" if is_debian() else ""
        return f"{error}; this Python, {sys.executable}, was built without it{more}"
    return ""


def strangers_module(error: BaseException) -> str:
    """Return what to say if an error is from a module that has the name of one that echod needs, and is another's."""
    found: dict[str, object] = {}
    name = str(getattr(error, "name", None)).partition(".")[0]
    if name in sys.modules:  # it lacks what was to be imported from it
        found[name] = getattr(sys.modules[name], "__file__", None)
    trace = error.__traceback__
    while trace:
        found[str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]] = trace.tb_frame.f_code.co_filename
        trace = trace.tb_next
    for module, (distribution, _) in DISTRIBUTIONS.items():
        if isinstance(error, SyntaxError) and error.filename and f"/{module}" in error.filename:
            found[module] = error.filename
        if module in found:
            return f"module {module}, {found[module]}, is not that of {distribution}; {how_to_install(module)}"
    return ""


def how_to_install(module: str) -> str:
    """Return the command that installs the distribution of a module."""
    distribution, package = DISTRIBUTIONS[module]
    debian = f", or `apt-get install {package}`" if is_debian() else ""
    return f"`{sys.executable} -m pip install {distribution}`{debian} brings it"


def is_debian() -> bool:
    """Return True on Debian and what is made of it."""
    try:
        posix.stat("/etc/debian_version")
    except OSError:
        return False
    return True


def run_interruptibly(name: str, module: str) -> int:
    """Import the module of a program and run its `main`; returns the exit code."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return run(import_module(module).main)  # the caller ignores it, as a shell does for `command &`
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
    """End if a callback raised KeyboardInterrupt: otherwise it would be lost."""
    if dropped.exc_type is KeyboardInterrupt:
        leave(name)
    sys.__unraisablehook__(dropped)


def leave(name: str) -> None:
    """Print that the program was interrupted, and end."""
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
