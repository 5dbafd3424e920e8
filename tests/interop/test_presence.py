"""Presence, and what else a peer hears of another: sections 9 and 10. Watcher and watched are at two relays."""

from batonpy.handover import move
from batonpy.identity import Identity
from batonpy.numbers import Intent, State
from batonpy.session import Session
from case import RelayCase


class Presence(RelayCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.watcher = await self.attach(self.first, group="ours")

    def watch(self, identity: Identity) -> None:
        self.watcher.send("WATCH", peer=identity.peer)

    async def sees(self, identity: Identity, *states: State) -> None:
        """The next states of a peer are these."""
        for state in states:
            frame = await self.watcher.frame("PRESENCE", peer=identity.peer)
            self.assertEqual(frame["state"], state)

    async def arrives(self, identity: Identity) -> Session:
        return await self.attach(self.second, identity, group="ours")

    async def test_offline_then_online_then_offline(self):
        identity = Identity()
        self.watch(identity)
        await self.sees(identity, State.OFFLINE)
        session = await self.arrives(identity)
        await self.sees(identity, State.ONLINE)
        session.close()
        await self.sees(identity, State.OFFLINE)

    async def test_a_resume_is_offline_then_online(self):
        session = await self.arrives(Identity())
        await self.watch_until_online(self.watcher, session.identity.peer)
        await self.attach_again(self.second, Intent.RESUME, session)
        await self.sees(session.identity, State.OFFLINE, State.ONLINE)

    async def test_a_handover_is_no_change(self):
        session = await self.arrives(Identity())
        await self.watch_until_online(self.watcher, session.identity.peer)
        new = await self.attach_again(self.first, Intent.HANDOVER, session)
        await move(session, new)
        await self.assert_nothing_more(self.watcher, "PRESENCE")
        session.close()
        new.close()
        await self.sees(session.identity, State.OFFLINE)

    async def test_another_group_is_never_seen(self):
        stranger, friend = Identity(), Identity()
        self.watch(stranger)
        await self.sees(stranger, State.OFFLINE)
        await self.attach(self.second, stranger, group="theirs")
        await self.arrives(friend)
        await self.watch_until_online(self.watcher, friend.peer)
        self.assertEqual(self.watcher.waiting("PRESENCE"), [])

    async def test_after_unwatch_nothing_comes(self):
        forgotten, watched = Identity(), Identity()
        for identity in (forgotten, watched):
            self.watch(identity)
            await self.sees(identity, State.OFFLINE)
        self.watcher.send("UNWATCH", peer=forgotten.peer)
        await self.round_trip(self.watcher)
        await self.arrives(forgotten)
        await self.arrives(watched)
        await self.sees(watched, State.ONLINE)
        self.assertEqual(self.watcher.waiting("PRESENCE"), [])

    async def test_a_peer_watches_itself(self):
        self.watch(self.watcher.identity)
        await self.sees(self.watcher.identity, State.ONLINE)

    async def test_a_route_is_refreshed_when_its_peer_attaches_anew(self):
        session = await self.arrives(Identity())
        await self.route(self.watcher, session.identity.peer)
        again = await self.attach_again(self.second, Intent.RESUME, session)
        await self.watcher.frame("ROUTE_REFRESHED", peer=session.identity.peer)
        again.close()
        await self.arrives(session.identity)
        await self.watcher.frame("ROUTE_REFRESHED", peer=session.identity.peer)
