"""Models of `issuers`: whose JWTs are taken, and what becomes of their claims."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from sallyport.config.rules import Model, Some
from sallyport.config.types import Duration, Name, Names, Reference, sequence
from sallyport.identity.presets import PRESETS, PresetName


def _alone(value: object) -> object:
    return sequence(value) if isinstance(value, list | tuple) else (value,)


ClaimGlobs = Annotated[tuple[str, ...], BeforeValidator(_alone)]
ProductRole = Literal["admin", "approver", "auditor", "operator"]


class ClaimRule(Model):
    """What a token carries when its claims match."""

    when: dict[str, ClaimGlobs] = Field(
        description="path of a claim to a glob, or globs, over its value; all of them. `*` does "
        "not cross `:` and `/`, `**` does; of a claim that is a list, one value is enough",
    )
    groups: Names = Field(default=(), description="groups that it gives")
    roles: Annotated[tuple[ProductRole, ...], BeforeValidator(sequence)] = Field(
        default=(), description="roles of the product that it gives"
    )


class IssuerLogin(Model):
    """How people log in there with `sallyport login`: a public client of the issuer's."""

    client_id: str = Field(
        description="of a public (native) client that is registered there; its ID tokens are taken",
    )
    scopes: Names = Field(
        default=("openid", "profile", "email", "offline_access"),
        description="what is asked for; `offline_access` is left out where the issuer does not "
        "list it",
    )
    flow: Literal["auto", "device", "code"] = Field(
        default="auto",
        description="device: a code that is typed in any browser; code: a browser on the same "
        "machine; auto: device, or code where the issuer does not offer that",
    )

    public_secret: str | None = Field(
        default=None,
        description="what Google calls a secret and demands of programs that can keep none: it is "
        "told to anybody",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_secret(cls, given: Any) -> Any:
        """A secret that every user's command line would have to hold is none."""
        if isinstance(given, dict) and "client_secret" in given:
            raise ValueError(
                "expected no `client_secret`, not one that every command line would have to "
                "know: register a public (native) client, which is protected by PKCE. Where the "
                "issuer demands one of those, too (Google), it is `public_secret`"
            )
        return given


class IssuerWeb(Model):
    """How people sign in there with a browser: a client of the issuer's for the API itself."""

    client_id: str = Field(description="of the client that is registered; its ID tokens are taken")
    client_secret: Reference | None = Field(
        default=None, description="absent: a public client, which PKCE alone protects"
    )
    scopes: Names = Field(
        default=("openid", "profile", "email", "offline_access"),
        description="what is asked for, as in `login`",
    )


class Issuer(Model):
    """An OIDC issuer whose JWTs are taken."""

    name: Name
    preset: PresetName | None = Field(
        default=None, description="fills in what is left out here: see identity-providers.md"
    )
    issuer: str = Field(
        default="", description="the `iss` of its tokens; demanded where no preset knows it"
    )
    audience: Some = Field(description="a token is for one of these (`aud`)")
    algorithms: Some = ("RS256", "ES256")
    jwks: str | None = Field(default=None, description="absent: by discovery")
    ca: Reference | None = Field(
        default=None,
        description="PEM: who vouches for its https; absent: the system's authorities",
    )
    keys_kept: Duration = Field(
        default=3600.0, description="how long known keys serve when they cannot be fetched anew"
    )
    subject_claim: str = Field(default="sub", min_length=1)
    subjects: Some | None = Field(
        default=None,
        description="globs over the subject: others are refused. `*` does not cross `:` and `/`, "
        "`**` does",
    )
    groups_claim: str = Field(default="groups", description="a path; empty: it has no groups")
    groups: Annotated[tuple[ClaimRule, ...], BeforeValidator(sequence)] = Field(
        default=(), description="rules from claims to groups and roles"
    )
    take_groups: bool | None = Field(
        default=None,
        description="whether the groups of `groups_claim` are taken over as they are; absent: "
        "only where there are no rules in `groups`",
    )
    group_prefix: str = Field(default="", description="put before each group that is taken over")
    strip_slash: bool = Field(
        default=False, description="take the leading slash off groups that are taken over"
    )
    session_ttl: Duration | None = Field(
        default=None,
        description="how long after its login a session may last, whenever the JWT expires; never "
        "longer than `sessions.max_session`. Absent: the JWT's own expiry ends the session",
    )
    leeway: Duration = Field(default=30.0, description="how far the two clocks may be apart")
    login: IssuerLogin | None = Field(
        default=None, description="absent: nobody logs in there with `sallyport login`"
    )
    web: IssuerWeb | None = Field(
        default=None,
        description="absent: nobody signs in there with a browser. Register "
        "`api.url` + `/login/callback/NAME` as where it comes back to",
    )

    @model_validator(mode="after")
    def _fill_in(self) -> Issuer:
        """Take from the preset what the file does not say."""
        preset = PRESETS.get(self.preset or "")
        if preset is not None:
            known = {
                "issuer": preset.issuer or "",
                "algorithms": preset.algorithms,
                "subject_claim": preset.subject_claim,
                "groups_claim": preset.groups_claim,
                "strip_slash": preset.strip_slash,
            }
            for key, value in known.items():
                if key not in self.model_fields_set:
                    object.__setattr__(self, key, value)
        return self

    @property
    def takes_groups(self) -> bool:
        """Whether the provider's groups are taken over."""
        return not self.groups if self.take_groups is None else self.take_groups
