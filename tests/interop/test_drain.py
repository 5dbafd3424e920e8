"""GOAWAY, and the handover that it asks for: section 11. The first relay drains."""

import asyncio

from batonpy.datagrams import WITH_PAYLOAD
from batonpy.handover import activate, move
from batonpy.numbers import Close, Intent, Notice, Reason
from batonpy.routes import Route
from batonpy.session import Session
from case import RelayCase
from flag import GRACE_SECONDS, DrainCase

CONNECTION_REFUSED = 0x02  # of QUIC: RFC 9000 section 20.1


class Numbers:
    """Numbered datagrams, sent one after the other until it is stopped, and those of them that were heard."""

    def __init__(self, route: Route):
        self.route = route
        self.sent = 0
        self.heard: set[bytes] = set()
        self.task = asyncio.create_task(self._send())

    async def _send(self) -> None:
        while True:
            self.route.send(self._payload(self.sent))
            self.sent += 1
            await asyncio.sleep(0.002)

    def _payload(self, number: int) -> bytes:
        return b"number %d" % number

    async def hear(self, session: Session) -> None:
        """Waits until one comes that was not sent yet."""
        payload = self._payload(self.sent)
        await session.payload(payload)
        self.heard.add(payload)

    def stop(self, *sessions: Session) -> list[int]:
        """Stops, and tells which numbers were not heard on any session, of those up to the last that was waited for."""
        self.task.cancel()
        for session in sessions:
            self.heard |= {each["payload"] for each in session.datagrams.items if each.form in WITH_PAYLOAD}
        last = max(number for number in range(self.sent) if self._payload(number) in self.heard)
        return [number for number in range(last) if self._payload(number) not in self.heard]


class GoAway(DrainCase):
    async def test_it_says_why_and_until_when(self):
        session = await self.attach(self.first)
        self.drain(self.first, "scale-down")
        goaway = await session.frame("GOAWAY")
        self.assertEqual((goaway["sequence"], goaway["reason"], goaway["route ids"]), (1, Reason.SCALE_DOWN, []))
        self.assertLessEqual(goaway["deadline"], 1_000 * GRACE_SECONDS)
        self.assertLess(goaway["reconnect_after"], goaway["deadline"])
        self.assertTrue(goaway["ticket"])

    async def test_no_routes_are_opened_meanwhile(self):
        session = await self.attach(self.first)
        route = await Route.open(session, session.identity.peer)
        self.drain(self.first)
        await session.frame("GOAWAY")
        session.send("OPEN", alias=99, peer=session.identity.peer)
        await session.frame("NOTICE", alias=99, code=Notice.GOING_AWAY)
        route.send(b"those that are there go on")
        await session.payload(b"those that are there go on")

    async def test_no_sessions_are_taken_meanwhile(self):
        session = await self.attach(self.first)
        self.drain(self.first)
        await session.frame("GOAWAY")
        with self.assertRaises(ConnectionError) as raised:
            await self.dial(self.first)
        (end,) = raised.exception.args
        self.assertEqual((end.code, end.by_application), (CONNECTION_REFUSED, False))

    async def test_it_is_withdrawn(self):
        session = await self.attach(self.first)
        self.drain(self.first)
        await session.frame("GOAWAY", sequence=1)
        await self.withdraw(self.first)
        await session.frame("GOAWAY_CANCEL", sequence=1)
        session.send("GOAWAY_ACK", sequence=1)  # of one that was withdrawn: ignored
        await Route.open(session, session.identity.peer)
        self.drain(self.first)
        await session.frame("GOAWAY", sequence=2)

    async def test_a_standby_is_sent_away_too(self):
        session = await self.attach(self.second)
        standby = await self.attach_again(self.first, Intent.HANDOVER, session)
        self.drain(self.first)
        await standby.frame("GOAWAY")
        await move(session, standby)
        self.assertFalse(standby.ended.done(), "a standby that was sent away is home now, until its deadline")

    async def test_closing_leaves_nowhere_to_go(self):
        session = await self.attach(self.first)
        self.drain(self.first, "closing")
        goaway = await session.frame("GOAWAY", reason=Reason.CLOSING)
        self.assertLessEqual(goaway["deadline"], 5_000)


