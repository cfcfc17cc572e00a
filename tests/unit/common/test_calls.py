from __future__ import annotations

import os

from echod.common import calls


def test_each_is_the_call_of_that_name():
    assert {name: getattr(calls, name) for name in calls.__all__} == {name: getattr(os, name) for name in calls.__all__}
