from __future__ import annotations

import pytest

from support.debian import build


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Return the directory with the Debian package and what lintian reads."""
    return build(tmp_path_factory.mktemp("deb"))
