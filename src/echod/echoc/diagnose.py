"""Name what happened to bytes that came back wrong: changed, missing, duplicated, swapped, or never sent.

This relies on one property of random data: two runs of sixteen equal bytes are the same sixteen bytes.
"""

from __future__ import annotations

from echod.echoc.data import PERIOD, Data
from echod.echoc.faults import Fault

KEY = 16
SURE = 4  # bytes that are enough to find an offset by, where a stream ends before KEY
PAIR = 2
WINDOW = 1 << 19


def differences(got: bytes, expected: bytes) -> bytes:
    """Return the exclusive or of two byte strings of equal length: zero where they agree."""
    return (int.from_bytes(got) ^ int.from_bytes(expected)).to_bytes(len(got))


def first_difference(got: bytes, expected: bytes) -> int:
    """Return the first index at which two byte strings of equal length differ; their length, if nowhere."""
    return len(got) - len(differences(got, expected).lstrip(b"\0"))


def diagnose(data: Data, offset: int, got: bytes, size: int) -> Fault:
    """Name the fault that begins at `offset`, of `size` bytes sent; `got` came from there on (the more, the surer)."""
    if offset >= size:
        return Fault("extra", f"more than the {size} bytes sent, beginning with 0x{got[:KEY].hex()}", size)
    got = got[:WINDOW]
    expected = bytes(data.view(offset, len(got)))
    distance = _displacement(data, offset, got, size)
    overtaking = got.find(expected[:KEY])
    if distance > 0 and overtaking > 0:
        kind = "swapped"
        message = f"blocks swapped: {_bytes(overtaking)} came at offset {offset} that belong {distance} behind"
    else:
        kind, message = (
            _in_place(offset, expected, got, distance)
            or _shifted(offset, distance, overtaking)
            or _other(data, offset, expected, got)
        )
    return Fault(kind, message, offset, expected[:KEY].hex(), got[:KEY].hex())


def _in_place(offset: int, expected: bytes, got: bytes, distance: int) -> tuple[str, str] | None:
    """Name what leaves all that follows at its offset: one byte changed, or a few in another order.

    What never agrees again and belongs elsewhere is shifted, even if it consists of the same bytes, as it does when it
    is shifted by one and its first and last byte are equal.
    """
    affected = _affected(expected, got)
    if distance and affected == len(got):
        return None
    if affected == 1:
        return "changed", _comparison(offset, expected, got)
    if sorted(got[:affected]) != sorted(expected[:affected]):
        return None
    if affected == PAIR:
        return "swapped", f"bytes {offset} and {offset + 1} swapped"
    return "swapped", f"{affected} bytes swapped: from offset {offset} on all there, in another order"


def _shifted(offset: int, distance: int, overtaking: int) -> tuple[str, str] | None:
    """Name what shifts all that follows: `got` belongs `distance` ahead, or what was expected comes later."""
    if distance > 0:
        return "missing", f"{_bytes(distance)} missing at offset {offset}"
    if distance < 0:
        return "duplicated", f"{_bytes(-distance)} duplicated at offset {offset}"
    if overtaking > 0:
        return "inserted", f"{_bytes(overtaking)} inserted at offset {offset} that were never sent"
    return None


def _other(data: Data, offset: int, expected: bytes, got: bytes) -> tuple[str, str]:
    """Name what fits no other description."""
    if len(got) >= KEY and data.find(got[:KEY]) is not None:
        return "foreign", f"data of another offset, or connection, from offset {offset} on"
    return "changed", f"{_bytes(_affected(expected, got))} changed: {_comparison(offset, expected, got)}"


def _affected(expected: bytes, got: bytes) -> int:
    """Return how many bytes pass until both agree again at the same offset."""
    return (differences(got, expected) + bytes(KEY)).find(bytes(KEY))


def _displacement(data: Data, offset: int, got: bytes, size: int) -> int:
    """Return how far ahead (or, negative, back) in the data `got` belongs; 0: nowhere that can be."""
    if len(got) < SURE or (at := data.find(got[:KEY])) is None:
        return 0
    ahead = (at - offset) % PERIOD
    possible = [n for n in (ahead, ahead - PERIOD) if -offset <= n < size - offset]
    return min(possible, key=abs, default=0)


def _comparison(offset: int, expected: bytes, got: bytes) -> str:
    return f"byte {offset}: expected 0x{expected[0]:02x}, got 0x{got[0]:02x}"


def _bytes(count: int) -> str:
    return "one byte" if count == 1 else f"{count} bytes"