class Handover(DrainCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.old = await self.attach(self.first)
        self.other = await self.attach(self.second)
        self.route_to_it = await self.route(self.other, self.old.identity.peer)

    async def sent_away(self) -> Session:
        """A standby at the second relay, because the first one drains."""
        self.drain(self.first)
        await self.old.frame("GOAWAY")
        return await self.attach_again(self.second, Intent.HANDOVER, self.old)

    async def test_no_datagram_is_lost(self):
        numbers = Numbers(self.route_to_it)
        await numbers.hear(self.old)
        new = await self.sent_away()
        await move(self.old, new)
        await numbers.hear(new)
        self.old.close(Close.MOVED)
        await numbers.hear(new)
        self.assertEqual(numbers.stop(self.old, new), [], "these numbers were lost")

    async def test_what_the_peer_sends_goes_on(self):
        new = await self.sent_away()
        back = await Route.open(new, self.other.identity.peer)
        back.send(b"from a standby")
        await self.other.payload(b"from a standby")
        await move(self.old, new)
        back.send(b"from home")
        datagram = await self.other.payload(b"from home")
        self.assertEqual(await self.other.sender_of(datagram), new.identity.peer)

    async def test_one_that_failed_late_is_taken_back(self):
        await self.watch_until_online(self.other, self.old.identity.peer)
        failed = await self.sent_away()
        active = await move(self.old, failed)
        failed.vanish()

        self.old.send("RECLAIM", ticket=failed.ticket)
        reclaimed = await self.old.frame("RECLAIMED")
        self.assertGreater(reclaimed["stamp"], active["stamp"])
        await self.send_until_it_comes(self.route_to_it, self.old, b"at the old one again")
        self.old.send("OPEN", alias=99, peer=self.other.identity.peer)
        await self.old.frame("NOTICE", alias=99, code=Notice.GOING_AWAY)  # GOAWAY is outstanding still

        numbers = Numbers(self.route_to_it)
        await numbers.hear(self.old)
        new = await self.attach_again(self.second, Intent.HANDOVER, self.old)
        await move(self.old, new)
        await numbers.hear(new)
        self.assertEqual(numbers.stop(self.old, new), [], "these numbers were lost")
        await self.assert_nothing_more(self.other, "PRESENCE")


class Standbys(RelayCase):
    """Without a drain: a client may hand over whenever it has a ticket."""

    async def test_a_newer_one_ends_an_older_one(self):
        session = await self.attach(self.first)
        older = await self.attach_again(self.second, Intent.HANDOVER, session)
        await self.attach_again(self.second, Intent.HANDOVER, session)
        await self.assert_ends(older, Close.MOVED)

    async def test_one_that_ends_before_active_changes_nothing(self):
        session = await self.attach(self.first)
        standby = await self.attach_again(self.second, Intent.HANDOVER, session)
        standby.close()
        other = await self.attach(self.second)
        (await self.route(other, session.identity.peer)).send(b"still here")
        await session.payload(b"still here")

    async def test_one_whose_process_was_superseded_ends_at_active(self):
        session = await self.attach(self.first)
        standby = await self.attach_again(self.second, Intent.HANDOVER, session)
        await self.attach(self.first, session.identity.in_another_process())
        await self.assert_ends(session, Close.SUPERSEDED)
        if not standby.ended.done():
            standby.send("ACTIVE")
        await self.assert_ends(standby, Close.SUPERSEDED)

    async def test_the_old_session_takes_over_when_the_new_one_ends(self):
        session = await self.attach(self.first)
        standby = await self.attach_again(self.second, Intent.HANDOVER, session)
        await activate(standby)
        other = await self.attach(self.second)
        route = await self.route(other, session.identity.peer)
        route.send(b"to the new one")
        await standby.payload(b"to the new one")
        standby.close()
        await self.send_until_it_comes(route, session, b"to the old one")
