"""What the tests have in common."""

import asyncio
import dataclasses
import unittest
from typing import Any

from batonpy.datagrams import Datagram
from batonpy.deadline import PATIENCE, TooLate, deadline
from batonpy.frames import Frame
from batonpy.identity import Identity
from batonpy.link import WIDE, End
from batonpy.numbers import Capability, Close, Intent, State
from batonpy.routes import Route
from batonpy.session import EVERYTHING, Session
from batonpy.tokens import in_seconds, write_token
from ground import Relay, read_ground


class RelayCase(unittest.IsolatedAsyncioTestCase):
    """A test with relays. All peers are new in each test, so tests do not meet."""

    async def asyncSetUp(self) -> None:
        # The default here is debug mode, in which the loop complains of what takes 100 ms. On a busy machine much does.
        asyncio.get_running_loop().set_debug(False)
        self.ground = read_ground()
        self.first, self.second = self.ground.relays

    def token(self, group: str | None = None, **claims: Any) -> bytes:
        """An access token for any peer."""
        defaults = {"aud": self.ground.audience, "exp": in_seconds(600)} | ({"grp": group} if group else {})
        return write_token(self.ground.secret, defaults | claims)

    async def dial(self, relay: Relay, identity: Identity | None = None, width: int = WIDE) -> Session:
        """A connection on which HELLO was not said yet. It is closed at the end of the test."""
        session = Session(dataclasses.replace(self.ground.pool, width=width), identity or Identity())
        self.addAsyncCleanup(self.close, session)
        await session.dial(relay.address, relay.host)
        return session

    async def close(self, session: Session) -> None:
        if not session.ended.done():
            session.close()

    async def attach(
        self,
        relay: Relay,
        identity: Identity | None = None,
        *,
        group: str | None = None,
        capabilities: Capability = EVERYTHING,
        width: int = WIDE,
    ) -> Session:
        """A fresh session that is home."""
        session = await self.dial(relay, identity, width)
        session.say_hello(Intent.FRESH, self.token(group), capabilities=capabilities)
        return await self.welcomed(session)

    async def attach_again(
        self, relay: Relay, intent: Intent, before: Session, capabilities: Capability = EVERYTHING
    ) -> Session:
        """A session of the same process, with the latest ticket of one before."""
        session = await self.dial(relay, before.identity)
        session.say_hello(intent, ticket=before.ticket, capabilities=capabilities)
        return await self.welcomed(session)

    async def welcomed(self, session: Session) -> Session:
        answer = await session.answer()
        self.assertEqual(answer.name, "WELCOME", answer)
        return session

    async def route(self, session: Session, peer: bytes) -> Route:
        """A route to a peer of the same group, once the session's relay knows that the peer is there."""
        await self.watch_until_online(session, peer)
        session.send("UNWATCH", peer=peer)
        return await Route.open(session, peer)

    async def watch_until_online(self, session: Session, peer: bytes) -> None:
        """It may be offline at first: the news of it are on their way between the relays."""
        session.send("WATCH", peer=peer)
        while (await session.frame("PRESENCE", peer=peer))["state"] != State.ONLINE:
            pass

    async def send_until_it_comes(self, route: Route, session: Session, payload: bytes) -> Datagram:
        """For what a relay hears a little later from another: until then it drops this, or sends it elsewhere."""
        async with deadline(f"the payload {payload!r}, which is sent again and again"):
            while True:
                route.send(payload)
                try:
                    return await session.payload(payload, within=0.1)
                except TooLate:
                    continue

    async def assert_ends(self, session: Session, code: Close, within: float = PATIENCE) -> None:
        self.assertEqual(await session.end(within), End(code, code.name.lower(), by_application=True))

    async def assert_nothing_more(self, session: Session, name: str) -> None:
        """No such frame waits, nor comes in answer to what was sent before."""
        await self.round_trip(session)
        self.assertEqual(session.waiting(name), [])

    async def round_trip(self, session: Session) -> None:
        """The relay serves the session, and has read all that was sent on the control stream before."""
        route = await Route.open(session, session.identity.peer)
        route.shut()

    def assert_refused(self, answer: Frame, code: int, retry: int) -> None:
        self.assertEqual((answer.name, answer["code"], answer["retry"]), ("REFUSED", code, retry), answer)
