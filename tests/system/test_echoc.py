import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.wait import wait_for

ECHOC = os.path.join(os.path.dirname(sys.executable), "echoc")


def echoc(echod, *words, **kwargs):
    host, port = echod.address
    return subprocess.run([ECHOC, *words, host, str(port)], capture_output=True, timeout=100, **kwargs)


def test_a_stream_comes_back(running):
    data = os.urandom(5 << 20)
    done = echoc(running, input=data)
    assert (done.returncode, done.stdout, done.stderr) == (0, data, b"")


@pytest.mark.parametrize("connections", [4, pytest.param(20, marks=pytest.mark.campaign)])
def test_verify_finds_no_fault_in_any_pattern(running, connections):
    done = echoc(running, "--verify", "-P", str(connections), "--size", "1MiB", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, report
    assert running.wait_idle()["accepted"] >= 8 * connections


def test_verify_notices_a_drain(echod):
    echod.start(drain_timeout="1s")
    process = subprocess.Popen(
        [ECHOC, "--verify", "--pattern", "1MiB", "--size", "100GiB", *map(str, echod.address)], stdout=subprocess.PIPE
    )
    with process:
        wait_for(lambda: echod.status()["clients"], "the client")
        echod.run("stop", check=0)
        assert b"WRONG" in process.communicate(timeout=60)[0]
    assert process.returncode == 1


def test_ping_and_check(running):
    done = echoc(running, "--ping", "-c", "20", "-i", "0")
    assert done.returncode == 0
    assert b"20 sent, 20 received, 0 lost (0%), 0 wrong" in done.stdout
    done = echoc(running, "--check", "-w", "5000", "-c", "9000")
    assert done.returncode == 0
    assert done.stdout.startswith(b"ECHO OK")


@pytest.mark.parametrize("words", [["--ping", "-c", "1"], ["--verify"], []])
def test_a_stopped_daemon_is_told_in_one_line(running, words):
    address = [str(part) for part in running.address]
    running.run("stop", check=0)
    done = subprocess.run([ECHOC, *words, *address], capture_output=True, input=b"", timeout=60)
    assert done.returncode == 3
    assert done.stderr.count(b"\n") == 1
    assert b"refused" in done.stderr


def test_the_python_of_the_page(running):
    text = (Path(__file__).parents[2] / "docs/echoc.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    code = block.replace('"localhost"', '"{}", {}'.format(*running.address))
    assert code != block
    few = code.replace("parallel=50", "parallel=2")  # the text is tested, not the load
    assert few != code
    done = subprocess.run([sys.executable, "-c", few], capture_output=True, text=True, timeout=100)
    assert (done.stdout, done.stderr) == ("ok\n", "")


MODES = [[], ["--check"], ["--ping", "-c", "2", "-i", "0"], ["--verify", "-s", "64KiB"]]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode[0] if mode else "stream")
def test_a_banner_is_expected(echod, mode):
    echod.start(banner="echod on port %p")
    address = [str(part) for part in echod.address]

    def run(*words):
        return subprocess.run([ECHOC, *words, *mode, *address], capture_output=True, input=b"hello", timeout=60)

    done = run("--banner")
    assert done.returncode == 0, done
    assert mode or done.stdout == b"hello"
    assert run().returncode != 0, "the banner is taken for an echo"
    echod.write(banner=None)
    echod.run("reload", check=0)
    assert run().returncode == 0
    done = run("--banner", "--timeout", "0.3")
    assert done.returncode in (1, 2)
    assert b"no banner: the line did not end in time" in done.stdout + done.stderr
