"""Presets and mapping: from realistic tokens of each provider to a name, groups and roles.

What a case changes in the configuration is `issuer`, in the token `claims` (... takes one away);
`expected` is the name, the groups and the roles, or None for a token that is refused.
"""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from sallyport.config.issuers import Issuer
from sallyport.control.state import issuer_settings
from sallyport.identity.oidc import Issuers
from sallyport.store.database import Database
from tests.unit.identity.bodies import BODIES
from tests.unit.identity.issuer import CURVE, FIRST, NOW, IssuerServer

Expected = tuple[str, tuple[str, ...], tuple[str, ...]] | None
MANY = {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://x"}}}
SHOP = "repo:acme/shop:ref:refs/heads/main"
NIGHTLY = "system:serviceaccount:reports:nightly"
GITLAB = "project_path:acme/data/shop:ref_type:branch:ref:main"
OID = "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb"
KEYCLOAK = "f1c2a3b4-5d6e-7f80-9a1b-2c3d4e5f6071"
ANN = "ann@acme.example"
DBA: dict[str, Any] = {"groups": [{"when": {"groups": "dba"}, "groups": ["db"]}]}


def rule(when: dict[str, Any], *groups: str, **more: Any) -> dict[str, Any]:
    return {"groups": [{"when": when, "groups": list(groups), **more}]}


SVID = "spiffe://acme.example/ns/reports/sa/nightly"
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], Expected]] = {
    # --- spiffe
    "spiffe as it is": ("spiffe", {}, {}, (SVID, (), ())),
    "spiffe by a rule": (
        "spiffe",
        rule({"sub": "spiffe://acme.example/ns/reports/**"}, "agents"),
        {},
        (SVID, ("agents",), ()),
    ),
    "spiffe of another path": (
        "spiffe",
        rule({"sub": "spiffe://acme.example/ns/*"}, "agents"),
        {},
        (SVID, (), ()),
    ),
    "spiffe of another domain": (
        "spiffe",
        {"subjects": ["spiffe://acme.example/**"]},
        {"sub": "spiffe://acme.example.evil/ns/reports/sa/nightly"},
        None,
    ),
    "spiffe for another audience": ("spiffe", {}, {"aud": ["vault"]}, None),
    "spiffe for many audiences": ("spiffe", {}, {"aud": ["sallyport", "vault"]}, None),
    # --- okta
    "okta as it is": ("okta", {}, {}, (ANN, ("Everyone", "dba"), ())),
    "okta without groups": ("okta", {}, {"groups": ...}, (ANN, (), ())),
    "okta by a rule": ("okta", DBA, {}, (ANN, ("db",), ())),
    "okta demoted": ("okta", DBA, {"groups": ["Everyone"]}, (ANN, (), ())),
    "okta by a rule, and as they are": (
        "okta",
        {**DBA, "take_groups": True, "group_prefix": "okta-"},
        {},
        (ANN, ("okta-Everyone", "okta-dba", "db"), ()),
    ),
    "okta roles of the product": (
        "okta",
        rule({"groups": "dba"}, roles=["approver", "auditor"]),
        {},
        (ANN, (), ("approver", "auditor")),
    ),
    "okta groups as text": ("okta", DBA, {"groups": "dba"}, (ANN, ("db",), ())),
    "okta groups nested": ("okta", DBA, {"groups": [["dba"]]}, (ANN, (), ())),
    "okta groups as a mapping": ("okta", DBA, {"groups": {"dba": True}}, (ANN, (), ())),
    "okta groups taken over that are a mapping": ("okta", {}, {"groups": {"dba": True}}, None),
    "okta for Okta's own use": ("okta", {}, {"aud": "https://acme.okta.com"}, None),
    "okta another case": ("okta", DBA, {"groups": ["DBA"]}, (ANN, (), ())),
    # --- entra
    "entra as it is": ("entra", {}, {}, (OID, tuple(BODIES["entra"]["groups"]), ())),
    "entra with too many groups": ("entra", {}, {"groups": ..., **MANY}, None),
    "entra with too many, and a rule": ("entra", DBA, {"groups": ..., **MANY}, None),
    "entra says that there are groups": ("entra", {}, {"groups": ..., "hasgroups": True}, None),
    "entra says so in words": ("entra", {}, {"groups": ..., "hasgroups": "true"}, None),
    "entra by app roles, groups elsewhere": (
        "entra",
        {"groups_claim": "roles"},
        {"groups": ..., **MANY},
        (OID, ("Database.Admin",), ()),
    ),
    "entra by a rule over app roles, groups elsewhere": (
        "entra",
        rule({"roles": "Database.*"}, "db"),
        {"groups": ..., **MANY},
        (OID, ("db",), ()),
    ),
    "entra without an object": ("entra", {}, {"oid": ...}, None),
    "entra by an address that nobody verified": (
        "entra",
        {"subject_claim": "email"},
        {"email": "root@acme.example"},
        None,
    ),
    # --- google
    "google by its address": ("google", {}, {}, (ANN, (), ())),
    "google unverified": ("google", {}, {"email_verified": False}, None),
    "google says nothing of it": ("google", {}, {"email_verified": ...}, None),
    "google by its domain": (
        "google",
        rule({"hd": "acme.example"}, "staff"),
        {},
        (ANN, ("staff",), ()),
    ),
    "google of nobody's domain": (
        "google",
        rule({"hd": "acme.example"}, "staff"),
        {"hd": ..., "email": "ann@gmail.example"},
        ("ann@gmail.example", (), ()),
    ),
    "google of another's": ("google", {"subjects": ["*@acme.example"]}, {"email": "a@b.c"}, None),
    "google of a longer domain": (
        "google",
        {"subjects": ["*@acme.example"]},
        {"email": "ann@acme.example.evil"},
        None,
    ),
    "google's own groups": ("google", {}, {"groups": ["admins"]}, (ANN, (), ())),
    # --- keycloak
    "keycloak without the slash": ("keycloak", {}, {}, (KEYCLOAK, ("dba", "data/readers"), ())),
    "keycloak as it stands": (
        "keycloak",
        {"strip_slash": False},
        {},
        (KEYCLOAK, ("/dba", "/data/readers"), ()),
    ),
    "keycloak by roles of the realm": (
        "keycloak",
        {"groups_claim": "realm_access.roles"},
        {},
        (KEYCLOAK, ("offline_access", "db-admin"), ()),
    ),
    "keycloak by a rule over roles": (
        "keycloak",
        rule({"realm_access.roles": "db-*"}, "db"),
        {},
        (KEYCLOAK, ("db",), ()),
    ),
    "keycloak, a rule sees the slash": (
        "keycloak",
        rule({"groups": "/data/*"}, "data"),
        {},
        (KEYCLOAK, ("data",), ()),
    ),
    "keycloak, another group below": (
        "keycloak",
        rule({"groups": "/dba"}, "db"),
        {"groups": ["/evil/dba", "/dba/guests"]},
        (KEYCLOAK, (), ()),
    ),
    "keycloak without a mapper of the audience": ("keycloak", {}, {"aud": "account"}, None),
    "keycloak, a group of nothing": ("keycloak", {}, {"groups": ["/"]}, None),
    "keycloak roles that are none": (
        "keycloak",
        rule({"realm_access.roles": "db-*"}, "db"),
        {"realm_access": ["db-admin"]},
        (KEYCLOAK, (), ()),
    ),
    # --- github
    "github on main": (
        "github-actions",
        {"subjects": ["repo:acme/*:ref:refs/heads/main"]},
        {},
        (SHOP, (), ()),
    ),
    "github by numbers that nobody takes over": (
        "github-actions",
        {"subjects": ["repo:acme@65/*:ref:refs/heads/main"]},
        {"sub": "repo:acme@65/shop@74:ref:refs/heads/main"},
        ("repo:acme@65/shop@74:ref:refs/heads/main", (), ()),
    ),
    "github of who took the name over": (
        "github-actions",
        {"subjects": ["repo:acme@65/*:ref:refs/heads/main"]},
        {"sub": "repo:acme@66/shop@75:ref:refs/heads/main"},
        None,
    ),
    "github by names, for a token by numbers": (
        "github-actions",
        {"subjects": ["repo:acme/*:ref:refs/heads/main"]},
        {"sub": "repo:acme@65/shop@74:ref:refs/heads/main"},
        None,
    ),
    "github on another branch": (
        "github-actions",
        {"subjects": ["repo:acme/*:ref:refs/heads/main"]},
        {"sub": "repo:acme/shop:ref:refs/heads/try"},
        None,
    ),
    "github of a pull request": (
        "github-actions",
        {"subjects": ["repo:acme/*:ref:refs/heads/main"]},
        {"sub": "repo:acme/shop:pull_request"},
        None,
    ),
    "github of an owner called alike": (
        "github-actions",
        {"subjects": ["repo:acme/*:ref:refs/heads/main"]},
        {"sub": "repo:acme-evil/shop:ref:refs/heads/main"},
        None,
    ),
    "github of an owner before": (
        "github-actions",
        {"subjects": ["repo:acme/*:ref:refs/heads/main"]},
        {"sub": "repo:evil/acme/shop:ref:refs/heads/main"},
        None,
    ),
    "github of an environment that is called like a branch": (
        "github-actions",
        {"subjects": ["repo:acme/*:ref:refs/heads/main"]},
        {"sub": "repo:acme/shop:environment:x:ref:refs/heads/main"},
        None,
    ),
    "github with a line feed": (
        "github-actions",
        {"subjects": ["repo:acme/**"]},
        {"sub": "repo:acme/shop:ref:refs/heads/main\n"},
        None,
    ),
    "github by environment and workflow": (
        "github-actions",
        {
            "subjects": ["repo:acme/*:**"],
            **rule(
                {
                    "environment": "production",
                    "job_workflow_ref": "acme/pipelines/.github/workflows/*@refs/heads/main",
                },
                "deployers",
            ),
        },
        {},
        (SHOP, ("deployers",), ()),
    ),
    "github by another's workflow": (
        "github-actions",
        {
            "subjects": ["repo:acme/*:**"],
            **rule({"job_workflow_ref": "acme/pipelines/**"}, "deployers"),
        },
        {"job_workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main"},
        (SHOP, (), ()),
    ),
    "github without an environment": (
        "github-actions",
        {"subjects": ["repo:acme/*:**"], **rule({"environment": "*"}, "deployers")},
        {"environment": ...},
        (SHOP, (), ()),
    ),
    # --- gitlab
    "gitlab in a group below": (
        "gitlab-ci",
        {"subjects": ["project_path:acme/**:ref_type:branch:ref:main"]},
        {},
        (GITLAB, (), ()),
    ),
    "gitlab, one star stays in one part": (
        "gitlab-ci",
        {"subjects": ["project_path:acme/*:ref_type:branch:ref:main"]},
        {},
        None,
    ),
    "gitlab on a protected branch": (
        "gitlab-ci",
        {
            "subjects": ["project_path:acme/**"],
            **rule({"project_path": "acme/data/*", "ref_protected": "true"}, "deployers"),
        },
        {},
        (GITLAB, ("deployers",), ()),
    ),
    "gitlab on a branch that is not": (
        "gitlab-ci",
        {"subjects": ["project_path:acme/**"], **rule({"ref_protected": "true"}, "deployers")},
        {"ref_protected": "false"},
        (GITLAB, (), ()),
    ),
    "gitlab says it by a truth value": (
        "gitlab-ci",
        {"subjects": ["project_path:acme/**"], **rule({"ref_protected": "true"}, "deployers")},
        {"ref_protected": True},
        (GITLAB, ("deployers",), ()),
    ),
    "gitlab of another group": (
        "gitlab-ci",
        {"subjects": ["project_path:acme/**"]},
        {"sub": "project_path:evil/acme/shop:ref_type:branch:ref:main"},
        None,
    ),
    # --- kubernetes
    "kubernetes by subject": (
        "kubernetes",
        {"subjects": ["system:serviceaccount:reports:*"]},
        {},
        (NIGHTLY, (), ()),
    ),
    "kubernetes of another namespace": (
        "kubernetes",
        {"subjects": ["system:serviceaccount:reports:*"]},
        {"sub": "system:serviceaccount:default:nightly"},
        None,
    ),
    "kubernetes by its own claim": (
        "kubernetes",
        rule(
            {"kubernetes.io.namespace": "reports", "kubernetes.io.serviceaccount.name": "nightly"},
            "reporters",
        ),
        {},
        (NIGHTLY, ("reporters",), ()),
    ),
    "kubernetes without its own claim": (
        "kubernetes",
        rule({"kubernetes.io.namespace": "**"}, "reporters"),
        {"kubernetes.io": ...},
        (NIGHTLY, (), ()),
    ),
    "kubernetes, a claim that only looks like it": (
        "kubernetes",
        rule({"kubernetes.io.namespace": "reports"}, "reporters"),
        {"kubernetes.io": ..., "kubernetes": {"io": "reports"}},
        (NIGHTLY, (), ()),
    ),
}


