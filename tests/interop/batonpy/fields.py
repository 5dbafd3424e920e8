"""Fields of frames: section 3, and the names that section 4 gives to what is wrong with them."""

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from .varint import LONGEST, Incomplete, read_varint, write_varint


class FrameError(Exception):
    """Bytes that are an error, by its name of section 4."""

    def __init__(self, name: str):
        super().__init__(name)
        self.name = name


class Body:
    """Reads the body of a frame, field by field."""

    def __init__(self, data: bytes):
        self.data = data
        self.position = 0

    def take(self, length: int) -> bytes:
        end = self.position + length
        if end > len(self.data):
            raise FrameError("short")
        taken, self.position = self.data[self.position : end], end
        return taken

    def varint(self) -> int:
        try:
            value, self.position = read_varint(self.data, self.position)
        except Incomplete:
            raise FrameError("short") from None
        return value

    def finish(self) -> None:
        if self.position != len(self.data):
            raise FrameError("trailing")


@dataclass
class Byte:
    """A number with a meaning."""

    meanings: Collection[int]

    def read(self, body: Body) -> int:
        value = body.take(1)[0]
        if value not in self.meanings:
            raise FrameError("value")
        return value

    def write(self, value: int) -> bytes:
        return bytes([value])


@dataclass
class Fixed:
    """So many bytes."""

    length: int

    def read(self, body: Body) -> bytes:
        return body.take(self.length)

    def write(self, value: bytes) -> bytes:
        if len(value) != self.length:
            raise ValueError(f"the field has {self.length} bytes, not {len(value)}")
        return value


@dataclass
class Number:
    """A varint, within bounds."""

    lowest: int = 0
    highest: int = LONGEST

    def read(self, body: Body) -> int:
        value = body.varint()
        if not self.lowest <= value <= self.highest:
            raise FrameError("value")
        return value

    def write(self, value: int) -> bytes:
        return write_varint(value)


@dataclass
class Bytes:
    """A length, and so many bytes."""

    limit: int

    def read(self, body: Body) -> bytes:
        return body.take(Number(highest=self.limit).read(body))

    def write(self, value: bytes) -> bytes:
        return write_varint(len(value)) + value


@dataclass
class Text(Bytes):
    """Bytes that are UTF-8."""

    def read(self, body: Body) -> str:
        try:
            return super().read(body).decode()
        except UnicodeDecodeError:
            raise FrameError("value") from None

    def write(self, value: str) -> bytes:
        return super().write(value.encode())


@dataclass
class Many:
    """A count, and so many values of one length."""

    limit: int
    length: int

    def read(self, body: Body) -> list[bytes]:
        return [body.take(self.length) for _ in range(Number(highest=self.limit).read(body))]

    def write(self, values: list[bytes]) -> bytes:
        return write_varint(len(values)) + b"".join(values)


class Address:
    """An IP address and a port, as text: `192.0.2.1:4443`, `[2001:db8::1]:4443`."""

    def read(self, body: Body) -> str:
        family = Byte((4, 6)).read(body)
        ip = ipaddress.ip_address(body.take(4 if family == 4 else 16))
        if ip.version == 6 and ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        port = int.from_bytes(body.take(2), "big")
        return f"{ip}:{port}" if ip.version == 4 else f"[{ip}]:{port}"

    def write(self, value: str) -> bytes:
        host, port = value.rsplit(":", 1)
        ip = ipaddress.ip_address(host.strip("[]"))
        return bytes([ip.version]) + ip.packed + int(port).to_bytes(2, "big")


@dataclass
class OnlyIf:
    """A field that is there only if one before it has a certain value."""

    name: str
    value: int
    field: Any


ALIAS = Number(16, (1 << 30) - 1)
DURATION = Number(0, 1 << 30)
