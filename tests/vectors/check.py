#!/usr/bin/env python3
"""Holds protocol/vectors/*.json against docs/protocol.md, with Python's standard library and none of our own code.

The bodies of frames are read by the tables of section 5 of that page as they stand there, so a field that the page does not
describe, or describes wrongly, is noticed here. `cargo test -p baton-protocol --test vectors` runs this. An argument names
another page to read instead.
"""

import base64
import hashlib
import hmac
import ipaddress
import itertools
import json
import pathlib
import re
import sys

import ed25519

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE_PATH = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "protocol.md"
PAGE = PAGE_PATH.read_text(encoding="utf-8")
NOW = 1_800_000_000  # section 7 is about time; the vectors hold whenever this is


class Bad(Exception):
    """Bytes that are an error, by the kind that section 4 gives it."""


class Incomplete(Exception):
    """Bytes that may become a frame."""


def section(number):
    """The text of a section."""
    return re.search(rf"^## {number}\. .*?(?=^## |\Z)", PAGE, re.M | re.S).group(0)


def rows(text, columns):
    """The cells of the rows of all tables in a text that have so many columns; without backticks."""
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            cells = [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
            if len(cells) >= columns:
                yield cells


def number(text):
    return int(text.replace(",", ""))


# Section 3: numbers and their kind.


def varint(data):
    """A value and what is left."""
    if not data or len(data) < 1 << (data[0] >> 6):
        raise Incomplete
    length = 1 << (data[0] >> 6)
    return int.from_bytes(data[:length], "big") & ((1 << (8 * length - 2)) - 1), data[length:]


def put_varint(value):
    for bits, length in ((6, 1), (14, 2), (30, 4), (62, 8)):
        if value < 1 << bits:
            return ((length.bit_length() - 1 << 8 * length - 2) | value).to_bytes(length, "big")
    raise ValueError(value)


def take(data, length):
    if len(data) < length:
        raise Bad("short")
    return data[:length], data[length:]


def body_varint(data):
    try:
        return varint(data)
    except Incomplete:
        raise Bad("short") from None


# Section 5: frames, by its tables.


class Field:
    """One row of a table: a name, and how the page says that its value is written."""

    def __init__(self, name, size, note):
        self.name, self.size, self.note = name, size, note
        limit = re.search(r"at most ([\d,]+)", size)
        self.limit = number(limit.group(1)) if limit else None
        named = re.findall(r"\b(\d+) (?=[a-z])", note) if size == "1" else []
        self.values = {int(value) for value in named}

    def is_there(self, fields):
        only = re.match(r"only if (\w+) is (\d+)", self.note)
        return not only or fields[only.group(1)] == int(only.group(2))

    def read(self, data):
        if self.size == "1":
            byte, data = take(data, 1)
            if byte[0] not in self.values:
                raise Bad("value")
            return byte[0], data
        if self.size.isdigit():
            raw, data = take(data, int(self.size))
            return raw.hex(), data
        if self.size == "varint":
            value, data = body_varint(data)
            if value == 0 and "Zero is an error" in self.note:
                raise Bad("value")
            return value, data
        if self.size == "alias":
            value, data = body_varint(data)
            if not 16 <= value < 1 << 30:
                raise Bad("value")
            return value, data
        if self.size == "duration":
            value, data = body_varint(data)
            if value > 1 << 30 or (value == 0 and "Zero is an error" in self.note):
                raise Bad("value")
            return value, data
        if self.size == "address":
            return read_address(data)
        count, data = body_varint(data)
        if count > self.limit:
            raise Bad("value")
        if self.size.startswith("varint count"):
            each, values = int(re.search(r"(\d+) bytes each", self.size).group(1)), []
            for _ in range(count):
                raw, data = take(data, each)
                values.append(raw.hex())
            return values, data
        raw, data = take(data, count)
        if self.size.startswith("text"):
            try:
                return raw.decode("utf-8"), data
            except UnicodeDecodeError:
                raise Bad("value") from None
        assert self.size.startswith("bytes"), f"the page says '{self.size}', which is no form of a field"
        return raw.hex(), data

    def write(self, value):
        if self.size == "1":
            return bytes([value])
        if self.size.isdigit():
            return bytes.fromhex(value)
        if self.size in ("varint", "alias", "duration"):
            return put_varint(value)
        if self.size == "address":
            return write_address(value)
        if self.size.startswith("varint count"):
            return put_varint(len(value)) + bytes.fromhex("".join(value))
        raw = value.encode("utf-8") if self.size.startswith("text") else bytes.fromhex(value)
        return put_varint(len(raw)) + raw


def read_address(data):
    family, data = take(data, 1)
    if family[0] not in (4, 6):
        raise Bad("value")
    raw, data = take(data, 4 if family[0] == 4 else 16)
    port, data = take(data, 2)
    ip = ipaddress.ip_address(raw)
    return f"{ip if ip.version == 4 else f'[{ip}]'}:{int.from_bytes(port, 'big')}", data


def write_address(text):
    host, port = text.rsplit(":", 1)
    ip = ipaddress.ip_address(host.strip("[]"))
    return bytes([ip.version]) + ip.packed + int(port).to_bytes(2, "big")


def read_page():
    """Types and names of section 5, and the fields of each: from its headings and the tables under them."""
    text = section(5)
    types = {cells[1]: int(cells[0], 16) for cells in rows(text, 5) if cells[0].startswith("0x")}
    bodies, examples = {}, []
    parts = re.split(r"^(?=\*\*[A-Z_]+ \()", text.split("### Bodies", 1)[1], flags=re.M)
    for part in parts[1:]:
        heading = part.split("\n\n", 1)[0]
        names = re.findall(r"\*\*([A-Z_]+) \((0x[0-9a-f]{2})\)\*\*", heading)
        fields = [Field(*(cells + [""])[:3]) for cells in rows(part, 2) if cells[0] != "field"]
        assert fields or "no body" in heading, f"the page has neither a table nor 'no body' for {names}"
        for name, code in names:
            assert types[name] == int(code, 16), f"two types for {name}"
            bodies[name] = fields
        for block in re.findall(r"```text\n(.*?)```", part, re.S):
            examples.append(block)
    assert set(bodies) == set(types), f"without a body or a row: {set(bodies) ^ set(types)}"
    return types, bodies, examples


TYPES, BODIES, EXAMPLES = read_page()
NAMES = {code: name for name, code in TYPES.items()}


def read_frames(data, after_welcome=True):
    """All frames of some bytes, and what is left of them."""
    frames = []
    limit = 16_384 if after_welcome else 4_096
    while True:
        try:
            code, rest = varint(data)
            length, rest = varint(rest)
        except Incomplete:
            return frames
        if length > limit:
            raise Bad("too_long")
        if len(rest) < length:
            return frames
        body, data = rest[:length], rest[length:]
        if code not in NAMES:
            if code < 0x40:
                raise Bad("unknown_type")
            continue
        fields = {}
        for field in BODIES[NAMES[code]]:
            if field.is_there(fields):
                fields[field.name], body = field.read(body)
        if body:
            raise Bad("trailing")
        frames.append((NAMES[code], fields))


def write_frame(name, fields):
    wanted = [field for field in BODIES[name] if field.is_there(fields)]
    assert {field.name for field in wanted} == set(fields), f"{name}: {set(fields)}"
    body = b"".join(field.write(fields[field.name]) for field in wanted)
    return put_varint(TYPES[name]) + put_varint(len(body)) + body


def error_of(read, *arguments):
    try:
        read(*arguments)
    except Bad as bad:
        return str(bad)
    return None


def read_or_error(data):
    return error_of(read_frames, data) or read_frames(data)


def check_frames(vectors):
    same(vectors["frames"] and {v["name"] for v in vectors["frames"]}, set(TYPES), "frames with an example")
    for vector in vectors["frames"]:
        about = f"{vector['name']} {vector['what']}"
        frame = (vector["name"], vector["fields"])
        same(vector["type"], TYPES[vector["name"]], about)
        same(read_or_error(bytes.fromhex(vector["bytes"])), [frame], about)
        same(write_frame(*frame).hex(), vector["bytes"], about)
    for vector in vectors["long_forms"]:
        same(read_frames(bytes.fromhex(vector["bytes"])), [(vector["name"], vector["fields"])], vector["what"])
    for vector in vectors["errors"]:
        data = bytes.fromhex(vector["bytes"])
        same(error_of(read_frames, data, vector["after_welcome"]), vector["error"], vector["what"])
    for vector in vectors["skipped"]:
        same(read_frames(bytes.fromhex(vector["bytes"])), [("OPENED", {"alias": 16})], vector["what"])
    for data in vectors["incomplete"]:
        same(read_frames(bytes.fromhex(data)), [], f"incomplete {data}")


def check_examples(vectors):
    """The examples on the page are vectors."""
    known = {vector["bytes"] for vector in vectors["frames"]}
    count = 0
    for block in EXAMPLES:
        for line in block.splitlines():
            if line.startswith(" "):
                continue  # what the line above it means
            for text in re.split(r" {3,}", line):
                text = re.sub(r"\(.*?\)", "", text)
                words = re.sub(r"\bP\b", bytes(range(32)).hex(), text)
                words = re.sub(r"\b([0-9a-f]{2})\*(\d+)", lambda m: m[1] * int(m[2]), words)
                data = re.match(r"[0-9a-f ]*", words + " ").group(0).replace(" ", "")
                if re.match(r"^[0-9a-f]{2} ", text):
                    assert data in known, f"the page's example '{line}' is no vector"
                    count += 1
    assert count >= len(TYPES), f"{count} examples on the page for {len(TYPES)} frames"


def check_varints(vectors):
    for vector in vectors["shortest"] + vectors["longer"]:
        same(varint(bytes.fromhex(vector["bytes"])), (int(vector["value"]), b""), vector)
    for vector in vectors["shortest"]:
        same(put_varint(int(vector["value"])).hex(), vector["bytes"], vector)
    for data in vectors["cut"]:
        try:
            varint(bytes.fromhex(data))
        except Incomplete:
            continue
        raise AssertionError(f"the varint {data} is cut short")


# Sections 9 and 13: datagrams.


def read_datagram(data):
    first, rest = body_varint(data)
    if first == 0:
        sender, payload = take(rest, 16)
        return "long", {"sender": sender.hex(), "payload": payload.hex()}
    if first in (1, 2):
        nonce, _ = take(rest, 8)
        return ("echo", "echo_reply")[first - 1], {"nonce": nonce.hex()}
    if first == 3:
        attempt, rest = take(rest, 8)
        nonce, _ = take(rest, 8)
        return "path_confirm", {"attempt": attempt.hex(), "nonce": nonce.hex()}
    if first == 4:
        attempt, _ = take(rest, 8)
        return "path_confirmed", {"attempt": attempt.hex()}
    if 16 <= first < 1 << 30:
        return "aliased", {"alias": first, "payload": rest.hex()}
    raise Bad("reserved")


def check_datagrams(vectors):
    for vector in vectors["datagrams"]:
        same(read_datagram(bytes.fromhex(vector["bytes"])), (vector["form"], vector["fields"]), vector["what"])
    for vector in vectors["dropped"]:
        same(error_of(read_datagram, bytes.fromhex(vector["bytes"])), vector["error"], vector["what"])


# Section 13: replies to probes.


def check_probes(vectors):
    for vector in vectors["replies"]:
        probe_id, data = bytes.fromhex(vector["probe id"]), bytes.fromhex(vector["bytes"])
        same((len(data), data[0] >> 6, data[1:18]), (1200, 1, probe_id), "the form of a reply")
        key = itertools.cycle(probe_id[1:])
        said = bytes(byte ^ mask for byte, mask in zip(data[18:], key))
        ingress, said = take(said, 4)
        observed, _ = read_address(said)
        same((ingress.hex(), observed), (vector["ingress"], vector["observed"]), "what a reply says")
    for data in vectors["not replies"]:
        data = bytes.fromhex(data["bytes"])
        same((len(data), data[0] >> 6) == (1200, 1), False, "what is no reply")


# Section 6: what HELLO signs.


def check_hello(vectors):
    same(vectors["exporter_label"] in section(6), True, "the exporter's label")
    for vector in vectors["examples"]:
        about = vector["what"]
        [(name, fields)] = read_frames(bytes.fromhex(vector["frame"]), after_welcome=False)
        same(name, "HELLO", about)
        raw = write_frame(name, fields)
        unsigned = raw[len(raw) - (varint(varint(raw)[1])[0]) : -64]
        same(unsigned.hex(), vector["unsigned"], about)
        same(hashlib.sha256(unsigned).hexdigest(), vector["exporter_context"], about)
        signed = b"baton/1 hello\0" + bytes.fromhex(vector["exported"])
        same(signed.hex(), vector["signed"], about)
        same(len(signed), 46, about)
        secret = bytes.fromhex(vector["secret_key"])
        same(ed25519.public_key(secret).hex(), fields["peer"], about)
        same(ed25519.sign(secret, signed).hex(), vector["signature"], about)
        same(fields["signature"], vector["signature"], about)
        same(fields["peer"], vector["peer"], about)
        same(verify_hello(vector["frame"], vector["exported"]), True, about)
    for vector in vectors["refused"]:
        same(verify_hello(vector["frame"], vector["exported"]), False, vector["what"])


def verify_hello(frame, exported):
    [(_, fields)] = read_frames(bytes.fromhex(frame), after_welcome=False)
    signed = b"baton/1 hello\0" + bytes.fromhex(exported)
    return ed25519.verify(bytes.fromhex(fields["peer"]), signed, bytes.fromhex(fields["signature"]))


def peer_of(text):
    """The bytes of a peer id's text, or None."""
    upper = text.upper()
    if not re.fullmatch(r"[A-Z2-7]{52}", upper) or not text.isascii():
        return None
    raw = base64.b32decode(upper + "====")
    return raw if base64.b32encode(raw).decode().rstrip("=") == upper else None


def check_peers(vectors):
    for vector in vectors["peers"]:
        raw = bytes.fromhex(vector["bytes"])
        same(base64.b32encode(raw).decode().rstrip("=").lower(), vector["text"], vector)
        same(raw[:16].hex(), vector["prefix"], vector)
    for vector in vectors["peers"] + vectors["also_read"]:
        same(peer_of(vector["text"]), bytes.fromhex(vector["bytes"]), vector)
    for vector in vectors["refused"]:
        same(peer_of(vector["text"]), None, vector["what"])
    for vector in vectors["relays"]:
        same(hashlib.sha256(vector["pod_uid"].encode()).hexdigest()[:8], vector["relay"], vector)


# Section 7: access tokens.


def unbase64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def judge(token, secret, audience, peer):
    """The group and the session's end, or the name of a refusal."""
    if not token:
        return "token_required"
    parts = token.split(".")
    if len(parts) != 3:
        return "token_invalid"
    tag = hmac.new(secret, f"{parts[0]}.{parts[1]}".encode(), "sha256").digest()
    if json.loads(unbase64(parts[0])).get("alg") != "HS256" or unbase64(parts[2]) != tag:
        return "token_invalid"
    claims = json.loads(unbase64(parts[1]))
    audiences = claims.get("aud", [])
    if audience not in (audiences if isinstance(audiences, list) else [audiences]):
        return "token_invalid"
    if not isinstance(claims.get("exp"), int):
        return "token_invalid"
    if claims["exp"] + 30 <= NOW or claims.get("nbf", 0) > NOW + 30:
        return "token_expired"
    if "sub" in claims and peer_of(claims["sub"]) != peer:
        return "token_invalid"
    group = claims.get("grp", "")
    return "token_invalid" if len(group.encode()) > 128 else (group, claims["exp"] + 30)


def check_tokens(vectors):
    secret, peer = vectors["secret"].encode(), peer_of(vectors["peer"])
    for vector in vectors["admitted"]:
        verdict = judge(vector["token"], secret, vectors["audience"], peer)
        same(verdict, (vector["group"], vector["session_ends"]), vector["what"])
        same(json.loads(unbase64(vector["token"].split(".")[1])), vector["claims"], vector["what"])
    for vector in vectors["refused"]:
        same(judge(vector["token"], secret, vectors["audience"], peer), vector["refused"], vector["what"])


# Sections 6, 9, 16 and 17: numbers with names.


def table(number_of_section, columns, base=10):
    """Names and numbers of the rows that begin with a number."""
    found = {}
    for cells in rows(section(number_of_section), columns):
        if re.fullmatch(r"0x[0-9a-f]+|\d+", cells[0]) and re.fullmatch(r"[a-z_]+", cells[1]):
            found[cells[1]] = int(cells[0], base)
    return found


def named_values(frame, field):
    [note] = [row.note for row in BODIES[frame] if row.name == field]
    return {name: int(value) for value, name in re.findall(r"\b(\d+) ([a-z_-]+)", note)}


def check_numbers(vectors):
    same(vectors["frames"], TYPES, "types of frames")
    same(vectors["close_codes"], table(17, 5, 16), "close codes")
    same(vectors["refusal_codes"], table(6, 4), "codes of REFUSED")
    same(vectors["refusal_codes"], named_values("REFUSED", "code"), "codes of REFUSED, in section 5")
    same(vectors["notice_codes"], table(9, 3), "codes of NOTICE")
    same(vectors["notice_codes"], named_values("NOTICE", "code"), "codes of NOTICE, in section 5")
    same(vectors["policy_modes"], named_values("POLICY", "mode"), "modes of POLICY")
    same(vectors["rule_verbs"], named_values("RULE", "verb"), "verbs of RULE")
    bits = rows(section(18).replace("\n  |", "\n|"), 3)
    bits = {cells[1]: int(cells[0], 16) for cells in bits if cells[0].startswith("0x")}
    same(vectors["capabilities"], bits, "capabilities")
    same(vectors["limit_kinds"], named_values("LIMITED", "kind"), "kinds of LIMITED")
    same(vectors["goaway_reasons"], named_values("GOAWAY", "reason"), "reasons of GOAWAY")
    same(vectors["intents"], named_values("HELLO", "intent"), "intents")
    same(vectors["states"], named_values("PRESENCE", "state"), "states")
    classes = re.search(r"\*\*Classes of failure\.\*\*.*?:\s(.*?)\.\n", section(17), re.S).group(1)
    same(set(vectors["failure_classes"]), set(re.findall(r"`(\w+)`", classes)), "classes of failure")
    same({"succeeded": 0} | vectors["failure_classes"], named_values("PATH_REPORT", "class"), "classes of PATH_REPORT")
    for name in ("alpn", "alpn_end_to_end"):
        same(f"`{vectors[name]}`" in PAGE, True, name)
    said = {cells[0]: cells[1] for cells in rows(section(16), 3)}
    limits = vectors["limits"]
    wanted = {
        "frame body before WELCOME / after": (limits["body_before_welcome"], limits["body"]),
        "token / ticket / group": (limits["token"], limits["ticket"], limits["group"]),
        "route ids in a frame": (limits["route_ids"],),
        "payload of a datagram": (limits["payload"],),
        "routes / watches of a session": (limits["routes"], limits["watches"]),
        "senders with an alias, of a session": (limits["senders"],),
        "peers that a session allows / blocks by name": (limits["names"], limits["names"]),
        "peers in a RULE": (limits["ruled"],),
        "HELLO": (limits["hello_timeout_ms"] // 1000,),
        "keep-alive, by the client": (limits["keep_alive_ms"] // 1000,),
        "idle": (limits["idle_ms"] // 1000,),
    }
    for what, values in wanted.items():
        found = [number(text) for text in re.findall(r"\b\d[\d,]*\b", said[what])]
        same(tuple(found[: len(values)]), values, f"'{what}' in section 16")


def same(found, wanted, about):
    assert found == wanted, f"{about}: {found!r}, and should be {wanted!r}"


def main():
    checks = {
        "datagrams": (check_datagrams,),
        "probes": (check_probes,),
        "frames": (check_frames, check_examples),
        "hello": (check_hello,),
        "numbers": (check_numbers,),
        "peers": (check_peers,),
        "tokens": (check_tokens,),
        "varints": (check_varints,),
    }
    wrong = 0
    for name, functions in checks.items():
        vectors = json.loads((ROOT / "protocol" / "vectors" / f"{name}.json").read_text(encoding="utf-8"))
        for check in functions:
            try:
                check(vectors)
            except (AssertionError, Bad, Incomplete) as error:
                print(f"{name}.json, {check.__name__}: {type(error).__name__}: {error}", file=sys.stderr)
                wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
