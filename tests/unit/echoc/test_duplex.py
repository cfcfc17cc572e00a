from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.kinds import StartEchoc, StartServer


def test_a_reset_is_one_even_if_only_the_sender_hears_of_it(start_echoc: StartEchoc, server: StartServer) -> None:
    port = server("reset")
    for _ in range(10):  # a race: who is told, sender or receiver
        with open("/dev/zero", "rb") as zero:
            process = start_echoc("127.0.0.1", port, stdin=zero)
            assert process.wait(timeout=60) == 1
        assert ": reset, with " in process.stderr.read().decode()
