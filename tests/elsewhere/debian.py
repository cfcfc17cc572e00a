"""Debian for another architecture, in a directory: Python, the packages that echod imports, and echod itself.

The packages are unpacked and not configured. Otherwise qemu would run their scripts, for a minute.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile

from support.daemon import SOURCE
from support.wait import lack, need

SUITE = "trixie"  # the first one whose armhf has 64-bit time
PACKAGES = "python3,python3-daemon,python3-lockfile,python3-tqdm"
UNREACHABLE = ("Failed to fetch", "Could not resolve", "Unable to connect", "Temporary failure")
DOWNLOAD_S = 240
PYTHON = "/usr/bin/python3"
USERS = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost\n",
}
# how an ELF file of the machine begins: 32 bits, little-endian, executable or shared object, EM_ARM (elf(5))
ARM_MAGIC = r"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00"
ARM_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
BINFMT = "/proc/sys/fs/binfmt_misc"


def mirror():
    """Return the address that apt has this machine's Debian from."""
    release = platform.freedesktop_os_release()
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    words = ["apt-get", "indextargets", "--no-release-info", "--format", form, "Identifier: Packages"]
    for line in subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines():
        address, suite, component = line.split()
        if (release["ID"], suite, component) == ("debian", release.get("VERSION_CODENAME"), "main"):
            return address
    return lack("a Debian mirror among the sources of apt")


def unpack(architecture, root):
    """Make a root directory: Debian's Python for an architecture, with echod and the users that it needs."""
    tool = need("mmdebstrap")
    options = ["--mode=root", "--format=directory", "--variant=extract", f"--architectures={architecture}"]
    words = [tool, *options, f"--include={PACKAGES}", SUITE, str(root), mirror()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=DOWNLOAD_S)
    if done.returncode and any(text in done.stderr for text in UNREACHABLE):
        lack("a Debian mirror")
    assert done.returncode == 0, done.stderr
    for name in ("bin", "lib", "sbin"):
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")  # as base-files does, which is not here
    for name, text in USERS.items():
        (root / "etc" / name).write_text(text)
    packages = root / "usr" / "lib" / "python3" / "dist-packages"
    shutil.copytree(SOURCE, packages / "echod", ignore=shutil.ignore_patterns("__pycache__"))


def mounts(root):
    """Return a script that mounts this machine's /proc, /dev and directory of temporary files into a root directory."""
    lines = []
    for path in ("/proc", "/dev", os.path.realpath(tempfile.gettempdir())):
        lines += [f"mkdir -p '{root}{path}'", f"mount --rbind '{path}' '{root}{path}'"]
    return "\n".join(lines)


def emulated(name):
    """Return two scripts: one has the kernel run programs for ARM through qemu, the other undoes that.

    The registration holds for the whole machine (binfmt_misc), which could not run these programs otherwise. F makes
    the kernel open qemu now: in a root directory for ARM there is none. P passes the name of the program to qemu.
    """
    entry = f":{name}:M::{ARM_MAGIC}:{ARM_MASK}:{need('qemu-arm-static')}:FP"
    begin = f"mount -t binfmt_misc none {BINFMT}\nprintf %s '{entry}' >{BINFMT}/register"
    return begin, f"echo -1 >{BINFMT}/{name}"


def can_emulate():
    """Return True if programs of another architecture can be registered here: not in most containers."""
    words = [need("unshare"), "--mount", "sh", "-c", f"mount -t binfmt_misc none {BINFMT} && test -w {BINFMT}/register"]
    return subprocess.run(words, capture_output=True).returncode == 0
