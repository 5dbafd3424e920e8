"""Renewal of access tokens: section 7."""

import asyncio

from batonpy.identity import Identity
from batonpy.numbers import Intent, Refusal, Retry
from batonpy.tokens import in_seconds
from case import RelayCase

A_SECOND = 1.0  # no session may ask more often


class Renewal(RelayCase):
    async def test_a_newer_token_is_accepted(self):
        session = await self.attach(self.first, group="ours")
        ticket, expires = session.ticket, in_seconds(3_600)
        session.send("RENEW", token=self.token("ours", exp=expires))
        renewed = await session.frame("RENEWED")
        self.assertEqual(int.from_bytes(renewed["expires"], "big"), expires + 30)
        self.assertNotEqual(renewed["ticket"], ticket)
        await self.attach_again(self.second, Intent.RESUME, session)

    async def test_an_earlier_end_takes_nothing_away(self):
        session = await self.attach(self.first)
        session.send("RENEW", token=self.token(exp=in_seconds(60)))
        renewed = await session.frame("RENEWED")
        self.assertGreater(int.from_bytes(renewed["expires"], "big"), in_seconds(300))

    async def test_a_standby_may_ask(self):
        session = await self.attach(self.first)
        standby = await self.attach_again(self.second, Intent.HANDOVER, session)
        standby.send("RENEW", token=self.token())
        await standby.frame("RENEWED")

    async def refused(self, token: bytes, code: Refusal) -> None:
        session = await self.attach(self.first, group="ours")
        session.send("RENEW", token=token)
        refused = await session.frame("RENEW_REFUSED")
        self.assertEqual((refused["code"], refused["retry"]), (code, Retry.NEVER))
        await self.assert_nothing_more(session, "RENEWED")  # the session goes on

    async def test_none_is_refused(self):
        await self.refused(b"", Refusal.TOKEN_REQUIRED)

    async def test_one_for_another_group_is_refused(self):
        await self.refused(self.token("theirs"), Refusal.TOKEN_INVALID)

    async def test_one_of_another_peer_is_refused(self):
        await self.refused(self.token("ours", sub=Identity().text), Refusal.TOKEN_INVALID)

    async def test_one_that_has_expired_is_refused(self):
        await self.refused(self.token("ours", exp=in_seconds(-60)), Refusal.TOKEN_EXPIRED)

    async def test_the_second_within_a_second_comes_too_soon(self):
        session = await self.attach(self.first)
        session.send("RENEW", token=self.token())
        session.send("RENEW", token=self.token())
        await session.frame("RENEWED")
        refused = await session.frame("RENEW_REFUSED", code=Refusal.TOO_SOON, retry=Retry.AFTER)
        self.assertLessEqual(refused["delay"], 1_000)
        await asyncio.sleep(A_SECOND)
        session.send("RENEW", token=self.token())
        await session.frame("RENEWED")
