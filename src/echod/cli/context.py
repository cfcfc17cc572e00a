"""Where things are, and who the daemon is: the config, the pid file, users and what the server is told of them."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat

from echod.common.config.file import absolute, read, read_overrides
from echod.common.errors import NOT_PERMITTED, ConfigError, EchodError
from echod.common.launch import Launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from echod.common.config.settings import Config

ROOTS_PID_FILE = "/run/echod/echod.pid"
STATE = ".local/state/echod"  # below a home (XDG Base Directory Specification)
TEMPORARY = "/tmp"  # noqa: S108 - the directory there is checked; TMPDIR is another one in cron
NOBODY_ID = 65534  # the user `nobody`, and its group, if there is no entry of that name
LARGEST_ID = 0xFFFFFFFE  # -1 stands for "unchanged" (setresuid(2))


class Paths:
    """What `-c FILE` and `-o KEY=VALUE` lead to. Raises ConfigError.

    Only the setting `pid_file` has to be right here: a broken config must not keep an operator from stopping the
    daemon. `load` reads the rest.
    """

    def __init__(self, config_file: str | None, overrides: list[str]) -> None:
        try:
            self.base = os.getcwd()
        except FileNotFoundError:
            self.base = ""  # the directory was deleted: only absolute paths can be found
        self.config_file = "" if config_file is None else absolute(config_file, self.base, "-c")
        self.overrides = overrides
        self.origins: dict[str, str] = {}  # where each setting comes from: file:line or -o KEY=VALUE
        self._lines: list[tuple[str, str, str]] = []  # of the file, which is read once
        self._fault: ConfigError | None = None  # of the line after these
        self.pid_file = self._read() or default_path()
        self.board_file = board_path(self.pid_file)

    def with_roots_daemon(self) -> Paths:
        """Return these paths, or those of root's daemon if a user has asked for no other and has none: for `status`."""
        is_default = os.geteuid() != 0 and not self._read()
        if is_default and not os.path.exists(self.pid_file) and os.path.exists(ROOTS_PID_FILE):
            self.pid_file, self.board_file = ROOTS_PID_FILE, board_path(ROOTS_PID_FILE)
        return self

    def _read(self) -> str:
        """Read the file, note the origins, and return the setting `pid_file`. The lines before a broken one count."""
        try:
            self._lines += read(self.config_file)
        except ConfigError as error:
            self._fault = error
        found = ""
        for entries in (self._lines, read_overrides(self.overrides)):
            with contextlib.suppress(ConfigError):
                for where, key, value in entries:
                    self.origins[key] = where
                    if key == "pid_file":
                        found = absolute(value, self.base, where) if value else ""
        return found

    def _file(self) -> Iterator[tuple[str, str, str]]:
        """Yield the lines of the file. Raises ConfigError where `read` did."""
        yield from self._lines
        if self._fault:
            raise self._fault

    def origin(self, name: str) -> str:
        """Return where a setting comes from, with a colon after it, or nothing for a default."""
        return f"{self.origins[name]}: " if name in self.origins else ""

    def load(self, *, log: str = "syslog") -> Config:
        """Return the settings; `log` is the default of the setting of that name. Raises ConfigError."""
        from echod.common.config import settings  # noqa: PLC0415 - what `status` does without is loaded where it is used

        try:
            return settings.load(self.config_file, self.overrides, self.base, log=log, lines=self._file())
        except settings.UnknownSettingError as error:
            from echod.cli import habits  # noqa: PLC0415 - long tables, which only this error needs

            if found := habits.setting(error.name):
                hint = f"did you mean {found}?"
                raise ConfigError(f"{error.place}: unknown setting; {hint}") from None
            raise

    def launch(self, ids: tuple[int, int], *, log: str = "syslog", ready_fd: int = -1) -> Launch:
        """Return what the server is told; `ids` are those of the user that root becomes."""
        return Launch(
            config_file=self.config_file,
            base=self.base,
            log=log,
            pid_file=self.pid_file,
            board_file=self.board_file,
            overrides=tuple(self.overrides),
            ready_fd=ready_fd,
            uid=ids[0],
            gid=ids[1],
        )

    def remove_stale(self) -> None:
        """Remove the files of a daemon that has ended, if permitted and if no process is starting another."""
        from echod.cli.pidfile import PidFile  # noqa: PLC0415 - as above

        with contextlib.suppress(OSError):
            PidFile(self.pid_file).break_lock(self.board_file)


