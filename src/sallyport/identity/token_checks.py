"""What a token may be made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sallyport.identity.names import is_name, is_network

ROLES: Final = ("admin", "approver", "auditor", "operator")
MAXIMUM_LIFETIME: Final = 10 * 366 * 86400.0
MAXIMUM_LIST: Final = 64


def check_token(
    name: str,
    subject: str,
    owner: str,
    groups: Sequence[str],
    most: int,
    roles: Sequence[str],
    lifetime: float,
    targets: Sequence[str] | None,
    sources: Sequence[str] | None,
) -> None:
    """See that a token may be made of this, with so many groups at `most`.

    Raises: ValueError that says what cannot be taken.
    """
    if len(groups) > most:
        raise ValueError(f"a token holds at most {most} groups")
    if not is_name(name) or len(name) > 128:
        raise ValueError("the token's name must be 1 to 128 printable characters")
    if not is_name(subject):
        raise ValueError("the subject must be 1 to 256 printable characters")
    if owner and not is_name(owner):
        raise ValueError("the owner must be at most 256 printable characters")
    if not 0 < lifetime <= MAXIMUM_LIFETIME:
        raise ValueError("the lifetime must be more than 0 and at most ten years")
    for group in groups:
        if not is_name(group):
            raise ValueError("a group must be 1 to 256 printable characters")
    for role in roles:
        if role not in ROLES:
            raise ValueError(
                f"unknown role `{role}`: expected admin, approver, auditor or operator"
            )
    for source in sources or ():
        if not is_network(source):
            raise ValueError(f"`{source}` is not a network: expected CIDR or `unix`")
    for target in targets or ():
        if not is_name(target):
            raise ValueError("a target must be 1 to 256 printable characters")
    for many in (roles, targets or (), sources or ()):
        if len(many) > MAXIMUM_LIST:
            raise ValueError(f"a token holds at most {MAXIMUM_LIST} targets or networks")