def issuers(server: IssuerServer, database: Database, preset: str, more: dict[str, Any]) -> Issuers:
    """Return an issuer as the configuration has it."""
    written = {"name": "one", "preset": preset, "issuer": server.url, "audience": ["sallyport"]}
    model = Issuer.model_validate({**written, **more})
    return Issuers([issuer_settings(model, 3600.0)], database, clock=lambda: NOW)


@pytest.mark.parametrize(("preset", "more", "claims", "expected"), CASES.values(), ids=CASES)
async def test_a_token_becomes(
    server: IssuerServer,
    database: Database,
    preset: str,
    more: dict[str, Any],
    claims: dict[str, Any],
    expected: Expected,
) -> None:
    body: dict[str, Any] = {"groups": ..., "sub": ..., **BODIES[preset], **claims}
    subject = await issuers(server, database, preset, more).check(server.token(FIRST, **body))
    found = None if subject is None else (subject.name, subject.groups, subject.roles)
    assert found == expected


async def test_a_jwt_svid_may_say_jose_and_its_key_that_it_is_one(
    server: IssuerServer, database: Database
) -> None:
    """The JWT-SVID profile, 2.3, and SPIFFE's Trust Domain and Bundle, 4.2."""
    server.keys = []
    server.extra_entries = [
        {**dict(CURVE.as_dict(private=False)), "use": "jwt-svid"},
        {**dict(FIRST.as_dict(private=False)), "use": "x509-svid"},
    ]
    body = {"groups": ..., **BODIES["spiffe"]}
    taken = server.token(CURVE, "ES256", {"typ": "JOSE"}, **body)
    spiffe = issuers(server, database, "spiffe", {})
    assert await spiffe.check(taken) is not None
    assert await issuers(server, database, "kubernetes", {}).check(taken) is None
    assert await spiffe.check(server.token(FIRST, "RS256", **body)) is None
    for odd in ("JWE", "jose+json", "", "logout+jwt"):
        assert await spiffe.check(server.token(CURVE, "ES256", {"typ": odd}, **body)) is None


