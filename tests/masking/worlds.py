"""Two databases that are equal but for their secrets, and one gateway in front of both.

Both are copies of one template, so that oids are the same, and get the same rows but for what
`SECRETS` says. A masked subject must not be able to tell them apart.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any, Final

import psycopg

from sallyport.core.subject import Secret
from sallyport.demo.server import EmbeddedPostgres
from sallyport.protocols.postgres.scram import PLAIN, Scram
from tests.bypass.postgres import wire
from tests.bypass.postgres.wire import Answer, Wire
from tests.support.gateway import Gateway

HERE: Final = Path(__file__).parent
NAMES: Final = ("world_a", "world_b")

SECRETS: Final[dict[str, tuple[str, str]]] = {
    # Another order, other classes of characters, other lengths where the transform hides those.
    "ssn1": ("523-84-1907", "881-02-7745"),
    "ssn2": ("118-66-4210", "990-31-0058"),
    "ssn3": ("947-20-3351", "207-75-9912"),
    "ssn4": ("306-59-7784", "54BXQ"),
    "ssn5": ("774-13-6629", "110-48-2263"),
    # `partial` shows the ends and the length of a text: these are the same.
    "email1": ("adlovelace@quartz.test", "adbyron77x@walnut.test"),
    "email2": ("bomarley@granite.test", "bodylan99@plywod.test"),
    "email3": ("clpatra@ebonyz.test", "clxyzzy@marble.test"),
    "email4": ("daquixote@cedar.test", "dawindmil@onyxx.test"),
    "email5": ("evgarden@jasper.test", "evsnakeq@topazz.test"),
    "salary1": ("7312.55", "91184.26"),
    "salary2": ("4821.90", "4821.77"),
    "salary3": ("9954.10", "4821.77"),
    "salary4": ("1203.45", "667.02"),
    "salary5": ("6650.35", "38250.81"),
    "born1": ("1961-02-03", "1994-11-30"),
    "born2": ("1979-08-21", "1955-05-15"),
    "born3": ("1988-12-01", "1988-12-01"),
    "born4": ("1970-06-17", "2001-01-09"),
    "born5": ("1992-04-25", "1966-10-28"),
    "pin1": ("PIN-KESTREL-9", "4417-zander"),
    "pin2": ("PIN-OSPREY-31", "9023-turbot-long"),
    "pin3": ("PIN-MERLIN-77", "0158-ide"),
    "pin4": ("PIN-HOBBY-08", "7736-barbel"),
    "tag1": ("vip-orchid", "BANNED_NETTLE"),
    "tag2": ("late-payer-fern", "ok-thistle"),
    "tag3": ("lawsuit-moss", "moved-abroad-reed"),
    "pic1": ("IMG9:anchor-zq", "PHO7/winch-brass"),
    "pic2": ("IMG9:bollard-kw", "PHO7/capstan-wide"),
    "pic3": ("IMG9:cleat-vx", "PHO7/davit"),
    "card1": ("4929103847566120", "5412750993348801"),
    "card2": ("4485660192837465", "371449635398431"),
    "card3": ("6011000990139424", "3530111333300000"),
    "card4": ("5105105105105100", "4222222222222"),
    "key1": ("sk_live_QmZ7vR1tYb", "tok-00xKd93jPw8Lz"),
    "key2": ("sk_live_Hn4cW9eUdF", "tok-77aMf20qXs5Gv"),
    "token1": ("tkn.amber.5512", "TKN/violet/88"),
    "token2": ("tkn.coral.1973", "TKN/indigo/204"),
    "token3": ("tkn.mauve.4086", "TKN/maroon/3"),
    "host1": ("10.31.77.205", "192.168.44.9"),
    "host2": ("172.20.118.63", "fe80::9c1f:22ab"),
    "uuid1": ("6f1d7c52-9a3e-4b80-b1c7-2e5d90f4a8b3", "c04ae9b1-17d8-4f26-9e53-83b6f0d2c715"),
    "uuid2": ("e2b8046d-53f9-47ac-8d10-97c3be61f52a", "1d95f3a7-c6e0-4128-a74b-5f08d3e92c6b"),
    "at1": ("2019-07-08 12:34:56+00", "2003-01-02 03:04:05+00"),
    "at2": ("2020-11-12 01:02:03+00", "2022-09-09 19:29:39+00"),
    "big1": ("7718239045", "12"),
    "big2": ("3390471826", "99887766554433"),
    "float1": ("8812.4375", "0.0078125"),
    "float2": ("3307.1875", "129004.5"),
    # `generalise` shows year, bucket and network, `partial` the ends: these are the same.
    "fborn1": ("1961-02-03", "1961-11-30"),
    "fborn2": ("1979-08-21", "1979-01-02"),
    "income1": ("4107", "4193"),
    "income2": ("52", "7"),
    "fhost1": ("10.93.8.205", "10.93.8.9"),
    "fhost2": ("203.0.113.63", "203.0.113.251"),
    "stall1": ("1", "2"),
    "nick1": ("grouse-quill", "Ptarmigan7"),
    "nick2": ("heron-plume", "Aa-sandpiper"),
    "phone1": ("47-5512-9071", "31-8840-2671"),
    "phone2": ("47-7730-1182", "49-0066-9982"),
    "fmail1": ("gusto.wren@harbour.test", "polar.auk@moraine.test"),
    "fmail2": ("hallow.finch@estuary.test", "tern@skerry.test"),
    "fphone1": ("+47 993 18 204", "+31 6 5520"),
    "fphone2": ("+47 220 71 655", "n0-ph0ne-kept"),
    "fseen1": ("2019-07-08 12:34:56+00", "2019-02-01 03:04:05+00"),
    "fseen2": ("2020-11-12 01:02:03+00", "2020-03-09 19:29:39+00"),
    "score1": ("812.43", "899.99"),
    "score2": ("-17.50", "-3.25"),
    # What only a detector finds.
    "note1": ("harbour.gull@seaside.test", "mountain.yak@alpine.test"),
    "note2": ("lantern.moth@evening.test", "morning.larks@dawn.test"),
}  # fmt: skip
_TELLING: Final = re.compile(
    r"f?born\d|at\d|float2|big1|income\d|f?seen\d|score\d|stall\d|fhost\d|phone\d"
)
"""Secrets that others look like (dates, small numbers): only the comparison finds them."""

RULES: Final[list[dict[str, Any]]] = [
    {
        "name": "everything",
        "effect": "allow",
        "operations": {"effects": ["read", "write", "admin", "unknown"]},
    },
    {
        "name": "hide",
        "effect": "mask",
        "subjects": {"groups": ["masked"]},
        "mask": {
            "columns": [
                "public.customers.{ssn,salary,profile,tags,picture}",
                "public.badges.ssn",
                "public.wages.salary",
                "crm.customers.ssn",
                "public.Odd Name.{Secret Word,ssn}",
                "public.{events,logins}.token",
                "public.base.pin",
                "public.{safes,gates,guessed,moved}.pin",
                "public.{coded,reckoned}.pin",
                "public.{kinded,fixed}.kind",
                "public.{priced,parts,filled,indexed}.pin",
                "public.{priced,priced_too,ranged}.cost",
                "public.words_of.word",
                "public.held.stall",
                "public.{twins,twins_of}.pin",
                "public.api_keys.{key,hash,rights}",
                "public.typed.{who,code,host,token,at,n,d,doc}",
            ],
            "detectors": ["email"],
            "transform": "redact",
        },
    },
    *(
        {
            "name": f"hide-{transform}",
            "effect": "mask",
            "subjects": {"groups": ["masked"]},
            "mask": {"columns": [column], "transform": transform},
        }
        for column, transform in (
            ("public.customers.email", "partial"),
            ("public.customers.born", "null"),
            ("public.payments.card_number", "hash"),
        )
    ),
    *(
        {
            "name": f"shape-{number}",
            "effect": "mask",
            "subjects": {"groups": ["masked"]},
            "mask": {**({"columns": [f"public.folk.{columns}"]} if columns else {}), **terms},
        }
        for number, (columns, terms) in enumerate(
            [
                ("{born,host,seen}", {"transform": "generalise"}),
                ("{income,score}", {"transform": "generalise", "bucket": 100}),
                ("", {"tags": ["pii.*"], "transform": "constant", "value": "somebody"}),
                ("phone", {"transform": "partial", "keep_end": 2}),
                ("{contact,info}", {"keys": ["email", "contact.phone"]}),
                ("contact", {"keys": ["contact.phone"]}),
                ("pins", {"transform": "partial", "keep_start": 1}),
                ("pins", {"transform": "partial", "keep_start": 2}),
            ]
        )
    ),
    {
        "name": "parcels",
        "effect": "mask",
        "subjects": {"groups": ["masked"]},
        "mask": {
            "columns": ["public.parcels_1.sender"],
            "transform": "constant",
            "value": "somebody",
        },
    },
    {
        "name": "said",
        "effect": "mask",
        "subjects": {"groups": ["masked"]},
        "mask": {"tags": ["gdpr.*", "gdpr", "internal.*", "sensitive"], "transform": "redact"},
    },
    {
        "name": "no-tokens",
        "effect": "mask",
        "subjects": {"groups": ["untold"]},
        "mask": {"columns": ["public.payments.card_number"], "transform": "redact"},
    },
]
"""Who is `untold`, too, gets no tokens: what is made of a token is another in each world."""


def rows(world: int) -> str:
    """Return the script that makes the rows of one world, and makes them anew."""
    script = (HERE / "rows.sql").read_text()
    return re.sub(r"@(\w+?)@", lambda found: SECRETS[found[1]][world], script)


class Canaries:
    """Finds pieces of one world's secrets in bytes: plain, reversed, coded, digested."""

    def __init__(self, world: int) -> None:
        self._pieces: dict[int, dict[bytes, bytes]] = {6: {}, 12: {}, 8: {}}
        for name, values in SECRETS.items():
            if not _TELLING.fullmatch(name) and len(values[world]) >= 6:
                self._add(values[world].encode())

    def _add(self, secret: bytes) -> None:
        pieces: list[bytes] = []
        for start in range(len(secret) - 5):
            piece = secret[start : start + 6]
            if len(set(piece[1:])) == 1 or len(set(piece[:-1])) == 1:
                continue  # six quotes in hex are all twos; zeros stand behind a length of 0x33
            pieces += [piece, piece[::-1], piece.hex().encode(), piece.decode().encode("utf-16-be")]
        for way in (hashlib.md5, hashlib.sha1, hashlib.sha256, hashlib.sha512):
            digest = way(secret)
            pieces += [digest.hexdigest()[:12].encode(), base64.b64encode(digest.digest())[:8]]
        for shift in range(3):
            coded = base64.b64encode(b"\0" * shift + secret)[4 if shift else 0 : -4]
            pieces += [coded[i : i + 8] for i in range(len(coded) - 7)]
        for piece in pieces:
            self._pieces[len(piece)][piece.lower()] = secret.lower()

    def found(self, seen: bytes, sent: bytes) -> list[bytes]:
        """Return the pieces that stand in what came, but of secrets that were sent themselves."""
        seen, sent = seen.lower(), sent.lower()
        return sorted(
            piece
            for size, known in self._pieces.items()
            for piece in {seen[i : i + size] for i in range(len(seen) - size + 1)} & known.keys()
            if piece not in sent and known[piece] not in sent
        )


