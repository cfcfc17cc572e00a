"""Name what happened to bytes that came back wrong: changed, missing, duplicated, swapped, or never sent.

This relies on one property of random data: two runs of sixteen equal bytes are the same sixteen bytes.
"""

from __future__ import annotations

from echod.echoc.data import PERIOD_BYTES, Data, differences
from echod.echoc.faults import Fault, bytes_text

KEY_BYTES = 16
SURE_BYTES = 4  # enough to find an offset by, if a stream ends before KEY_BYTES
PAIR_BYTES = 2
WINDOW_BYTES = 1 << 19


def diagnose(data: Data, offset: int, got: bytes, size: int) -> Fault:
    """Return the fault that begins at `offset`, of `size` bytes sent.

    `got` is what came from that offset on. The more there is of it, the surer is the answer.
    """
    if offset >= size:
        return Fault("extra", f"more than the {size} bytes sent, beginning with 0x{got[:KEY_BYTES].hex()}", size)
    got = got[:WINDOW_BYTES]
    expected = bytes(data.view(offset, len(got)))
    distance = _displacement(data, offset, got, size)
    overtaking = got.find(expected[:KEY_BYTES])
    if distance > 0 and overtaking > 0:
        kind = "swapped"
        message = f"blocks swapped: {bytes_text(overtaking)} came at offset {offset} that belong {distance} behind"
    else:
        kind, message = (
            _in_place(offset, expected, got, distance)
            or _shifted(offset, distance, overtaking)
            or _other(data, offset, expected, got)
        )
    return Fault(kind, message, offset, expected[:KEY_BYTES].hex(), got[:KEY_BYTES].hex())


def _in_place(offset: int, expected: bytes, got: bytes, distance: int) -> tuple[str, str] | None:
    """Name a fault after which everything is at its offset again: one byte changed, or a few in another order.

    Bytes that never agree again and belong elsewhere are shifted. This holds even if they are the same bytes, as they
    are when they are shifted by one and the first and the last byte are equal.
    """
    affected = _affected(expected, got)
    if distance and affected == len(got):
        return None
    if affected == 1:
        return "changed", _comparison(offset, expected, got)
    if sorted(got[:affected]) != sorted(expected[:affected]):
        return None
    if affected == PAIR_BYTES:
        return "swapped", f"bytes {offset} and {offset + 1} swapped"
    return "swapped", f"{affected} bytes swapped: all are there from offset {offset} on, in another order"


def _shifted(offset: int, distance: int, overtaking: int) -> tuple[str, str] | None:
    """Name a fault that shifts the rest: `got` belongs `distance` ahead, or the expected bytes come later."""
    if distance > 0:
        return "missing", f"{bytes_text(distance)} missing at offset {offset}"
    if distance < 0:
        return "duplicated", f"{bytes_text(-distance)} duplicated at offset {offset}"
    if overtaking > 0:
        return "inserted", f"{bytes_text(overtaking)} inserted at offset {offset} that were never sent"
    return None


def _other(data: Data, offset: int, expected: bytes, got: bytes) -> tuple[str, str]:
    """Name a fault that has no other description."""
    if len(got) >= KEY_BYTES and data.find(got[:KEY_BYTES]) is not None:
        return "foreign", f"data of another offset, or connection, from offset {offset} on"
    return "changed", f"{bytes_text(_affected(expected, got))} changed: {_comparison(offset, expected, got)}"


def _affected(expected: bytes, got: bytes) -> int:
    """Return how many bytes pass until both agree again at the same offset."""
    return (differences(got, expected) + bytes(KEY_BYTES)).find(bytes(KEY_BYTES))


def _displacement(data: Data, offset: int, got: bytes, size: int) -> int:
    """Return how far ahead (or, negative, back) in the data `got` belongs, or 0 if it belongs nowhere."""
    if len(got) < SURE_BYTES or (at := data.find(got[:KEY_BYTES])) is None:
        return 0
    ahead = (at - offset) % PERIOD_BYTES
    possible = [n for n in (ahead, ahead - PERIOD_BYTES) if -offset <= n < size - offset]
    return min(possible, key=abs, default=0)


def _comparison(offset: int, expected: bytes, got: bytes) -> str:
    return f"byte {offset}: expected 0x{expected[0]:02x}, got 0x{got[0]:02x}"