@pytest.mark.parametrize("preset", BODIES)
def test_every_preset_has_a_case_that_is_taken_and_one_that_is_not(preset: str) -> None:
    outcomes = {expected is None for name, _, _, expected in CASES.values() if name == preset}
    assert outcomes == {True, False}


async def test_too_many_groups_say_what_to_configure(
    server: IssuerServer, database: Database
) -> None:
    entra = issuers(server, database, "entra", {})
    body = {**BODIES["entra"], "groups": ..., **MANY}
    with structlog.testing.capture_logs() as logs:
        assert await entra.check(server.token(FIRST, **body)) is None
    assert "groups assigned to the application" in logs[-1]["reason"]
    assert "app roles" in logs[-1]["reason"]


async def test_what_settings_make_of_a_subject_is_looked_at_again(
    server: IssuerServer, database: Database
) -> None:
    before = issuers(server, database, "okta", DBA)
    subject = await before.check(server.token(FIRST, **BODIES["okta"]))
    assert subject is not None and before.gives_still(subject)
    for other in (
        rule({"groups": "dba"}, "somebody"),
        rule({"groups": "nobody"}, "db"),
        {**DBA, "subjects": ["bob@*"]},
        {"subject_claim": "uid", **DBA},
    ):
        assert not issuers(server, database, "okta", other).gives_still(subject), other
    more = {"groups": [*DBA["groups"], {"when": {"groups": "dba"}, "roles": ["auditor"]}]}
    assert issuers(server, database, "okta", more).gives_still(subject)


async def test_a_session_is_bounded_by_its_time_to_live_and_that_by_the_longest(
    server: IssuerServer, database: Database
) -> None:
    short = server.token(FIRST, **{**BODIES["okta"], "exp": NOW + 300})
    for written, ends in (
        ({}, NOW + 300),
        ({"session_ttl": "1m"}, NOW + 60),
        ({"session_ttl": "30m"}, NOW + 1800),
        ({"session_ttl": "8h"}, NOW + 3600),
    ):
        subject = await issuers(server, database, "okta", written).check(short)
        assert subject is not None and subject.expires == ends, written
    late = server.token(FIRST, **{**BODIES["okta"], "exp": NOW - 31})
    assert await issuers(server, database, "okta", {"session_ttl": "8h"}).check(late) is None
