"""What goes in and out of the API about service accounts and the token endpoint."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from sallyport.web.api.models import Model, Names

KeyText = Annotated[str, StringConstraints(min_length=1, max_length=16_384)]


class AccountRequest(Model):
    """A service account to be made, with its public keys (PEM or JWK)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "nightly-report",
                    "groups": ["agents"],
                    "keys": ["-----BEGIN PUBLIC KEY-----\n..."],
                }
            ]
        }
    )

    name: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    groups: Names = []
    keys: Annotated[list[KeyText], Field(max_length=8)] = []
    targets: Names | None = None
    sources: Names | None = None


class AccountKeyRequest(Model):
    """One more public key of a service account (PEM or JWK)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"key": "-----BEGIN PUBLIC KEY-----\n..."}]}
    )

    key: KeyText


class AccountKeyView(Model):
    """A public key. `id` is its thumbprint (RFC 7638), what an assertion may give as `kid`."""

    id: str
    kind: str
    created: float


class AccountView(Model):
    """A service account."""

    name: str
    groups: list[str]
    targets: list[str] | None
    sources: list[str] | None
    owner: str
    created: float
    keys: list[AccountKeyView]


class AccountList(Model):
    """A page of service accounts, by name."""

    accounts: list[AccountView]
    next: str | None = None


class AccountGone(Model):
    """What is gone, and how many live tokens were revoked with it."""

    removed: str
    revoked: int


class OAuthToken(Model):
    """A token that was given (RFC 6749, 5.1; RFC 8693, 2.2.1). `expires_in` in seconds."""

    access_token: str
    token_type: str
    expires_in: int
    issued_token_type: str | None = None


class OAuthError(Model):
    """Why no token is given (RFC 6749, 5.2)."""

    error: str
    error_description: str