def board_path(pid_file: str) -> str:
    """Return where the scoreboard of the daemon with this pid file is: no two daemons share one."""
    return f"{pid_file}.scoreboard"


def default_path() -> str:
    """Return where the pid file is if the config does not say. Raises ConfigError if that directory is not safe.

    It depends on the user alone, so a login, ssh, cron and su find the same daemon. A systemd service has its own.
    """
    service = os.environ.get("RUNTIME_DIRECTORY", "")
    if service.startswith("/") and ":" not in service:  # with several directories it is a list
        return os.path.join(service, "echod.pid")
    if os.geteuid() == 0:
        return ROOTS_PID_FILE
    home = home_of(os.geteuid())
    if home.startswith("/") and is_own(os.path.join(home, STATE)):
        return os.path.join(home, STATE, "echod.pid")
    directory = f"{TEMPORARY}/echod-{os.geteuid()}"
    with contextlib.suppress(OSError):
        os.mkdir(directory, 0o700)  # first: from now on another user can no longer replace it after the checks
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(directory)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise ConfigError(f"{directory}: belongs to someone else or is open to others; set pid_file")
    return os.path.join(directory, "echod.pid")


def home_of(uid: int) -> str:
    """Return the home directory that passwd gives, or an empty text."""
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return ""


def is_own(path: str) -> bool:
    """Return True if a directory belongs to this user, or, if it is missing, the nearest one above that exists."""
    while path != "/" and not os.path.exists(path):
        path = os.path.dirname(path)
    return os.access(path, os.W_OK | os.X_OK) and os.stat(path).st_uid == os.geteuid()


def identify(paths: Paths, config: Config) -> tuple[int, int]:
    """Return the user and group that root becomes, -1 for none. Raises ConfigError, or EchodError, NOT_PERMITTED."""
    user = look_up_user(paths, config.user)
    group = look_up_group(paths, config.group) if config.group else user.pw_gid
    if os.geteuid() != 0:
        if config.user not in ("nobody", user_name(os.geteuid())) and user.pw_uid != os.geteuid():
            why = f"only root can become '{config.user}'; allowed: the user who starts it, or none"
            raise EchodError(f"{paths.origin('user')}user: {why}", NOT_PERMITTED)
        return -1, -1
    return (user.pw_uid, group) if user.pw_uid != 0 or config.group else (-1, -1)


def look_up_user(paths: Paths, name: str) -> pwd.struct_passwd:
    """Find a user by name or number; a number, and `nobody`, need not have an entry. Raises ConfigError."""
    try:
        return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        uid = int(name) if name.isdecimal() else NOBODY_ID if name == "nobody" else LARGEST_ID + 1
        if uid <= LARGEST_ID:  # its group has the same number
            return pwd.struct_passwd((name, "x", uid, uid, "", "/", "/usr/sbin/nologin"))
        why = f"there is no user '{name}'; allowed: one that exists, by name or number"
        raise ConfigError(f"{paths.origin('user')}user: {why}") from None


def look_up_group(paths: Paths, name: str) -> int:
    """Find a group by name; a number need not have one. Raises ConfigError."""
    try:
        found = int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        found = LARGEST_ID + 1
    if found > LARGEST_ID:
        why = f"there is no group '{name}'; allowed: one that exists, by name or number"
        raise ConfigError(f"{paths.origin('group')}group: {why}")
    return found


def user_name(uid: int) -> str:
    """Return the name of a user, or the number if it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@contextlib.contextmanager
def rights_of(uids: set[int]) -> Iterator[None]:
    """Make root take the rights of the one user in `uids`, if there is one: the kernel then decides for that user.

    Raises PermissionError if there are several users, or one that root cannot become.
    """
    if not uids:
        yield
        return
    before = os.getresuid()
    uid = min(uids)
    if len(uids) > 1 or uid < 0:
        raise PermissionError
    try:
        os.setresuid(uid, uid, 0)
    except OSError:
        raise PermissionError from None
    try:
        yield
    finally:
        os.setresuid(*before)
