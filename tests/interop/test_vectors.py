"""The test vectors of protocol/vectors (section 21), read and written by this client. Needs no relay."""

import hashlib
import json
import unittest
from enum import EnumType
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from batonpy import frames, numbers
from batonpy.datagrams import read_datagram, write_datagram
from batonpy.fields import FrameError
from batonpy.frames import AFTER_WELCOME, BEFORE_WELCOME, FRAMES, Frame, FrameReader, write_frame
from batonpy.hello import LABEL, hello, signature, unsigned_body
from batonpy.identity import Identity, peer_text, read_peer, relay_id
from batonpy.probes import ProbeReply, read_reply
from batonpy.tokens import write_token
from batonpy.varint import Incomplete, read_varint, write_varint

VECTORS = Path(__file__).resolve().parents[2] / "protocol" / "vectors"


def read_vectors(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


def as_json(value: Any) -> Any:
    """A field as the vectors write it."""
    if isinstance(value, bytes):
        return value.hex()
    return [as_json(each) for each in value] if isinstance(value, list) else value


def all_as_json(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: as_json(value) for name, value in fields.items()}


class Frames(unittest.TestCase):
    vectors = read_vectors("frames")

    def read(self, data: str) -> list[Frame]:
        return list(FrameReader(AFTER_WELCOME).read(bytes.fromhex(data)))

    def test_every_frame_is_read_and_written(self):
        for vector in self.vectors["frames"]:
            with self.subTest(vector["what"], name=vector["name"]):
                (frame,) = self.read(vector["bytes"])
                self.assertEqual((frame.name, all_as_json(frame.fields)), (vector["name"], vector["fields"]))
                self.assertEqual(write_frame(frame.name, **frame.fields).hex(), vector["bytes"])

    def test_long_forms_are_read(self):
        for vector in self.vectors["long_forms"]:
            with self.subTest(vector["what"]):
                (frame,) = self.read(vector["bytes"])
                self.assertEqual((frame.name, all_as_json(frame.fields)), (vector["name"], vector["fields"]))

    def test_frames_come_in_pieces(self):
        stream = bytes.fromhex("".join(vector["bytes"] for vector in self.vectors["frames"]))
        reader = FrameReader(AFTER_WELCOME)
        names = [frame.name for each in stream for frame in reader.read(bytes([each]))]
        self.assertEqual(names, [vector["name"] for vector in self.vectors["frames"]])

    def test_errors_have_their_names(self):
        for vector in self.vectors["errors"]:
            with self.subTest(vector["what"]):
                limit = AFTER_WELCOME if vector["after_welcome"] else BEFORE_WELCOME
                with self.assertRaises(FrameError) as raised:
                    list(FrameReader(limit).read(bytes.fromhex(vector["bytes"])))
                self.assertEqual(raised.exception.name, vector["error"])

    def test_unknown_types_are_skipped(self):
        for vector in self.vectors["skipped"]:
            with self.subTest(vector["what"]):
                self.assertEqual(self.read(vector["bytes"]), [Frame("OPENED", {"alias": 16})])

    def test_what_is_incomplete_is_waited_for(self):
        for data in self.vectors["incomplete"]:
            with self.subTest(data):
                self.assertEqual(self.read(data), [])


class Varints(unittest.TestCase):
    vectors = read_vectors("varints")

    def test_the_shortest_form_is_written(self):
        for vector in self.vectors["shortest"]:
            self.assertEqual(write_varint(int(vector["value"])).hex(), vector["bytes"])

    def test_every_form_is_read(self):
        for vector in self.vectors["shortest"] + self.vectors["longer"]:
            data = bytes.fromhex(vector["bytes"])
            self.assertEqual(read_varint(data), (int(vector["value"]), len(data)))

    def test_what_is_cut_short_is_incomplete(self):
        for data in self.vectors["cut"]:
            with self.subTest(data), self.assertRaises(Incomplete):
                read_varint(bytes.fromhex(data))


class Datagrams(unittest.TestCase):
    vectors = read_vectors("datagrams")

    def test_every_form_is_read(self):
        for vector in self.vectors["datagrams"]:
            with self.subTest(vector["what"]):
                datagram = read_datagram(bytes.fromhex(vector["bytes"]))
                self.assertEqual((datagram.form, all_as_json(datagram.fields)), (vector["form"], vector["fields"]))

    def test_every_form_is_written(self):
        for vector in self.vectors["datagrams"]:
            if vector["what"].startswith("a long form of the alias"):
                continue  # writers use the shortest
            with self.subTest(vector["what"]):
                data = bytes.fromhex(vector["bytes"])
                datagram = read_datagram(data)
                self.assertEqual(write_datagram(datagram.form, len(data), **datagram.fields), data)

    def test_what_is_dropped(self):
        for vector in self.vectors["dropped"]:
            with self.subTest(vector["what"]):
                with self.assertRaises(FrameError) as raised:
                    read_datagram(bytes.fromhex(vector["bytes"]))
                self.assertEqual(raised.exception.name, vector["error"])


class Hello(unittest.TestCase):
    vectors = read_vectors("hello")

    def test_it_is_signed_and_written(self):
        self.assertEqual(LABEL.decode(), self.vectors["exporter_label"])
        for vector in self.vectors["examples"]:
            with self.subTest(vector["what"]):
                identity = Identity(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["secret_key"])))
                (frame,) = FrameReader().read(bytes.fromhex(vector["frame"]))
                identity.instance = frame["instance"]

                def exporter(label: bytes, context: bytes, length: int) -> bytes:
                    self.assertEqual((label, context.hex(), length), (LABEL, vector["exporter_context"], 32))
                    return bytes.fromhex(vector["exported"])

                fields = (frame[name] for name in ("intent", "capabilities", "token", "ticket"))
                unsigned = unsigned_body(identity, *fields)
                signed = signature(identity, unsigned, exporter)
                self.assertEqual((identity.peer.hex(), unsigned.hex()), (vector["peer"], vector["unsigned"]))
                self.assertEqual(hashlib.sha256(unsigned).hexdigest(), vector["exporter_context"])
                self.assertEqual(signed.hex(), vector["signature"])
                self.assertEqual(hello(unsigned, signed).hex(), vector["frame"])

    def test_signatures_of_something_else_do_not_verify(self):
        for vector in self.vectors["refused"]:
            if vector["what"] == "of a key of small order":
                continue  # this library takes it; that a relay does not is shown by its own tests
            with self.subTest(vector["what"]), self.assertRaises(InvalidSignature):
                (frame,) = FrameReader().read(bytes.fromhex(vector["frame"]))
                signed = b"baton/1 hello\0" + bytes.fromhex(vector["exported"])
                Ed25519PublicKey.from_public_bytes(frame["peer"]).verify(frame["signature"], signed)


