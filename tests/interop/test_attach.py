"""Attaching: sections 6, 7 and 8."""

from batonpy.hello import hello, signature, unsigned_body
from batonpy.identity import Identity
from batonpy.numbers import Capability, Close, Intent, Refusal, Retry
from batonpy.session import EVERYTHING, Session
from batonpy.tokens import in_seconds, write_token
from case import RelayCase

GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493  # of Ed25519: RFC 8032 section 5.1


class Welcome(RelayCase):
    async def test_a_token_lets_in(self):
        session = await self.attach(self.first)
        welcome = session.welcome
        self.assertEqual(welcome["observed"], session.path.local)
        self.assertEqual((welcome["max_datagram"], welcome["route ids"]), (1_200, []))
        self.assertEqual((welcome["idle"], welcome["keep_alive"]), (60_000, 12_000))
        self.assertEqual(welcome["epoch"][0], 0, "the upper 8 bits are zero")
        self.assertTrue(welcome["ticket"])

    async def test_capabilities_come_next(self):
        session = await self.dial(self.first)
        unknown = Capability(1 << 40)
        session.say_hello(Intent.FRESH, self.token(), capabilities=EVERYTHING | unknown)
        names = [(await session.frames.take("a frame")).name for _ in range(3)]
        self.assertEqual(names, ["WELCOME", "CAPABILITIES", "PROBES"])
        self.assertEqual(session.capabilities, EVERYTHING)

    async def test_a_client_without_capabilities_is_told_none(self):
        session = await self.attach(self.first, capabilities=Capability(0))
        await self.assert_nothing_more(session, "CAPABILITIES")
        self.assertEqual(session.waiting("PROBES"), [])

    async def test_a_token_for_this_peer_lets_in(self):
        identity = Identity()
        session = await self.dial(self.first, identity)
        session.say_hello(Intent.FRESH, self.token(sub=identity.text.upper()))
        await self.welcomed(session)

    async def test_the_other_field_is_not_looked_at(self):
        session = await self.dial(self.first)
        session.say_hello(Intent.FRESH, self.token(), ticket=b"nonsense")
        await self.welcomed(session)
        again = await self.dial(self.first, session.identity)
        again.say_hello(Intent.RESUME, token=b"nonsense", ticket=session.ticket)
        await self.welcomed(again)


class RefusedTokens(RelayCase):
    async def refused(self, token: bytes, code: Refusal) -> None:
        session = await self.dial(self.first)
        session.say_hello(Intent.FRESH, token)
        self.assert_refused(await session.answer(), code, Retry.NEVER)
        await self.assert_ends(session, Close.REFUSED)

    async def test_none(self):
        await self.refused(b"", Refusal.TOKEN_REQUIRED)

    async def test_no_token_at_all(self):
        await self.refused(b"nonsense", Refusal.TOKEN_INVALID)

    async def test_expired(self):
        await self.refused(self.token(exp=in_seconds(-60)), Refusal.TOKEN_EXPIRED)

    async def test_not_valid_yet(self):
        await self.refused(self.token(nbf=in_seconds(90)), Refusal.TOKEN_EXPIRED)

    async def test_for_another_pool(self):
        await self.refused(self.token(aud="another/pool"), Refusal.TOKEN_INVALID)

    async def test_of_another_peer(self):
        await self.refused(self.token(sub=Identity().text), Refusal.TOKEN_INVALID)

    async def test_with_too_long_a_group(self):
        await self.refused(self.token(group="g" * 129), Refusal.TOKEN_INVALID)

    async def test_made_with_another_secret(self):
        claims = {"aud": self.ground.audience, "exp": in_seconds(600)}
        await self.refused(write_token(bytes(32), claims), Refusal.TOKEN_INVALID)

    async def test_with_an_extension(self):
        claims = {"aud": self.ground.audience, "exp": in_seconds(600)}
        header = {"alg": "HS256", "crit": ["b64"], "b64": True}
        await self.refused(write_token(self.ground.secret, claims, header), Refusal.TOKEN_INVALID)


class Signatures(RelayCase):
    def unsigned(self, session: Session) -> bytes:
        return unsigned_body(session.identity, Intent.FRESH, EVERYTHING, self.token())

    async def refused(self, session: Session, frame: bytes) -> None:
        session.send_bytes(frame)
        self.assert_refused(await session.answer(), Refusal.BAD_SIGNATURE, Retry.NEVER)
        await self.assert_ends(session, Close.REFUSED)

    async def test_a_bit_was_changed(self):
        session = await self.dial(self.first)
        unsigned = self.unsigned(session)
        signed = bytearray(signature(session.identity, unsigned, session.quic.export))
        signed[10] ^= 1
        await self.refused(session, hello(unsigned, signed))

    async def test_it_is_malleable(self):
        session = await self.dial(self.first)
        unsigned = self.unsigned(session)
        signed = signature(session.identity, unsigned, session.quic.export)
        scalar = int.from_bytes(signed[32:], "little") + GROUP_ORDER
        await self.refused(session, hello(unsigned, signed[:32] + scalar.to_bytes(32, "little")))

    async def test_a_field_was_changed_after_it_was_signed(self):
        session = await self.dial(self.first)
        signed = signature(session.identity, self.unsigned(session), session.quic.export)
        session.identity.instance = bytes(16)
        await self.refused(session, hello(self.unsigned(session), signed))

    async def test_it_is_of_another_connection(self):
        session = await self.dial(self.first)
        frame = session.say_hello(Intent.FRESH, self.token())
        await self.welcomed(session)
        replay = await self.dial(self.first, session.identity)
        await self.refused(replay, frame)
        await self.round_trip(session)  # the first one lives


class Tickets(RelayCase):
    async def test_garbage_leads_to_a_fresh_attachment(self):
        identity = Identity()
        session = await self.dial(self.first, identity)
        session.say_hello(Intent.RESUME, ticket=b"garbage")
        self.assert_refused(await session.answer(), Refusal.TICKET_INVALID, Retry.FRESH)
        await self.assert_ends(session, Close.REFUSED)
        await self.attach(self.first, identity)

    async def test_it_is_good_at_another_relay(self):
        session = await self.attach(self.first)
        again = await self.attach_again(self.second, Intent.RESUME, session)
        self.assertGreater(again.welcome["stamp"], session.welcome["stamp"])
        await self.assert_ends(session, Close.MOVED)

    async def test_it_is_not_good_for_another_process(self):
        session = await self.attach(self.first)
        other = await self.dial(self.first, session.identity.in_another_process())
        other.say_hello(Intent.RESUME, ticket=session.ticket)
        self.assert_refused(await other.answer(), Refusal.TICKET_INVALID, Retry.FRESH)

    async def test_it_is_not_good_for_another_peer(self):
        session = await self.attach(self.first)
        other = await self.dial(self.first)
        other.say_hello(Intent.RESUME, ticket=session.ticket)
        self.assert_refused(await other.answer(), Refusal.TICKET_INVALID, Retry.FRESH)

    async def test_another_process_supersedes(self):
        session = await self.attach(self.first)
        await self.attach(self.second, session.identity.in_another_process())
        await self.assert_ends(session, Close.SUPERSEDED)
