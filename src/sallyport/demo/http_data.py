"""What the `orders` service knows: the shop's people, orders and keys, from one seed."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sallyport.demo.shop import people

CUSTOMERS: Final = 200
ORDERS: Final = 600
_BLOCKS: Final = 2048
_START: Final = datetime(2026, 1, 5, 8, tzinfo=UTC)
_STATUS: Final = ("paid", "paid", "shipped", "pending", "refunded")
_HAPPENS: Final = ("order.placed", "order.paid", "order.shipped", "order.refunded")


class Book:
    """Customers, orders and keys. What is changed is so until the service stops."""

    def __init__(self) -> None:
        made, keys = people(CUSTOMERS)
        self.customers: dict[int, dict[str, Any]] = {one["id"]: one for one in made}
        self.keys = keys
        self.orders: dict[int, dict[str, Any]] = {
            number: {
                "id": number,
                "customer": 1 + number * 37 % CUSTOMERS,
                "status": _STATUS[number * 7 % len(_STATUS)],
                "total": f"{900 + number * 7919 % 89_000}.{number * 31 % 100:02d}",
                "placed": (_START + timedelta(minutes=number * 15)).isoformat(),
            }
            for number in range(1, ORDERS + 1)
        }
        self._next = ORDERS + 1

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest orders."""
        return [self.orders[number] for number in sorted(self.orders, reverse=True)[:limit]]

    def told(self, order: dict[str, Any]) -> dict[str, Any]:
        """Return an order with who placed it, as far as a shop tells."""
        customer = self.customers[order["customer"]]
        shown = {key: customer[key] for key in ("id", "name", "email", "card")}
        return {**order, "customer": shown}

    def place(self, customer: int, total: str) -> dict[str, Any]:
        """Make an order."""
        number, self._next = self._next, self._next + 1
        placed = _START + timedelta(minutes=number * 15)
        self.orders[number] = {
            "id": number,
            "customer": customer,
            "status": "pending",
            "total": total,
            "placed": placed.isoformat(),
        }
        return self.orders[number]

    def search(self, text: str) -> list[dict[str, Any]]:
        """Return the customers whose name or e-mail holds a text."""
        low = text.lower()
        return [
            one
            for one in self.customers.values()
            if low in one["name"].lower() or low in one["email"]
        ]

    def event(self, number: int) -> bytes:
        """Return one server-sent event."""
        customer = self.customers[1 + number * 13 % CUSTOMERS]
        told = {"order": 1 + number * 17 % ORDERS, "customer": customer["email"]}
        name = _HAPPENS[number % len(_HAPPENS)]
        return f"id: {number}\nevent: {name}\ndata: {json.dumps(told)}\n\n".encode()

    def greeting(self) -> str:
        """Return what the chat begins with."""
        return f"hello, you talk to {self.customers[1]['name']} <{self.customers[1]['email']}>"


def exported(book: Book) -> bytes:
    """Return all customers as CSV."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["id", "name", "email", "phone", "country", "card"])
    writer.writeheader()
    for one in book.customers.values():
        writer.writerow({key: one[key] for key in writer.fieldnames})
    return out.getvalue().encode()


def picture() -> bytes:
    """Return 64 KiB of no meaning, always the same."""
    return b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(_BLOCKS))
