"""Name what happened to bytes that came back wrong: changed, missing, duplicated, swapped, or not ours at all.

All rests on one property of random data: sixteen bytes that agree, agree because they are the same sixteen bytes.
"""

from __future__ import annotations

from echod.echoc.data import PERIOD, Data
from echod.echoc.errors import Fault

KEY = 16
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
    again = (differences(got, expected) + bytes(1)).find(bytes(min(KEY, len(got))))
    if again > 1 and sorted(got[:again]) == sorted(expected[:again]):
        kind, message = "swapped", _swapped(offset, again)
    elif again == 1 or len(got) == 1:
        kind, message = "changed", _comparison(offset, expected, got)
    elif distance := _displacement(data, offset, got, size):
        kind, message = _shifted(offset, distance)
    elif (extra := got.find(expected[:KEY])) > 0:
        kind, message = "inserted", f"{_bytes(extra)} never sent inserted at offset {offset}"
    elif again > 1:
        kind, message = "changed", f"{_bytes(again)} changed: {_comparison(offset, expected, got)}"
    elif data.find(got[:KEY]) is not None:
        kind, message = "foreign", f"data of another place or connection from offset {offset} on"
    else:
        kind, message = "garbled", f"garbled from there on: {_comparison(offset, expected, got)}"
    return Fault(kind, message, offset, expected[:KEY].hex(), got[:KEY].hex())


def _displacement(data: Data, offset: int, got: bytes, size: int) -> int:
    """Return how far ahead (or, negative, back) in the data `got` belongs; 0: nowhere that can be."""
    if len(got) < KEY or (at := data.find(got[:KEY])) is None:
        return 0
    ahead = (at - offset) % PERIOD
    possible = [n for n in (ahead, ahead - PERIOD) if -offset <= n < size - offset]
    return min(possible, key=abs, default=0)


def _shifted(offset: int, distance: int) -> tuple[str, str]:
    if distance > 0:
        return "missing", f"{_bytes(distance)} missing at offset {offset}"
    return "duplicated", f"{_bytes(-distance)} duplicated at offset {offset}"


def _swapped(offset: int, length: int) -> str:
    if length == 2:  # noqa: PLR2004  a pair
        return f"bytes {offset} and {offset + 1} swapped"
    return f"{_bytes(length)} from offset {offset} on swapped: all there, in another order"


def _comparison(offset: int, expected: bytes, got: bytes) -> str:
    return f"byte {offset}: expected 0x{expected[0]:02x}, got 0x{got[0]:02x}"


def _bytes(count: int) -> str:
    return "one byte" if count == 1 else f"{count} bytes"
