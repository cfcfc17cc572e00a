from __future__ import annotations

import pytest

from support.debian import build
from support.systemd_box import EchodBox


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Return the directory with the Debian package and what lintian reads."""
    return build(tmp_path_factory.mktemp("deb"))


@pytest.fixture
def boot(tmp_path):
    """Return a function that boots a box with units."""
    boxes = []

    def start(*units, config=""):
        boxes.append(EchodBox(tmp_path, *units, config=config))
        return boxes[-1]

    yield start
    for box in boxes:
        box.close()