class Peers(unittest.TestCase):
    vectors = read_vectors("peers")

    def test_ids_are_read_and_written(self):
        for vector in self.vectors["peers"]:
            peer = bytes.fromhex(vector["bytes"])
            self.assertEqual((peer_text(peer), peer[:16].hex()), (vector["text"], vector["prefix"]))
            self.assertEqual(read_peer(vector["text"]), peer)

    def test_other_spellings_are_read(self):
        for vector in self.vectors["also_read"]:
            self.assertEqual(read_peer(vector["text"]).hex(), vector["bytes"])

    def test_what_is_no_id_is_refused(self):
        for vector in self.vectors["refused"]:
            with self.subTest(vector["what"]), self.assertRaises(ValueError):
                read_peer(vector["text"])

    def test_relays_have_ids(self):
        for vector in self.vectors["relays"]:
            self.assertEqual(relay_id(vector["pod_uid"]).hex(), vector["relay"])


class Probes(unittest.TestCase):
    vectors = read_vectors("probes")

    def test_replies_are_read(self):
        for vector in self.vectors["replies"]:
            probe_id, ingress = bytes.fromhex(vector["probe id"]), bytes.fromhex(vector["ingress"])
            reply = read_reply(bytes.fromhex(vector["bytes"]))
            self.assertEqual(reply, ProbeReply(probe_id, ingress, vector["observed"]))

    def test_what_is_no_reply_is_not_read(self):
        for vector in self.vectors["not replies"]:
            with self.subTest(vector["what"]):
                self.assertIsNone(read_reply(bytes.fromhex(vector["bytes"])))


class Tokens(unittest.TestCase):
    """Those that are refused, a relay judges: test_attach.py."""

    vectors = read_vectors("tokens")

    def test_they_are_written(self):
        for vector in self.vectors["admitted"]:
            with self.subTest(vector["what"]):
                token = write_token(self.vectors["secret"].encode(), vector["claims"])
                self.assertEqual(token.decode(), vector["token"])


class Numbers(unittest.TestCase):
    vectors = read_vectors("numbers")

    def check(self, enumeration: EnumType, name: str) -> None:
        expected = {key.replace("-", "_"): value for key, value in self.vectors[name].items()}
        self.assertEqual({each.name.lower(): each.value for each in enumeration}, expected, name)

    def test_names_have_their_numbers(self):
        self.check(numbers.Capability, "capabilities")
        self.check(numbers.Close, "close_codes")
        self.check(numbers.Reason, "goaway_reasons")
        self.check(numbers.Intent, "intents")
        self.check(numbers.Limit, "limit_kinds")
        self.check(numbers.Notice, "notice_codes")
        self.check(numbers.Mode, "policy_modes")
        self.check(numbers.Refusal, "refusal_codes")
        self.check(numbers.Verb, "rule_verbs")
        self.check(numbers.State, "states")
        failures = {each.name.lower(): each.value for each in numbers.Outcome if each}
        self.assertEqual(failures, self.vectors["failure_classes"])
        self.assertEqual((numbers.ALPN, numbers.ALPN_INNER), (self.vectors["alpn"], self.vectors["alpn_end_to_end"]))

    def test_frames_have_their_types(self):
        self.assertEqual({name: number for name, (number, _) in FRAMES.items()}, self.vectors["frames"])

    def test_limits(self):
        limits = self.vectors["limits"]
        self.assertEqual((BEFORE_WELCOME, AFTER_WELCOME), (limits["body_before_welcome"], limits["body"]))
        self.assertEqual((frames.ALIAS.lowest, frames.ALIAS.highest), (limits["first_alias"], limits["last_alias"]))
        self.assertEqual((frames.TOKEN.limit, frames.TICKET.limit), (limits["token"], limits["ticket"]))
        self.assertEqual(frames.ROUTE_IDS.limit, limits["route_ids"])
        self.assertEqual(frames.FIRST_SKIPPED, limits["first_skippable"])
