"""Presets: what is known of each provider's tokens, so that an issuer needs few settings.

A preset only fills in what the configuration leaves out. Sources: the providers' own pages on the
claims of their tokens, named in `docs/identity-providers.md`, which says what can go wrong.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

PresetName = Literal[
    "okta",
    "entra",
    "google",
    "keycloak",
    "github-actions",
    "gitlab-ci",
    "kubernetes",
    "spiffe",
    "development",
]
DEVELOPMENT: Final = "development"
"""The preset of the demo's own issuer, which asks for no password."""


class Preset(Struct, frozen=True):
    """One provider. `issuer` None: every customer has their own; "" of a claim: it has none.

    `shared`: this one issuer gives tokens to everybody in the world who asks for one, so that it
    must be said whose are taken. `overage` says what to do when the groups do not fit into a token;
    `types`: what else than a JWT's its tokens' `typ` may be.
    """

    issuer: str | None = None
    algorithms: tuple[str, ...] = ("RS256",)
    subject_claim: str = "sub"
    groups_claim: str = ""
    strip_slash: bool = False
    shared: bool = False
    overage: str = ""
    types: frozenset[str] = frozenset()


PRESETS: Final[dict[str, Preset]] = {
    "okta": Preset(groups_claim="groups"),
    "entra": Preset(
        subject_claim="oid",
        groups_claim="groups",
        overage=(
            "have Entra put only groups assigned to the application into the token, or use app "
            "roles (`groups_claim: roles`)"
        ),
    ),
    "google": Preset(issuer="https://accounts.google.com", subject_claim="email"),
    "keycloak": Preset(groups_claim="groups", strip_slash=True),
    "github-actions": Preset(issuer="https://token.actions.githubusercontent.com", shared=True),
    "gitlab-ci": Preset(issuer="https://gitlab.com", shared=True),
    "kubernetes": Preset(algorithms=("RS256", "ES256")),
    "spiffe": Preset(algorithms=("ES256", "RS256", "ES384"), types=frozenset({"JOSE"})),
    DEVELOPMENT: Preset(algorithms=("ES256",), groups_claim="groups"),
}
