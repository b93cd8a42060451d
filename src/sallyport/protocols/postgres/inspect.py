"""Inspection of a target, for `sallyport target check`: what stands between an agent and its data.

Dials as a session would, and looks at what a session's borrowed login could do beyond what policy
reads: the login's own powers are part of the threat. Asks nothing that changes anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sallyport.core.errors import ProtocolViolation, TargetUnavailable
from sallyport.core.grant import Grant
from sallyport.core.subject import Secret
from sallyport.protocols.base import Leg
from sallyport.protocols.inspecting import Finding, TargetReport
from sallyport.protocols.postgres.endpoint import (
    Dialer,
    Rows,
    SideConnection,
    is_local,
    open_target,
)
from sallyport.protocols.postgres.target_login import TargetLogin, TargetRefused

MINIMUM_VERSION: Final = 13
"""The oldest server that the gateway's catalogue queries know."""


_ATTRIBUTES: Final = {
    "rolsuper": "is a superuser: no setting of the server holds it, and it can read files and run"
    " programs there",
    "rolcreaterole": "may create roles and grant them",
    "rolcreatedb": "may create databases",
    "rolreplication": "may replicate: a copy of everything, past every rule",
    "rolbypassrls": "passes row security by",
}
_MEMBERSHIPS: Final = {
    "pg_read_server_files": "can read the server's files",
    "pg_write_server_files": "can write the server's files",
    "pg_execute_server_program": "can run programs on the server",
    "pg_read_all_data": "can read every table",
    "pg_write_all_data": "can write every table",
    "pg_monitor": "sees other sessions' statements",
    "pg_read_all_stats": "sees other sessions' statements",
    "pg_read_all_settings": "sees every setting",
    "pg_signal_backend": "can end other sessions",
    "pg_create_subscription": "can subscribe to other servers",
    "pg_maintain": "can run maintenance on every table",
    "pg_checkpoint": "can force checkpoints",
}
_GRAVE: Final = frozenset(
    {
        "rolsuper",
        "rolreplication",
        "rolcreaterole",
        "pg_read_server_files",
        "pg_write_server_files",
        "pg_execute_server_program",
    }
)

_ROLE: Final = """
select r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolreplication, r.rolbypassrls
from pg_catalog.pg_roles r where r.rolname = session_user
"""
_MEMBER: Final = """
select r.rolname from pg_catalog.pg_roles r
where r.rolname like 'pg\\_%' and pg_catalog.pg_has_role(session_user, r.oid, 'member')
order by 1
"""
_OWNED: Final = """
select c.relkind = 'd', count(*) from (
    select 'd'::"char" as relkind from pg_catalog.pg_database
    where datdba = (select oid from pg_catalog.pg_roles where rolname = session_user)
        and datname = pg_catalog.current_database()
    union all
    select relkind from pg_catalog.pg_class
    where relowner = (select oid from pg_catalog.pg_roles where rolname = session_user)
        and relpersistence <> 't'
) c group by 1
"""


async def inspect(dialer: Dialer, grant: Grant) -> TargetReport:
    """Return what is found at the grant's target. What fails is a finding, never an error."""
    address = grant.target.address
    facts = {"address": f"{address.host}:{address.port}", "login": grant.login}
    findings = list(_of_the_way(grant))
    try:
        leg, login = await open_target(dialer, grant, {"search_path": ""})
    except (TargetUnavailable, ProtocolViolation) as error:
        text = f"a session would fail: {error.message}{_remedy(error.message)}"
        findings.insert(0, Finding("failed", text))
        return TargetReport(isinstance(error, TargetRefused), facts, tuple(findings))
    try:
        facts.update(_of_the_login(leg, login))
        findings.extend(_of_the_method(login))
        side = SideConnection(leg, grant.target.name)
        findings.extend(
            _of_the_powers(grant.login, await side.query(_ROLE), _names(await side.query(_MEMBER)))
        )
        findings.extend(_of_what_is_owned(grant.login, await side.query(_OWNED)))
    except (TargetUnavailable, ProtocolViolation) as error:
        findings.append(Finding("warning", f"not everything could be asked: {error.message}"))
    finally:
        leg.close()
    findings.extend(await _without_credential(dialer, grant))
    order = {"failed": 0, "warning": 1, "ok": 2}
    findings.sort(key=lambda finding: order[finding.state])
    return TargetReport(True, facts, tuple(findings))


