from __future__ import annotations

import os

from echod.cli.check import listing
from echod.common.config.settings import SETTINGS


def test_every_setting_with_its_value_and_its_origin(plan, public):
    head, *lines = listing.lines(plan("max_children=9", text="[echod]\nidle_timeout = 60s\n"))
    assert head == "[echod]"
    values, origins = zip(*(line.split(" # ") for line in lines), strict=True)
    found = dict(line.split(" =") for line in values)
    assert list(found) == list(SETTINGS)
    assert (found["max_children"].strip(), found["idle_timeout"].strip()) == ("9", "1min")
    assert found["pid_file"].strip() == f"{public}/e.pid"
    if os.geteuid() == 0:
        assert (found["user"].strip(), found["group"].strip()) == ("nobody", "nogroup")
    by_name = dict(zip(found, origins, strict=True))
    assert (by_name["max_children"], by_name["idle_timeout"], by_name["deny"]) == (
        "-o",
        f"{public}/echod.conf:2",
        "default",
    )


def test_a_group_without_a_name_is_a_number():
    assert listing.group_name(0) == "root"
    assert listing.group_name(4000000000) == "4000000000"
