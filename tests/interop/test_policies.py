"""Whom a session lets in: section 9. Sender and receiver are at two relays."""

from batonpy.deadline import TooLate, deadline
from batonpy.identity import Identity
from batonpy.numbers import Capability, Close, Intent, Mode, Notice, Verb
from batonpy.routes import Route
from batonpy.session import EVERYTHING, Session
from case import RelayCase

WITH_POLICY_FIRST = EVERYTHING | Capability.POLICY_FIRST


class Policies(RelayCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.receiver = await self.attach(self.second, group="ours")

    async def set_mode(self, mode: Mode) -> None:
        self.receiver.send("POLICY", mode=mode)
        await self.receiver.frame("RULED", result=0)

    async def rule(self, verb: Verb, *peers: Identity) -> None:
        self.receiver.send("RULE", verb=verb, peers=[peer.peer for peer in peers])
        await self.receiver.frame("RULED", result=0)

    async def sender(self, group: str) -> tuple[Session, Route]:
        session = await self.attach(self.first, group=group)
        return session, await Route.open(session, self.receiver.identity.peer)

    async def gets_in(self, route: Route, payload: bytes) -> None:
        """The sender's relay hears a little later that the receiver is there, and that it lets strangers in."""
        await self.send_until_it_comes(route, self.receiver, payload)

    async def stays_out(self, session: Session, route: Route) -> None:
        """NOTICE says so, which comes once a second; it is sent until then."""
        async with deadline("NOTICE"):
            while True:
                route.send(b"let me in")
                try:
                    await session.frame("NOTICE", within=0.1, alias=route.alias, code=Notice.OFFLINE)
                except TooLate:
                    continue
                break
        received = [datagram["payload"] for datagram in self.receiver.datagrams.items]
        self.assertNotIn(b"let me in", received)

    async def test_of_strangers_only_any_lets_in(self):
        stranger, route = await self.sender("theirs")
        await self.stays_out(stranger, route)
        await self.set_mode(Mode.ANY)
        await self.gets_in(route, b"any")
        await self.set_mode(Mode.GROUP)
        await self.stays_out(stranger, route)

    async def test_stranger_comes_before_its_sender(self):
        await self.set_mode(Mode.ANY)
        stranger, route = await self.sender("theirs")
        await self.gets_in(route, b"any")
        both = ("STRANGER", "SENDER")
        first = await self.receiver.frames.take("either", lambda frame: frame.name in both)
        self.assertEqual((first.name, first["peer"]), ("STRANGER", stranger.identity.peer))
        await self.receiver.frame("SENDER", peer=stranger.identity.peer)
        await self.assert_nothing_more(self.receiver, "STRANGER")

    async def test_a_friend_is_no_stranger(self):
        await self.set_mode(Mode.ANY)
        _, route = await self.sender("ours")
        await self.gets_in(route, b"friend")
        await self.assert_nothing_more(self.receiver, "STRANGER")

    async def test_who_is_not_on_the_list_knocks_once(self):
        await self.set_mode(Mode.LIST)
        friend, route = await self.sender("ours")
        await self.stays_out(friend, route)
        await self.receiver.frame("KNOCK", peer=friend.identity.peer)
        await self.stays_out(friend, route)
        await self.assert_nothing_more(self.receiver, "KNOCK")
        await self.rule(Verb.ALLOW, friend.identity)
        await self.gets_in(route, b"allowed")

    async def test_a_stranger_does_not_knock(self):
        await self.set_mode(Mode.LIST)
        stranger, route = await self.sender("theirs")
        await self.stays_out(stranger, route)
        await self.assert_nothing_more(self.receiver, "KNOCK")

    async def test_a_stranger_is_let_in_by_name(self):
        stranger, route = await self.sender("theirs")
        await self.rule(Verb.ALLOW, stranger.identity)
        await self.gets_in(route, b"by name")
        await self.receiver.frame("STRANGER", peer=stranger.identity.peer)
        await self.rule(Verb.DISALLOW, stranger.identity)
        await self.stays_out(stranger, route)

    async def test_who_is_blocked_stays_out_even_if_allowed(self):
        friend, route = await self.sender("ours")
        await self.gets_in(route, b"before")
        await self.rule(Verb.ALLOW, friend.identity)
        await self.rule(Verb.BLOCK, friend.identity)
        await self.set_mode(Mode.ANY)
        await self.stays_out(friend, route)
        await self.rule(Verb.UNBLOCK, friend.identity)
        await self.gets_in(route, b"after")

    async def test_a_list_has_an_end(self):
        for first in range(0, 1_024, 256):
            await self.rule(Verb.ALLOW, *(Identity() for _ in range(256)))
        self.receiver.send("RULE", verb=Verb.ALLOW, peers=[Identity().peer])
        await self.receiver.frame("RULED", result=1, allowed=1_024)

    async def test_changes_have_a_pace(self):
        for _ in range(40):
            self.receiver.send("POLICY", mode=Mode.ANY)
        await self.assert_ends(self.receiver, Close.LIMIT_EXCEEDED)


class PolicyFirst(RelayCase):
    async def test_a_fresh_session_is_a_standby_until_policy(self):
        watcher = await self.attach(self.first)
        identity = Identity()
        session = await self.attach(self.second, identity, capabilities=WITH_POLICY_FIRST)
        watcher.send("WATCH", peer=identity.peer)
        await watcher.frame("PRESENCE", peer=identity.peer, state=0)
        session.send("RULE", verb=Verb.BLOCK, peers=[watcher.identity.peer])
        session.send("POLICY", mode=Mode.GROUP)
        await session.frame("RULED", result=0)
        await session.frame("RULED", result=0)
        await watcher.frame("PRESENCE", peer=identity.peer, state=1)

    async def test_an_older_session_ends_only_then(self):
        before = await self.attach(self.first)
        after = await self.attach_again(self.second, Intent.RESUME, before, WITH_POLICY_FIRST)
        await self.round_trip(before)
        after.send("POLICY", mode=Mode.GROUP)
        await after.frame("RULED", result=0)
        await self.assert_ends(before, Close.MOVED)

    async def test_active_before_policy_is_a_violation(self):
        before = await self.attach(self.first)
        standby = await self.attach_again(self.second, Intent.HANDOVER, before, WITH_POLICY_FIRST)
        standby.send("ACTIVE")
        await self.assert_ends(standby, Close.PROTOCOL_VIOLATION)

    async def test_a_handover_has_its_policy_before_active(self):
        before = await self.attach(self.first)
        standby = await self.attach_again(self.second, Intent.HANDOVER, before, WITH_POLICY_FIRST)
        standby.send("POLICY", mode=Mode.LIST)
        await standby.frame("RULED", result=0)
        standby.send("ACTIVE")
        await standby.frame("ACTIVE_OK")