def _remedy(message: str) -> str:
    """Return what a configuration may lack where the target's certificate is not taken."""
    if not message.startswith("TLS: "):
        return ""
    if "mismatch" in message:
        return "; is it for another name? Say so: `tls: {server_name: NAME}`"
    if any(word in message for word in ("self-signed", "issuer", "signature")):
        return "; name the authority that signed it: `tls: {ca: file:PATH}`"
    return ""


def _of_the_way(grant: Grant) -> Iterable[Finding]:
    """What the setting `tls` leaves open."""
    address = grant.target.address
    if is_local(address):
        return
    if address.tls == "disable":
        yield Finding("failed", "the way to the target is not encrypted: anybody on it reads along")
    elif address.tls == "require":
        yield Finding(
            "failed", "the target's certificate is not checked: anybody can pretend to be it"
        )
    elif address.tls == "verify-ca":
        yield Finding("warning", "the name in the target's certificate is not checked")


def _of_the_login(leg: Leg, login: TargetLogin) -> dict[str, str]:
    """Facts of how the login went."""
    facts = {
        "server version": login.parameters.get("server_version", "unknown"),
        "authentication": login.method,
        "protocol": f"{login.version >> 16}.{login.version & 0xFFFF}",
        "tls": "no",
    }
    tls = leg.tls
    if tls is not None:
        cipher = tls.cipher()
        facts["tls"] = f"{tls.version()}, {cipher[0] if cipher else 'unknown cipher'}"
        certificate = tls.getpeercert()
        if certificate:
            facts["certificate ends"] = str(certificate.get("notAfter", "unknown"))
    if login.parameters.get("in_hot_standby") == "on":
        facts["standby"] = "yes"
    return facts


def _of_the_method(login: TargetLogin) -> Iterable[Finding]:
    """What the way of authentication, and the server's age, leave open."""
    if login.method == "md5":
        yield Finding("warning", "the login has an md5 password: set it anew with scram-sha-256")
    elif login.method == "password":
        yield Finding("warning", "the target asks for the password in clear: use scram-sha-256")
    digits = login.parameters.get("server_version", "").split(".")[0]
    if digits.isdigit() and int(digits) < MINIMUM_VERSION:
        yield Finding("failed", f"servers before {MINIMUM_VERSION} are not supported")


def _of_the_powers(name: str, roles: Rows, members: list[str]) -> Iterable[Finding]:
    """What the login could do that no session of an agent should."""
    if len(roles) != 1 or len(roles[0]) != len(_ATTRIBUTES):
        yield Finding("warning", "the login's own powers could not be read")
        return
    for (attribute, words), value in zip(_ATTRIBUTES.items(), roles[0], strict=True):
        if value == "t":
            yield Finding(_state(attribute), f"login `{name}` {words}")
    if roles[0][0] == "t":
        return  # a superuser is a member of everything
    for role in members:
        if role in _MEMBERSHIPS:
            words = _MEMBERSHIPS[role]
            yield Finding(_state(role), f"login `{name}` {words} (member of `{role}`)")


def _of_what_is_owned(name: str, rows: Rows) -> Iterable[Finding]:
    """What the login owns: an owner can change, drop and grant, whatever it was granted."""
    for database, count in rows:
        what = "the database" if database == "t" else f"{count} relations"
        yield Finding("warning", f"login `{name}` owns {what}: an owner can alter, drop and grant")


async def _without_credential(dialer: Dialer, grant: Grant) -> Iterable[Finding]:
    """Whether this host gets in without a credential: then so does whoever else is on it."""
    if not grant.credential.reveal():
        return [
            Finding("failed", "the gateway has no credential here: the target trusts this host")
        ]
    try:
        leg, _ = await open_target(dialer, grant, {}, credential=Secret(b""))
    except (TargetUnavailable, ProtocolViolation):
        return []
    leg.close()
    text = "the target lets this host in without a credential: the gateway is not the only way in"
    return [Finding("failed", text)]


def _state(power: str) -> str:
    return "failed" if power in _GRAVE else "warning"


def _names(rows: Rows) -> list[str]:
    return [row[0] for row in rows if row and row[0] is not None]
