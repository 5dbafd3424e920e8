"""The relays that the tests run against, as whoever started them describes them.

`BATON_INTEROP_GROUND` is the path of a JSON file:

    {
        "serverName": "…", "audience": "ns/pool", "ca": "/…/ca.pem", "secret": "/…/secret", "baton": "/…/baton",
        "relays": [{"address": "127.0.0.1:4443", "admin": "127.0.0.1:9100", "drain": "/…/drain"}, {…}]
    }

`secret` is the file with the pool's shared secret (mode `token`), `baton` the command, `drain` the file with a relay's
shutdown flag. There are two relays, at addresses of loopback, linked to each other.
"""

import ipaddress
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batonpy.link import Pool

VARIABLE = "BATON_INTEROP_GROUND"


@dataclass(frozen=True)
class Relay:
    """A relay of the pool."""

    host: str
    port: int
    admin: str
    drain: Path

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    def neighbour(self, distance: int) -> str:
        """Another address of loopback, which is that of another network to whoever comes from there."""
        return str(ipaddress.ip_address(self.host) + distance)


@dataclass(frozen=True)
class Ground:
    """A pool, its secret, and two of its relays."""

    pool: Pool
    audience: str
    secret: bytes
    baton: str
    relays: tuple[Relay, Relay]


def read_ground() -> Ground:
    if VARIABLE not in os.environ:
        raise RuntimeError(f"{VARIABLE} is not set: run this by `make show T=interop`, or see README.md")
    said = json.loads(Path(os.environ[VARIABLE]).read_text(encoding="utf-8"))
    return Ground(
        pool=Pool(said["serverName"], said["ca"]),
        audience=said["audience"],
        secret=Path(said["secret"]).read_bytes().rstrip(),
        baton=said["baton"],
        relays=tuple(read_relay(relay) for relay in said["relays"]),
    )


def read_relay(said: dict[str, Any]) -> Relay:
    host, port = said["address"].rsplit(":", 1)
    return Relay(host, int(port), said["admin"], Path(said["drain"]))
