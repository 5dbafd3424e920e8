"""Varints: section 3, and RFC 9000 section 16."""

LONGEST = (1 << 62) - 1


class Incomplete(Exception):
    """The bytes end too early. They may become something when more of them come."""


def write_varint(value: int) -> bytes:
    """The shortest form of a number."""
    for power, bits in enumerate((6, 14, 30, 62)):
        if value < 1 << bits:
            return (power << bits | value).to_bytes(1 << power, "big")
    raise ValueError(f"{value} is too large for a varint")


def read_varint(data: bytes, start: int = 0) -> tuple[int, int]:
    """The number that begins at `start`, in whatever form, and where the next field begins."""
    if start >= len(data):
        raise Incomplete
    length = 1 << (data[start] >> 6)
    end = start + length
    if end > len(data):
        raise Incomplete
    return int.from_bytes(data[start:end], "big") & ((1 << 8 * length - 2) - 1), end
