from __future__ import annotations

import os

from echod.common import calls


def test_each_is_the_call_of_that_name():
    for name in calls.__all__:
        assert getattr(calls, name) == getattr(
            os, name.removesuffix("_file")
        )  # `open` alone would hide the built-in one
