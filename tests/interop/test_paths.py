"""Path migration: section 13. A client has sockets on several addresses of loopback, as if they were networks."""

import asyncio
import os
import re
import urllib.request

from batonpy.datagrams import write_datagram
from batonpy.deadline import PATIENCE, deadline
from batonpy.migration import Attempt, confirmation, probe, send_probe
from batonpy.numbers import Capability, Outcome
from batonpy.path import Path
from batonpy.probes import ID_LENGTH
from batonpy.session import EVERYTHING
from case import RelayCase


class PathCase(RelayCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.session = await self.attach(self.first)
        await self.session.frame("PROBES")
        self.other = await self.attach(self.second)

    async def add_path(self) -> Path:
        """A socket on another address."""
        return await self.session.add_path(self.first.neighbour(100 + len(self.session.paths)))

    async def assert_hears(self, payload: bytes) -> None:
        """What another peer sends comes, over whatever path."""
        route = await self.route(self.other, self.session.identity.peer)
        route.send(payload)
        await self.session.payload(payload)

    async def echo(self) -> None:
        """The relay has answered all datagrams that were sent before."""
        nonce = os.urandom(8)
        self.session.send_datagram(write_datagram("echo", nonce=nonce))
        await self.session.datagram("echo_reply", nonce=nonce)

    async def migrations(self, **labels: str) -> float:
        """How many attempts of a kind the first relay has counted (docs/metrics.md)."""
        url = f"http://{self.first.admin}/metrics"
        with await asyncio.to_thread(urllib.request.urlopen, url, timeout=PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
        counts = 0.0
        for line in lines:
            if line.startswith("baton_relay_migrations_total{"):
                said = dict(re.findall(r'(\w+)="([^"]*)"', line))
                if labels.items() <= said.items():
                    counts += float(line.split()[-1])
        return counts

    async def assert_counted(self, before: float, **labels: str) -> None:
        """One more is counted, now or a moment later."""
        async with deadline(f"one attempt more that is counted as {labels}"):
            while await self.migrations(**labels) == before:
                await asyncio.sleep(0.05)


class Probes(PathCase):
    async def test_a_reply_says_what_the_relay_saw(self):
        path = await self.add_path()
        reply = await probe(self.session, path)
        self.assertEqual((reply.observed, reply.ingress), (path.local, self.session.welcome["relay"]))

    async def test_each_id_is_answered_once(self):
        path = await self.add_path()
        used, unused = self.session.probe_ids[:2]
        for probe_id in (used, used, unused):
            send_probe(self.session, path, probe_id)
        replies = [await self.session.probe_replies.take("a reply") for _ in range(2)]
        self.assertEqual([reply.probe_id for reply in replies], [used, unused])

    async def test_an_unknown_id_is_not_answered(self):
        path = await self.add_path()
        known = self.session.probe_ids[0]
        for probe_id in (os.urandom(ID_LENGTH), known):
            send_probe(self.session, path, probe_id)
        reply = await self.session.probe_replies.take("a reply")
        self.assertEqual(reply.probe_id, known)

    async def test_ids_are_good_until_the_frame_after_the_next(self):
        path = await self.add_path()
        first = list(self.session.probe_ids)
        for number in (1, 2):
            Attempt(self.session, number).report(Outcome.PROBE_TIMEOUT)
            await self.session.frame("PROBES")
            send_probe(self.session, path, first[number])
            send_probe(self.session, path, self.session.probe_ids[0])
        expected = [first[1], self.session.probe_ids[0]]
        replies = [await self.session.probe_replies.take("a reply") for _ in range(3)]
        self.assertEqual([replies[0].probe_id, replies[2].probe_id], expected)

    async def test_without_the_capability_there_are_no_ids(self):
        session = await self.attach(self.first, capabilities=EVERYTHING & ~Capability.PATHS)
        await self.assert_nothing_more(session, "PROBES")


class Migration(PathCase):
    async def test_probe_switch_confirm_report(self):
        counted = await self.migrations(kind="path", result="ok")
        path = await self.add_path()
        await probe(self.session, path)
        attempt = Attempt(self.session, 1)
        await attempt.switch(path)
        await self.assert_hears(b"over the new path")
        before = set(self.session.probe_ids)
        attempt.report(Outcome.SUCCEEDED)
        await self.session.frame("PROBES")
        self.assertTrue(before.isdisjoint(self.session.probe_ids), "each PROBES has new ids")
        await self.assert_counted(counted, kind="path", result="ok")

    async def test_there_and_back_and_on(self):
        paths = [await self.add_path(), self.session.path, await self.add_path()]
        for number, path in enumerate(paths, start=1):
            attempt = Attempt(self.session, number)
            await attempt.switch(path)
            attempt.report(Outcome.SUCCEEDED)
            await self.assert_hears(b"over path %d" % number)

    async def test_rolled_back(self):
        counted = await self.migrations(kind="path", result="failed")
        first = self.session.path
        attempt = Attempt(self.session, 1)
        self.session.answers_echo = False
        self.session.path = await self.add_path()
        self.session.send_datagram(confirmation(attempt.number, bytes(8)))
        await self.session.datagram("echo")
        self.session.path = first
        self.session.answers_echo = True
        attempt.report(Outcome.VALIDATION_TIMEOUT)
        await self.assert_hears(b"over the old path")
        await self.assert_counted(counted, kind="path", result="failed")

    async def test_a_number_that_was_used_is_not_confirmed(self):
        attempt = Attempt(self.session, 7)
        await attempt.switch(await self.add_path())
        attempt.report(Outcome.SUCCEEDED)
        await self.session.frame("PROBES")  # the relay has read the report
        await self.echo()
        self.session.datagrams.items.clear()
        for number in (7, 6):
            self.session.send_datagram(confirmation(number, bytes(8)))
        await self.echo()
        self.assertEqual(self.session.datagrams.items, [])


class Rebinding(PathCase):
    async def test_a_relay_asks_at_a_new_address(self):
        counted = await self.migrations(kind="rebind", result="ok")
        self.session.path = await self.add_path()
        await self.echo()  # any datagram would do: its address is new
        await self.session.datagram("echo")
        await self.assert_hears(b"at the new address")
        await self.assert_counted(counted, kind="rebind", result="ok")

    async def test_it_asks_again_until_it_is_answered(self):
        counted = await self.migrations(kind="rebind", result="ok")
        self.session.answers_echo = False
        self.session.path = await self.add_path()
        await self.echo()
        for _ in range(2):
            await self.session.datagram("echo")
        self.session.answers_echo = True
        await self.assert_counted(counted, kind="rebind", result="ok")