class Direct(Wire):
    """A connection past the gateway, to the server itself."""

    def _login(self, password: str) -> list[Answer]:
        scram = Scram(Secret(password.encode()), (PLAIN,), encrypted=False, binding=None)
        answers: list[Answer] = []
        while True:
            answer = self.next()
            answers.append(answer)
            if answer.kind == "Z":
                return answers
            if answer.kind != "R":
                continue
            step, rest = int.from_bytes(answer.body[:4]), answer.body[4:]
            if step == 10:
                first = scram.first()
                head = wire.text(scram.mechanism) + len(first).to_bytes(4)
                self.send(wire.message("p", head + first))
            elif step == 11:
                self.send(wire.message("p", scram.final(rest)))


class Worlds:
    """The server with both databases, the gateway, and how to get to either world."""

    def __init__(self, folder: Path, server: EmbeddedPostgres) -> None:
        self.server = server
        self.server.psql("create role app login password 'app-password' createdb")
        self.server.psql("create database world_0 owner app")
        self.version = int(self.server.psql("show server_version_num")) // 10000
        schema = (HERE / "schema.sql").read_text()
        if self.version < 18:
            schema = schema.replace("n int generated always as (pin::int) virtual", "n int")
            schema = schema.replace(") virtual", ") stored")
        self.server.psql("set role app;\n" + schema, "world_0")
        last = "select max(oid::bigint) from (select oid from pg_class union select oid from pg_type) o"
        self.last_oid = int(self.server.psql(last, "world_0"))
        for number, name in enumerate(NAMES):
            self.server.psql(f"create database {name} template world_0 owner app")
            self.server.psql(rows(number), name)
        self.admins = [psycopg.connect(self.server.uri(name), autocommit=True) for name in NAMES]
        self.gateway = Gateway(folder, server, database=NAMES[0], rules=RULES)
        config = self.gateway.config
        target = config["targets"][0]
        target["classify"] = {"pii.nick": ["public.folk.nick"], "pci.card": ["*.*.card"]}
        config["targets"] = [{**target, "name": name, "database": name} for name in NAMES]
        config["access"][0]["subjects"] = {"groups": ["masked"]}
        config["policy"]["guardrails"]["except"] = ["limit-rate", "limit-sessions", "limit-hourly"]
        self.gateway.start()
        self.tokens = {
            "masked": self.gateway.token("masked", groups=["masked"]),
            "untold": self.gateway.token("untold", groups=["masked", "untold"]),
        }
        self.canaries = [Canaries(number) for number in range(2)]

    def connect(self, world: int, *, direct: bool, subject: str = "masked", **startup: str) -> Wire:
        """Open a session in one world, as a masked subject or past the gateway."""
        given = {"user": "app", "database": NAMES[world], **startup}
        if direct:
            return Direct(self.server.port, given, "app-password")
        return Wire(self.gateway.port, given, self.tokens[subject])

    def restore(self, undo: list[str]) -> None:
        """Put the rows of both worlds back, after undoing what else was made."""
        for number, admin in enumerate(self.admins):
            for statement in undo:
                admin.execute(statement.encode())
            admin.execute(rows(number).encode())
            if self.version >= 15:  # or the server's counters come to it a second later
                admin.execute("select pg_stat_force_next_flush()")

    def close(self) -> None:
        """Stop the gateway."""
        for admin in self.admins:
            admin.close()
        self.gateway.stop()
