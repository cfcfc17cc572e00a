"""The config file: its lines, as `(where, key, value)`; what the keys mean is `config`'s.

A few lines of our own: `configparser` costs the forking process half a MiB and cannot name the line of a bad value.
"""

from __future__ import annotations

from _stat import S_ISFIFO

from echod.common.cmodules import os
from echod.common.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

DEFAULT_PATH = "/etc/echod.conf"
LARGEST_FILE = 1 << 20


def absolute(path: str, base: str, where: str) -> str:
    """Return `path` as seen from the directory `base`. Raises ConfigError where there is no such directory."""
    if not path:
        raise ConfigError(f"{where}: is empty; allowed: a path")
    if not path.startswith("/") and not base:
        raise ConfigError(
            f"{where}: '{path}' is relative, and the current directory has been removed; give the path from /"
        )
    return path if path.startswith("/") else f"{base.rstrip('/')}/{path}"


def read(path: str) -> Iterator[tuple[str, str, str]]:
    """Yield `(file:line, key, value)` for each setting in the file, in order. Raises ConfigError."""
    section = False
    for number, text in enumerate(read_text(path).split("\n"), 1):
        where, line = f"{path or DEFAULT_PATH}:{number}", without_comment(text).strip()
        if not line:
            continue
        if line[0] == "[":
            if line != "[echod]" or section:
                what = "comes twice" if line == "[echod]" else "is an unknown section"
                raise ConfigError(f"{where}: '{line}' {what}; allowed: one section, [echod]")
            section = True
            continue
        key, equals, value = line.partition("=")
        if not equals or not section or not key.strip():
            what = "is before the section" if equals and key.strip() else "is not KEY = VALUE"
            raise ConfigError(f"{where}: '{line}' {what}; allowed: [echod], then KEY = VALUE lines")
        yield where, key.strip(), value.strip()


def without_comment(line: str) -> str:
    """Cut a line at a `#` or `;` that begins it or is after whitespace."""
    for at, character in enumerate(line):
        if character in "#;" and not line[max(at - 1, 0) : at].strip():
            return line[:at]
    return line


def read_overrides(overrides: Sequence[str], *, newlines: bool = False) -> Iterator[tuple[str, str, str]]:
    """Yield the settings given as KEY=VALUE, as `read` does those of a file. `newlines`: a value may have some."""
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip() or ("\n" in text and not newlines):
            raise ConfigError(f"-o {text!r}: is not KEY=VALUE")
        yield f"-o {text}", key.strip(), value.strip()


def read_text(path: str) -> str:
    """Return what the file holds. Raises ConfigError when it is missing, unreadable, too large or not UTF-8 text."""
    name = path or DEFAULT_PATH
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if not path and isinstance(error, FileNotFoundError):
            return ""
        raise ConfigError(f"{name}: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{name!r}: is not a path") from None
    try:
        content = read_all(name, fd)
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}") from None
    finally:
        try:
            os.close(fd)
        except OSError:  # it has been read
            fd = -1
    if len(content) > LARGEST_FILE:
        raise ConfigError(f"{name}: larger than 1 MiB; this is not a config file")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}:{line}: is not UTF-8 text") from None
    if "\0" in text:
        raise ConfigError(f"{name}:{text.count(chr(10), 0, text.index(chr(0))) + 1}: has a NUL character")
    return text.removeprefix("\ufeff")  # a byte order mark


def read_all(name: str, fd: int) -> bytes:
    """Return what is to be read from a descriptor, or a little more than LARGEST_FILE. Raises ConfigError, OSError."""
    if S_ISFIFO(os.fstat(fd).st_mode):
        raise ConfigError(f"{name}: is a pipe; a config is read again by the server and at every reload")
    content = b""
    while len(content) <= LARGEST_FILE and (more := os.read(fd, LARGEST_FILE)):
        content += more
    return content


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known word with the fewest letters to change, at most a third of them, or nothing."""

    def distance(a: str, b: str) -> int:  # Levenshtein's
        row = list(range(len(b) + 1))
        for i, x in enumerate(a, 1):
            last, row[0] = row[0], i
            for j, y in enumerate(b, 1):
                last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
        return row[-1]

    name = name[:64].lower()
    changes, word = min((distance(name, word), word) for word in known)
    return word if changes <= max(1, len(name) // 3) else ""
