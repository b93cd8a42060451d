"""The people of the demo, whom anybody may be."""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class Person(Struct, frozen=True):
    """Somebody whom a login can be of. `does` is what the page says of them."""

    subject: str
    name: str
    groups: tuple[str, ...]
    does: str

    @property
    def email(self) -> str:
        """Return an address at a name that is nobody's (RFC 2606)."""
        return f"{self.subject}@example.com"


PEOPLE: Final = {
    one.subject: one
    for one in (
        Person("dana", "Dana Reyes", ("dba",), "approves what waits"),
        Person("robin", "Robin Okafor", ("contractors",), "asks for access to the shop"),
        Person("alex", "Alex Lindqvist", ("agents",), "reads the shop, and changes a little"),
        Person("sam", "Sam Haddad", ("auditors",), "sees every recording"),
    )
}
