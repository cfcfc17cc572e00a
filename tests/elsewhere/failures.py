"""The tests that fail today, by place, and why. A test that passes must be removed from this table."""

from __future__ import annotations

FAILURES: dict[tuple[str, str], str] = {}
