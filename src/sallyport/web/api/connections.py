"""Connections: where to connect, and to what, for whoever asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request

from sallyport.web.api.common import Services, errors
from sallyport.web.api.models import Model
from sallyport.web.authentication import Anybody, source_of
from sallyport.web.services import ReachedLogin

router = APIRouter(tags=["targets"])


class ListenerView(Model):
    """Where clients connect: `host` and `port`, or `path`. `tls` is none, offered or required.

    A host of `0.0.0.0` or `::` is every address of the gateway's machine. `issuer` is where a
    client without a token is sent, by the mechanism `oauth`; `client_id` is the public client that
    is registered there for people's logins (empty: none), and `scope` what to ask for.
    """

    name: str
    protocol: str
    host: str
    port: int
    path: str
    mechanism: str
    tls: str
    issuer: str
    client_id: str
    scope: str


class LoginView(Model):
    """One login. `access` is `given`, or `request`: then it can be asked for.

    `ends` (epoch seconds) is when what was given on request is over; `longest` is in seconds.
    """

    name: str
    default: bool
    access: str
    write: bool
    ends: float | None
    longest: float | None


class ReachedTarget(Model):
    """A target, as the caller may reach it."""

    name: str
    protocol: str
    database: str
    logins: list[LoginView]


class Connections(Model):
    """All that a client needs to connect, but a token."""

    listeners: list[ListenerView]
    targets: list[ReachedTarget]


@router.get("/connections", responses=errors())
async def show_connections(
    request: Request,
    caller: Anybody,
    services: Services,
    target: Annotated[
        str | None, Query(max_length=256, description="only this `target` or `target/database`")
    ] = None,
) -> Connections:
    """Show the listeners, and the targets that the caller may reach or ask for.

    What only some applications may reach is not among them. A listener is told to those alone who
    have a target to reach by its protocol.
    """
    reached = await services.reach(caller, source_of(request.scope), target)
    targets = _by_target(reached)
    protocols = {one.protocol for one in targets}
    return Connections(
        listeners=[
            ListenerView(
                name=one.name,
                protocol=one.protocol,
                host=one.host,
                port=one.port,
                path=one.path,
                mechanism=one.mechanism,
                tls=one.tls,
                issuer=one.issuer,
                client_id=one.client_id,
                scope=one.scope,
            )
            for one in services.listeners()
            if one.protocol in protocols
        ],
        targets=targets,
    )


def _by_target(reached: Sequence[ReachedLogin]) -> list[ReachedTarget]:
    found: dict[str, ReachedTarget] = {}
    for one in reached:
        entry = found.setdefault(
            one.target,
            ReachedTarget(name=one.target, protocol=one.protocol, database=one.database, logins=[]),
        )
        entry.logins.append(
            LoginView(
                name=one.login,
                default=one.default,
                access="given" if one.given else "request",
                write=one.write,
                ends=one.ends,
                longest=one.longest,
            )
        )
    return sorted(found.values(), key=lambda each: each.name)
