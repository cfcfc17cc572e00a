from __future__ import annotations

from echod.log.sinks import NoLog


def test_it_takes_every_line_and_loses_none():
    sink = NoLog()
    assert sink.write(0, "crash") is True
    sink.write_all(3, ["accept", "close"])
    sink.reopen()
    sink.close()
    assert sink.lost == 0
