"""Lets the users that root's tests become reach a checkout and a Python below root's home, which only root may enter.

It replaces each directory that they may not pass, for this process and its children alone: a mount namespace shows one
there that they may pass, and in it everything that was there before. The paths stay, so nothing is installed twice.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
import tempfile
from pathlib import Path

CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 0x4000, 1 << 18
MNT_DETACH = 2
LIBC = ctypes.CDLL(None, use_errno=True)
WANTED = (Path(__file__).parents[2], Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve())


def barrier(paths):
    """Return the topmost directory above the paths that only its owner may pass, or None."""
    for path in paths:
        for above in reversed(path.parents):
            if not stat.S_IMODE(above.stat().st_mode) & stat.S_IXOTH:
                return above
    return None


def mounts():
    """Return the lines of /proc/self/mountinfo in words: the fifth is the mount point (proc_pid_mountinfo(5))."""
    return [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def make_root_a_mount():
    """Mount the root directory over itself and enter that: mount(2) and unshare(1) refuse one of chroot(2) alone."""
    mount(b"/", "/", MS_BIND | MS_REC)
    os.chroot("/..")  # unlike "/", this is looked up in the new mount


def open_the_way(paths=WANTED):
    """Give root's process a root directory that is a mount, and let every user pass the directories above the paths.

    Where mounts are shared with others, those would see it. Raises OSError.
    """
    if os.geteuid() != 0:
        return
    in_a_chroot = not any(words[4] == "/" for words in mounts())
    if not in_a_chroot and not barrier(paths):
        return
    if in_a_chroot and any(word.startswith("shared:") for words in mounts() for word in words[6:]):
        return  # the mount over the root directory would stay there when the tests have ended
    directory = os.getcwd()
    check(LIBC.unshare(CLONE_NEWNS))
    if in_a_chroot:
        make_root_a_mount()
    mount(b"none", "/", MS_REC | MS_PRIVATE)
    while found := barrier(paths):
        replace(found)
    os.chdir(directory)  # the directory of this name is in another mount now


def replace(directory):
    """Mount a directory over another that every user may pass, with all entries of the other."""
    aside = tempfile.mkdtemp(prefix="echod-test-aside-")
    mount(os.fsencode(directory), aside, MS_BIND | MS_REC)
    check(LIBC.mount(b"tmpfs", os.fsencode(directory), b"tmpfs", 0, b"mode=755"))
    for entry in os.scandir(aside):
        place = directory / entry.name
        if entry.is_symlink():
            place.symlink_to(os.readlink(entry.path))
            continue
        if entry.is_dir():
            place.mkdir()
        else:
            place.touch()
        mount(os.fsencode(entry.path), place, MS_BIND | MS_REC)
    check(LIBC.umount2(os.fsencode(aside), MNT_DETACH))
    os.rmdir(aside)


def mount(source, target, flags):
    """Mount what is there already, or change how a mount propagates (mount(2))."""
    check(LIBC.mount(source, os.fsencode(target), None, flags, None))


def check(result):
    """Raise OSError for a system call that has failed."""
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
