"""What is published names no address, host or repository that is not ours; one spot names the place of publication."""

from __future__ import annotations

import re
import tomllib

import pytest

from support.debian import ROOT

# Standards, the format of debian/copyright among them, and names that never belong to anyone (RFC 2606, RFC 6761).
OTHERS = {"keepachangelog.com", "semver.org", "www.debian.org"}
FILES = [
    "pyproject.toml",
    "REUSE.toml",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/releasing.md",
    "debian/changelog",
    "debian/control",
    "debian/copyright",
    "etc/kubernetes.yaml",
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
URL = re.compile(r"https?://([^/\s>)\"'|]+)")
ADDRESS = re.compile(r"[\w.+-]+@([\w-]+(?:\.[\w-]+)+)")


def is_foreign(name: str) -> bool:
    return name not in OTHERS and not name.endswith((".invalid", ".example"))


@pytest.mark.parametrize("name", FILES)
def test_no_name_is_of_others(name: str) -> None:
    ours = {host for url in PROJECT.get("urls", {}).values() for host in URL.findall(url)}
    ours |= {author["email"].partition("@")[2] for author in PROJECT["authors"]}
    text = (ROOT / name).read_text()
    found = set(URL.findall(text)) | set(ADDRESS.findall(text))
    assert {host for host in found - ours if is_foreign(host)} == set()


def test_one_spot_has_the_place_of_publication() -> None:
    assert "pyproject.toml" in (ROOT / "docs" / "releasing.md").read_text()
    assert PROJECT["authors"][0]["email"]
    assert set(PROJECT.get("urls", {})) <= {"Homepage"}


def test_the_readme_says_that_the_name_is_taken() -> None:
    text = (ROOT / "README.md").read_text()
    assert re.search(r"`echod` on PyPI \(2015\) is another program", text)
    assert not re.search(r"(pipx?|uv tool|uv pip) install (?:-\S+ )*echod\b", text)


def test_the_oldest_python_of_the_classifiers_is_the_one_that_is_required() -> None:
    minors = [
        int(text.rpartition(".")[2]) for text in PROJECT["classifiers"] if re.search(r":: Python :: 3\.\d+$", text)
    ]
    assert PROJECT["requires-python"] == f">=3.{min(minors)}"
    assert minors == list(range(min(minors), max(minors) + 1))
