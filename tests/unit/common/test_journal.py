from __future__ import annotations

import pytest

from echod.common import journal


@pytest.mark.parametrize(("is_journal", "marks"), [(True, ["<3>", "<4>", "<6>", "<7>"]), (False, [""] * 4)])
def test_a_line_begins_with_its_severity_only_in_the_journal(monkeypatch, is_journal, marks):
    monkeypatch.setattr(journal, "is_journal", lambda: is_journal)
    assert [journal.mark(level) for level in range(4)] == marks
