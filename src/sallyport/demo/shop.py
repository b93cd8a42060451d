"""The `shop` database: believable customers, orders and payments, and a table of secrets.

Everything is made from one seed, so that every demo shows the same rows. Card numbers pass Luhn,
IBANs their check digits, and notes hold personal data in the middle of sentences, as notes do.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

from sallyport.demo.server import EmbeddedPostgres

CUSTOMERS = 6_000
ORDERS = 16_000
PRODUCTS = 200
KEYS = 40

_FIRST = (
    "Ada Alan Amara Anders Bianca Bram Carla Chen Dara Diego Edda Elif Emre Farid Femke Gita "
    "Hanna Hugo Ines Ivan Jonas Julia Kofi Lars Leila Lin Luca Maja Marco Mei Milan Nadia Nils "
    "Olga Omar Paula Pedro Priya Rafael Rosa Sami Sofia Tariq Tomas Uma Vera Wei Yara Yusuf Zoe"
).split()
_LAST = (
    "Abe Adler Bauer Berg Costa Cruz Diaz Dubois Eriksen Fischer Garcia Gupta Haas Hansen Ito "
    "Jansen Kaya Keller Kim Kowalski Kruger Lange Lopez Meyer Moreau Mori Murphy Nguyen Novak "
    "Okafor Olsen Patel Pereira Petrov Ricci Rossi Sato Schmidt Silva Smit Sorensen Tanaka "
    "Vargas Virtanen Walsh Weber Yilmaz Zhang Zimmer"
).split()
_COUNTRIES = "DE FR NL ES IT SE PL US GB JP".split()
_STATUS = ("paid", "paid", "paid", "shipped", "shipped", "pending", "refunded")
_THINGS = "Lamp Chair Kettle Bag Clock Mug Desk Shelf Rug Vase Pan Knife Bowl Stool Mirror".split()
_MATERIALS = "Oak Steel Glass Linen Copper Cork Brass Wool Clay Ash".split()
_START = datetime(2025, 1, 1, tzinfo=UTC)


def load(server: EmbeddedPostgres, password: str) -> None:
    """Make the login `app` with `password` and the database `shop` on `server`."""
    files = resources.files("sallyport.demo")
    server.psql(f"CREATE ROLE app LOGIN PASSWORD '{password}';\nCREATE DATABASE shop;")
    script = [files.joinpath("shop.sql").read_text()]
    for table, rows in _tables(random.Random(20260101)):  # noqa: S311 - believable, not secret
        script.append(f"COPY {table} FROM stdin;\n")
        script.extend("\t".join(map(_field, row)) + "\n" for row in rows)
        script.append("\\.\n")
    script.append(files.joinpath("shop_after.sql").read_text())
    server.psql("".join(script), "shop")


def people(count: int) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Return the first customers of the shop, and its partners' keys, for what is no database."""
    rng = random.Random(20260101)  # noqa: S311 - believable, not secret
    customers = []
    for number in range(1, count + 1):
        made = _customer(rng, number)
        names = ("id", "name", "email", "phone", "ssn", "card", "born", "country")
        one = dict(zip(names, made, strict=False))
        customers.append({**one, "born": str(one["born"]), "note": made[10]})
    keys = [_key(random.Random(number), number) for number in range(1, 6)]  # noqa: S311 - neither
    return customers, [{"name": str(key[1]), "secret": str(key[2])} for key in keys]


def _tables(rng: random.Random) -> Iterator[tuple[str, Iterator[tuple[object, ...]]]]:
    yield "customers", (_customer(rng, number) for number in range(1, CUSTOMERS + 1))
    yield "products", (_product(rng, number) for number in range(1, PRODUCTS + 1))
    yield "orders", (_order(rng, number) for number in range(1, ORDERS + 1))
    yield "order_items", (_item(rng, number) for number in range(1, ORDERS + 1))
    yield "payments", (_payment(rng, number) for number in range(1, ORDERS - 4000 + 1))
    yield "api_keys", (_key(rng, number) for number in range(1, KEYS + 1))


def _customer(rng: random.Random, number: int) -> tuple[object, ...]:
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    email = f"{first}.{last}{number}@example.com".lower()
    phone = f"+49 30 {rng.randrange(10**7):07d}"
    card = _card(rng)
    profile = (
        f'{{"newsletter": {"true" if rng.random() < 0.4 else "false"}, '
        f'"contact": {{"email": "{email}", "phone": "{phone}"}}, "visits": {rng.randrange(90)}}}'
    )
    return (
        number,
        f"{first} {last}",
        email,
        phone,
        f"{rng.randrange(1, 665):03d}-{rng.randrange(1, 99):02d}-{rng.randrange(1, 9999):04d}",
        card if rng.random() < 0.9 else None,
        (datetime(1950, 1, 1, tzinfo=UTC) + timedelta(days=rng.randrange(20000))).date(),
        rng.choice(_COUNTRIES),
        "{" + ",".join(sorted({rng.choice(("vip", "web", "b2b", "returns")) for _ in "ab"})) + "}",
        profile,
        _note(rng, first, email, phone, card),
        _START + timedelta(minutes=number * 40),
    )


def _note(rng: random.Random, first: str, email: str, phone: str, card: str) -> str | None:
    return rng.choice(
        (
            None,
            f"{first} asked to be called back on {phone} after five",
            f"wants invoices to {email}, not to the old address",
            f"paid by phone with {card}, please do not keep",
            "prefers delivery on Saturdays",
            "returned a kettle, refund agreed",
        )
    )


def _product(rng: random.Random, number: int) -> tuple[object, ...]:
    title = f"{rng.choice(_MATERIALS)} {rng.choice(_THINGS)}"
    return number, f"SKU-{number:04d}", title, f"{rng.randrange(500, 30000) / 100:.2f}"


def _order(rng: random.Random, number: int) -> tuple[object, ...]:
    placed = _START + timedelta(minutes=number * 15)
    total = f"{rng.randrange(900, 90000) / 100:.2f}"
    return number, rng.randrange(1, CUSTOMERS + 1), rng.choice(_STATUS), total, placed


def _item(rng: random.Random, number: int) -> tuple[object, ...]:
    return number, 1, rng.randrange(1, PRODUCTS + 1), rng.randrange(1, 6)


def _payment(rng: random.Random, number: int) -> tuple[object, ...]:
    by_bank = rng.random() < 0.3
    return (
        number,
        number,
        "bank" if by_bank else "card",
        _iban(rng) if by_bank else None,
        f"{rng.randrange(900, 90000) / 100:.2f}",
        _START + timedelta(minutes=number * 15 + 3),
    )


def _key(rng: random.Random, number: int) -> tuple[object, ...]:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    secret = "AKIA" + "".join(rng.choice(alphabet) for _ in range(16))
    return number, f"integration-{number:02d}", secret, _START + timedelta(days=number)


def _card(rng: random.Random) -> str:
    digits = [4, 1, 1, 1] + [rng.randrange(10) for _ in range(11)]
    total = sum(d if i % 2 else (d * 2 - 9 if d > 4 else d * 2) for i, d in enumerate(digits))
    text = "".join(map(str, digits)) + str(-total % 10)
    return " ".join(text[i : i + 4] for i in range(0, 16, 4))


def _iban(rng: random.Random) -> str:
    account = f"{rng.randrange(10**18):018d}"
    check = 98 - int(account + "131400") % 97
    return f"DE{check:02d}{account}"


def _field(value: object) -> str:
    if value is None:
        return "\\N"
    return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
