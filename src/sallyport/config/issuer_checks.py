"""Checks of `issuers`: what is wrong, and what is allowed and hardly meant (hints)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

from sallyport.config.development import is_development
from sallyport.config.issuers import Issuer
from sallyport.config.models import Config
from sallyport.config.problems import Problem, shown
from sallyport.config.types import Address, is_scope
from sallyport.config.yaml import Key
from sallyport.core.globs import Globs
from sallyport.identity.claims import BOOKKEEPING
from sallyport.identity.compact import ASYMMETRIC
from sallyport.identity.mapping import SEPARATORS
from sallyport.identity.names import is_name, is_unspecified
from sallyport.identity.presets import PRESETS

_NOT_A_TENANT: Final = frozenset({"common", "organizations", "consumers", "{tenantid}"})
_CLIENT: Final = re.compile(r"[\x21-\x7e]{1,256}", re.ASCII)
_OWNER: Final = {"github-actions": "repo:", "gitlab-ci": "project_path:"}
"""What the subjects of a shared issuer begin with, before the owner's name."""


def check_issuers(issuers: Sequence[Issuer]) -> Iterator[Problem]:
    """Yield everything that is wrong with issuers beyond their shape."""
    for index, issuer in enumerate(issuers):
        path: Key = ("issuers", index)
        yield from _address(path, issuer)
        for position, algorithm in enumerate(issuer.algorithms):
            if algorithm not in ASYMMETRIC:  # never `none`, never a shared secret
                choices = ", ".join(sorted(ASYMMETRIC))
                problem = f"expected one of {choices}, not {shown(algorithm)}"
                yield (*path, "algorithms", position), problem
        yield from _globs((*path, "subjects"), issuer.subjects or ())
        yield from _groups(path, issuer)
        for key, client in (("login", issuer.login), ("web", issuer.web)):
            if client is not None:
                yield from _client((*path, key), client.client_id, client.scopes)
        public = None if issuer.login is None else issuer.login.public_secret
        if public is not None and _CLIENT.fullmatch(public) is None:
            yield (*path, "login", "public_secret"), "expected printable ASCII"


def _address(path: Key, issuer: Issuer) -> Iterator[Problem]:
    preset = PRESETS.get(issuer.preset or "")
    if not issuer.issuer:
        yield (*path, "issuer"), "expected the `iss` of its tokens"
        return
    for key, url in (("issuer", issuer.issuer), ("jwks", issuer.jwks)):
        if url is not None and not is_safe_url(url):
            yield (*path, key), f"expected an https URL, not {shown(url)}"
    tenant = set(issuer.issuer.lower().split("/")) & _NOT_A_TENANT
    if issuer.preset == "entra" and tenant:
        wrong = f"expected the issuer of one tenant, not `{min(tenant)}`, which is everybody's"
        yield (*path, "issuer"), wrong
    shared = preset is not None and preset.shared and issuer.issuer == preset.issuer
    if shared and issuer.subjects is None:
        yield path, "expected `subjects`: this issuer gives tokens to everybody in the world"


def _groups(path: Key, issuer: Issuer) -> Iterator[Problem]:
    if issuer.take_groups and not issuer.groups_claim:
        yield (*path, "take_groups"), "expected a `groups_claim` that they are taken from"
    if issuer.group_prefix and not is_name(f"{issuer.group_prefix}x"):
        yield (*path, "group_prefix"), "expected printable characters, not blank at the start"
    for index, rule in enumerate(issuer.groups):
        here: Key = (*path, "groups", index)
        if not rule.groups and not rule.roles:
            yield here, "expected `groups` or `roles`: a rule that gives nothing does nothing"
        for position, group in enumerate(rule.groups):
            if not is_name(group):
                problem = f"expected 1 to 256 printable characters, not {shown(group)}"
                yield (*here, "groups", position), problem
        if not all(rule.when.values()) or not rule.when:
            yield (*here, "when"), "expected a claim and its value; for everybody say `sub: '**'`"
        for claim, patterns in rule.when.items():
            if not claim or claim in BOOKKEEPING:
                problem = f"expected a claim about the subject, not {shown(claim)}"
                yield (*here, "when", claim), problem
            yield from _globs((*here, "when", claim), patterns)


def _client(path: Key, client: str, scopes: Sequence[str]) -> Iterator[Problem]:
    if _CLIENT.fullmatch(client) is None:
        yield (*path, "client_id"), f"expected printable ASCII, not {shown(client)}"
    for position, scope in enumerate(scopes):
        if " " in scope or not is_scope(scope):
            yield (*path, "scopes", position), f"expected one scope, not {shown(scope)}"
    if "openid" not in scopes:
        yield (*path, "scopes"), "expected `openid` among them: without it there is no ID token"


def _globs(path: Key, patterns: Sequence[str]) -> Iterator[Problem]:
    for pattern in patterns:
        try:
            Globs([pattern], SEPARATORS)
        except ValueError as error:
            yield path, str(error)


def is_safe_url(url: str) -> bool:
    """Whether nobody on the way can change what is had from `url`: https, or loopback."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.username or parts.password or not host:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and Address(host=host).is_local)


def is_origin(url: str) -> bool:
    """Whether `url` is a scheme, a host that can be called, and perhaps a port."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    bare = f"{parts.scheme}://{parts.netloc}" == url.rstrip("/").lower() and url.isascii()
    return bare and bool(host) and not is_unspecified(host)


def hints(config: Config) -> list[str]:
    """Return what a configuration allows and its writer hardly meant, in words."""
    longest = config.sessions.max_session
    return [
        f"issuer `{issuer.name}`: {hint}"
        for issuer in config.issuers
        for hint in _hints(issuer, longest)
    ]


def _hints(issuer: Issuer, longest: float) -> Iterator[str]:
    if issuer.session_ttl is not None and issuer.session_ttl > longest:
        yield "`session_ttl` is longer than `sessions.max_session`, which ends its sessions"
    if issuer.group_prefix and not issuer.takes_groups:
        yield "`group_prefix` does nothing: with rules in `groups` none are taken over as they are"
    if is_development(issuer):
        yield "it asks for no password, so everybody on this machine is whoever they say"
    match issuer.preset:
        case "google":
            yield from _google(issuer)
        case "entra" if issuer.subject_claim in ("email", "preferred_username", "upn"):
            yield f"`{issuer.subject_claim}` can be changed in Entra: `oid` stays with the person"
        case "kubernetes" if issuer.subjects is None and not issuer.groups:
            yield "every service account of the cluster is taken: name some in `subjects`"
        case "github-actions" | "gitlab-ci":
            yield from _owners(issuer, _OWNER[issuer.preset])


def _google(issuer: Issuer) -> Iterator[str]:
    named = any(path.split(".")[0] == "groups" for rule in issuer.groups for path in rule.when)
    if named or issuer.groups_claim == "groups":
        yield (
            "Google puts no groups into its tokens, so this matches nothing: map `email`, or `hd` "
            "for everybody of one domain"
        )
    if issuer.subjects is None and not any("hd" in rule.when for rule in issuer.groups):
        yield "any Google account may be let in: name some in `subjects`, or map `hd`"


def _owners(issuer: Issuer, prefix: str) -> Iterator[str]:
    """An owner's name that is not whole lets in everybody who calls themselves alike."""
    for pattern in issuer.subjects or ():
        owner, slash, _ = pattern.removeprefix(prefix).partition("/")
        if not pattern.startswith(prefix) or not slash or set(owner) & set("*?"):
            yield (
                f"`{pattern}` does not begin with `{prefix}OWNER/`, so others than one owner's "
                "projects may match"
            )
