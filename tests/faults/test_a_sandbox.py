"""No /dev/null, no capabilities, a user namespace, no close_range(2): it works, or one line says what is missing."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys

import pytest

from support import seccomp
from support.daemon import ECHOD, Echod
from support.processes import MountNamespace, descriptors, proc_status
from support.sockets import exchange
from support.wait import DEADLINE, need, need_root, skip, wait_for

GAMES = 5


@pytest.fixture
def bare(public):
    """Yield an echod in a mount namespace without devices."""
    with MountNamespace("mount -t tmpfs none /dev") as namespace:
        daemon = Echod(public, prefix=namespace.prefix)
        yield daemon
        daemon.cleanup()


@pytest.mark.parametrize("closed", [False, True])
def test_no_dev_null(bare, closed):
    command = ["sh", "-c", 'exec "$0" "$@" <&-' if closed else 'exec "$0" "$@"', *bare.command("start")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 1
    assert done.stderr == "echod: /dev/null: No such file or directory\n"
    assert not bare.pid_file.exists()


@pytest.fixture
def user(public):
    """Return a function that runs a command as root without capabilities, in a user namespace or not."""
    need_root()

    def user(*words, namespace):
        os.chown(public, GAMES if namespace else 0, -1)
        ids = ["--reuid", "5", "--regid", "60", "--clear-groups"]
        prefix = [need("setpriv"), *ids, need("unshare"), "--map-root-user"]
        if not namespace:
            prefix = [need("setpriv"), "--bounding-set=-all", "--inh-caps=-all"]
        elif subprocess.run([*prefix, "--", "true"], capture_output=True).returncode != 0:
            skip("user namespaces, which the kernel refuses in a chroot")
        options = [f"-o{key}={public}/{name}" for key, name in (("pid_file", "echod.pid"), ("log", "echod.log"))]
        return subprocess.run(
            [*prefix, "--", ECHOD, *options, "-olisten=127.0.0.1:0", *words],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
            cwd="/",
        )

    yield user
    for namespace in (True, False):
        user("stop", "--timeout", "5", "--force", namespace=namespace)


@pytest.mark.parametrize("namespace", [True, False])
@pytest.mark.parametrize("command", ["start", "run"])
def test_a_root_that_cannot_become_nobody(user, namespace, command):
    done = user(command, namespace=namespace)
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "cannot become user nobody: " in done.stderr
    assert "-o user=root" in done.stderr


@pytest.mark.parametrize("namespace", [True, False])
def test_the_way_out(user, namespace):
    for command in ("start", "reload", "restart", "stop"):
        done = user("-ouser=root", command, namespace=namespace)
        assert done.returncode == 0, (command, done)


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM])
def test_a_seccomp_profile_without_close_range(public, error):
    """As container engines have it that are older than the call: they refuse what they do not know."""
    echod = Echod(public, prefix=seccomp.prefix(seccomp.call(seccomp.CLOSE_RANGE, error)))
    try:
        echod.start()
        assert proc_status(echod.pid)["Seccomp"] == seccomp.IN_EFFECT
        address = echod.address
        with socket.create_connection(address, timeout=DEADLINE) as other:
            assert exchange(address, b"x" * 1000) == b"x" * 1000
            other.sendall(b"x")
            assert other.recv(1) == b"x"
            (child,) = wait_for(lambda: len(echod.children()) == 1 and echod.children(), "one child")
            assert sorted(descriptors(child.pid))[:3] == [0, 1, 2]
            assert len(descriptors(child.pid)) == 4
        for command in ("reload", "restart", "stop"):
            echod.run(command, check=0)
    finally:
        echod.cleanup()


def test_no_close_range(tmp_path):
    """Closing what was inherited must not take 2^31 calls of close(2)."""
    trace = tmp_path / "trace"
    command = [need("strace"), "-f", "--trace=close_range,close", "--inject=close_range:error=ENOSYS", "-o", str(trace)]
    code = "import os; from echod.cli.inherited import close_inherited; close_inherited(3); os.write(1, b'done')"
    done = subprocess.run(
        [*command, sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert (done.returncode, done.stdout) == (0, "done")
