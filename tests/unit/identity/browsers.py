"""Browsers that sign in beside a provider whose answers a test chooses."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from sqlalchemy import select

from sallyport.core.event import Audited
from sallyport.core.subject import Subject
from sallyport.identity.assertions import ClientAssertions
from sallyport.identity.oauth import OAuthSettings, TokenEndpoint
from sallyport.identity.oidc import Issuers, IssuerSettings
from sallyport.identity.relying.asking import Client
from sallyport.identity.service import IdentityService
from sallyport.identity.sign_in import SignInRefused, SignIns, SignInSettings
from sallyport.identity.tokens import TokenService
from sallyport.store.control_schema import browser_sessions as table
from sallyport.store.database import Database
from tests.support.clock import Clock
from tests.support.hostile import CLIENT, Answer, Form, Hostile

ORIGIN = "https://gateway.example.com"
HERE = "192.0.2.1"
DAY = 86_400


class World:
    """The sign-in beside a provider whose answers a test chooses."""

    def __init__(self, database: Database, hostile: Hostile) -> None:
        self.database, self.hostile, self.clock = database, hostile, Clock(time.time())
        self.audited: list[Audited] = []
        settings = IssuerSettings("corp", hostile.url, ("x",), ("RS256",), clients=(CLIENT,))
        self.tokens = TokenService(database, self.audited.append, self.clock)
        issuers = Issuers([settings], database, self.clock)
        self.identity = IdentityService(self.tokens, issuers, {"approver": ["dba"]})
        self.oauth = TokenEndpoint(
            database,
            self.identity,
            self.tokens,
            ClientAssertions(database),
            OAuthSettings(),
            self.clock,
        )
        self.settings = SignInSettings(ORIGIN, {"corp": Client(hostile.provider)})
        self.sign_ins = self.another()
        self.claims: dict[str, Any] = {"groups": ["agents"], "sid": "s-1", "exp": time.time() + DAY}
        self.refresh = "refresh-1"
        hostile.paths["/token"] = self.give

    def another(self, key: bytes = bytes(32)) -> SignIns:
        """Return what another process, or one of later, would be."""
        return SignIns(
            self.database,
            self.identity,
            self.tokens,
            self.oauth,
            self.settings,
            self.audited.append,
            key,
            self.clock,
        )

    def give(self, form: Form) -> Answer:
        return self.hostile.gives(self.refresh, **self.claims)

    async def begin(self, back: str = "/x", **changed: Any) -> tuple[str, str]:
        """Begin, as a browser would; return what it comes back with, and its cookie."""
        begun = await self.sign_ins.begin("corp", back)
        asked = {k: v[0] for k, v in parse_qs(urlsplit(begun.address).query).items()}
        self.claims["nonce"] = asked["nonce"]
        assert asked["redirect_uri"] == f"{ORIGIN}/login/callback/corp"
        return urlencode({"code": "abc", "state": asked["state"], **changed}), begun.cookie

    async def sign_in(self) -> str:
        """Return the cookie of a session."""
        query, cookie = await self.begin()
        return (await self.sign_ins.finish("corp", query, cookie, HERE)).cookie

    async def refused(self, query: str, cookie: str, name: str = "corp") -> str:
        with pytest.raises(SignInRefused) as why:
            await self.sign_ins.finish(name, query, cookie, HERE)
        assert await self.kept() == 0
        return why.value.message

    async def kept(self) -> int:
        async with self.database.read() as connection:
            return len((await connection.execute(select(table.c.digest))).all())

    async def who(self, cookie: str) -> Subject | None:
        return await self.sign_ins.authenticate(cookie, HERE)

    def asked(self, path: str = "/token") -> list[Form]:
        return [form for where, form in self.hostile.asked if where == path]
