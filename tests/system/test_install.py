"""The wheel, installed as the README says, with pip, pipx and uv; and what it brings besides modules."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.wait import need, need_network

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.timeout(600)  # installs three times


def run(*words, **environ):
    keep = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(words, capture_output=True, text=True, env=keep | environ)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    need_network()
    directory = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", directory, ROOT)
    return next(directory.glob("*.whl"))


def test_the_wheel_brings_manuals_completions_units_and_samples(wheel):
    names = {name.partition(".data/data/")[2] for name in zipfile.ZipFile(wheel).namelist()}
    share = {f"share/man/man{path.suffix[1:]}/{path.name}" for path in (ROOT / "man").glob("*.[1-8]")}
    for folder, target in (("systemd", "share/echod/systemd"), ("etc", "share/echod")):
        paths = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        share |= {f"{target}/{path.relative_to(ROOT / folder)}" for path in paths}
    for program in ("echod", "echoc"):
        share.add(f"share/bash-completion/completions/{program}")
        share.add(f"share/zsh/site-functions/_{program}")
        share.add(f"share/fish/vendor_completions.d/{program}.fish")
    assert share <= names


def test_pip_in_a_virtual_environment(wheel, tmp_path):
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path)  # pip is this one: a copy takes seconds to install
    run(sys.executable, "-m", "pip", "--python", tmp_path / "bin/python", "install", "--quiet", wheel)
    for module, name in (("echod", "echod"), ("echod.echoc", "echoc")):
        version = run(tmp_path / "bin" / name, "--version")
        assert version.startswith(f"{name} ")
        assert run(tmp_path / "bin/python", "-m", module, "--version") == version
    assert (tmp_path / "share/man/man1/echoc.1").exists()


@pytest.mark.campaign  # pipx makes a second environment with a second pip
def test_pipx(wheel, tmp_path):
    environ = {"PIPX_HOME": str(tmp_path / "home"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    run(need("pipx"), "install", "--python", sys.executable, wheel, **environ)
    assert run(tmp_path / "bin/echod", "--version").startswith("echod ")
    assert run(tmp_path / "bin/echoc", "--version").startswith("echoc ")


def test_uv(wheel, tmp_path):
    environ = {"UV_TOOL_DIR": str(tmp_path / "home"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    run(Path(sys.executable).parent / "uv", "tool", "install", "--python", sys.executable, wheel, **environ)
    assert run(tmp_path / "bin/echod", "--version").startswith("echod ")
    assert run(tmp_path / "bin/echoc", "--version").startswith("echoc ")
