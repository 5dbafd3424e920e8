"""Routes to other peers: section 9."""

from .datagrams import write_datagram
from .session import Session


class Route:
    """A way to another peer, under an alias of this session."""

    def __init__(self, session: Session, alias: int, peer: bytes):
        self.session = session
        self.alias = alias
        self.peer = peer

    @classmethod
    async def open(cls, session: Session, peer: bytes) -> "Route":
        """A route under the next alias that the session has not used."""
        route = cls(session, session.next_alias, peer)
        session.next_alias += 1
        session.send("OPEN", alias=route.alias, peer=peer)
        await session.frame("OPENED", alias=route.alias)
        return route

    def send(self, payload: bytes) -> None:
        self.session.send_datagram(write_datagram("aliased", alias=self.alias, payload=payload))

    def shut(self) -> None:
        self.session.send("SHUT", alias=self.alias)
