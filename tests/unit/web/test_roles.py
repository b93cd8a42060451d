"""Who may call what: every route, with nobody's token and with each role's."""

from __future__ import annotations

from unittest.mock import MagicMock

import pytest

from sallyport.web.app import create_routes, openapi
from sallyport.web.authentication import OPEN_PATHS, SELF_AUTHENTICATED, checks_itself
from sallyport.web.forms import FORM_PATHS
from tests.unit.web.harness import Api, problem

ADMIN, AUDIT, APPROVE = {"admin"}, {"admin", "auditor"}, {"approver"}
OPERATE, OVERSEE = {"admin", "operator"}, {"admin", "auditor", "operator"}
EVERYBODY = {"admin", "auditor", "operator", "approver", "nobody"}

MATRIX: dict[tuple[str, str], set[str]] = {
    ("get", "/api/v1/sessions"): OVERSEE,
    ("get", "/api/v1/sessions/search"): AUDIT,
    ("get", "/api/v1/sessions/tail"): AUDIT,
    ("get", "/api/v1/sessions/{identifier}"): AUDIT,
    ("get", "/api/v1/sessions/{identifier}/events"): AUDIT,
    ("get", "/api/v1/sessions/{identifier}/export"): AUDIT,
    ("post", "/api/v1/sessions/{identifier}/kill"): OPERATE,
    ("post", "/api/v1/sessions/{identifier}/hold"): ADMIN,
    ("post", "/api/v1/sessions/{identifier}/release"): ADMIN,
    ("get", "/api/v1/approvals"): EVERYBODY,
    ("get", "/api/v1/approvals/watch"): EVERYBODY,
    ("get", "/api/v1/approvals/{identifier}"): EVERYBODY,
    ("post", "/api/v1/approvals/{identifier}/approve"): APPROVE,
    ("post", "/api/v1/approvals/{identifier}/deny"): APPROVE,
    ("post", "/api/v1/access"): EVERYBODY,
    ("get", "/api/v1/access"): EVERYBODY,
    ("get", "/api/v1/access/{identifier}"): EVERYBODY,
    ("post", "/api/v1/access/{identifier}/approve"): APPROVE,
    ("post", "/api/v1/access/{identifier}/deny"): APPROVE,
    ("post", "/api/v1/access/{identifier}/withdraw"): EVERYBODY,
    ("post", "/api/v1/access/{identifier}/revoke"): EVERYBODY,
    ("post", "/api/v1/tokens"): ADMIN,
    ("post", "/api/v1/tokens/rotate"): ADMIN,
    ("get", "/api/v1/tokens"): AUDIT,
    ("post", "/api/v1/tokens/revoke"): ADMIN,
    ("post", "/api/v1/service-accounts"): ADMIN,
    ("get", "/api/v1/service-accounts"): AUDIT,
    ("delete", "/api/v1/service-accounts/{name}"): ADMIN,
    ("post", "/api/v1/service-accounts/{name}/keys"): ADMIN,
    ("delete", "/api/v1/service-accounts/{name}/keys/{key}"): ADMIN,
    ("get", "/api/v1/credentials"): AUDIT,
    ("put", "/api/v1/credentials/{name}"): ADMIN,
    ("delete", "/api/v1/credentials/{name}"): ADMIN,
    ("get", "/api/v1/targets"): OVERSEE,
    ("post", "/api/v1/targets/{name}/check"): OPERATE,
    ("post", "/api/v1/targets/{name}/discover"): OPERATE,
    ("post", "/api/v1/targets/{name}/masks"): OPERATE,
    ("post", "/api/v1/targets/{name}/masks/setup"): OPERATE,
    ("get", "/api/v1/findings"): OPERATE,
    ("get", "/api/v1/policy"): OVERSEE,
    ("post", "/api/v1/policy/check"): OVERSEE,
    ("post", "/api/v1/policy/explain"): OVERSEE,
    ("post", "/api/v1/policy/reload"): OPERATE,
    ("get", "/api/v1/connections"): EVERYBODY,
    ("get", "/api/v1/whoami"): EVERYBODY,
    ("post", "/api/v1/whoami/revoke"): EVERYBODY,
    ("get", "/api/v1/status"): OVERSEE,
    ("get", "/api/v1/audit"): AUDIT,
    ("get", "/metrics"): OVERSEE,
}

BODIES: dict[str, object] = {
    "/api/v1/access": {"target": "shop", "reason": "r"},
    "/api/v1/tokens": {"name": "n", "subject": "s"},
    "/api/v1/tokens/revoke": {"id": "nothing"},
    "/api/v1/tokens/rotate": {"id": "nothing"},
    "/api/v1/service-accounts": {"name": "n"},
    "/api/v1/service-accounts/{name}/keys": {"key": "k"},
    "/api/v1/credentials/{name}": {"value": "v"},
    "/api/v1/targets/{name}/discover": {},
    "/api/v1/targets/{name}/masks": {},
    "/api/v1/targets/{name}/masks/setup": {"role": "r"},
    "/api/v1/policy/check": {"text": "version: 1"},
    "/api/v1/policy/explain": {"subject": "s", "target": "shop", "statement": "select 1"},
}


def concrete(path: str) -> str:
    return path.replace("{identifier}", "s-1").replace("{name}", "shop").replace("{key}", "k")


def test_the_matrix_names_every_route_there_is() -> None:
    document = openapi(create_routes(MagicMock()))
    routes = {
        (method, path)
        for path, methods in document["paths"].items()
        for method in methods
        if path not in OPEN_PATHS and not checks_itself(path)
    }
    assert routes == set(MATRIX)
    for method, path in routes:
        assert document["paths"][path][method]["security"] == [{"bearer": []}]
        assert "401" in document["paths"][path][method]["responses"] or path == "/metrics"


async def test_what_authenticates_itself_lets_nobody_in_by_a_bearer_token(api: Api) -> None:
    """A stranger and an administrator get the same: nothing, for a form that shows nothing."""
    assert frozenset({"/oauth/token", "/oauth/backchannel-logout"}) == FORM_PATHS
    assert frozenset({"/login", "/logout"}) == SELF_AUTHENTICATED - FORM_PATHS
    form = {"grant_type": "client_credentials", "logout_token": "x"}
    for token in (None, await api.as_role("admin")):
        async with api.client(token) as client:
            for path in FORM_PATHS:
                status = 401 if token is None and path == "/oauth/token" else 400
                assert (await client.post(path, data=form)).status_code == status
                assert (await client.post(f"{path}/", data=form)).status_code in (401, 415)
                assert (await client.get(path)).status_code == 405


async def status_of(api: Api, role: str | None, method: str, path: str) -> int:
    token = None if role is None else await api.as_role(role)
    headers = {"x-forwarded-for": "192.0.2.1"} if path == "/metrics" else {}
    async with api.client(token, **headers) as client:
        body = BODIES.get(path, {}) if method in ("post", "put") else None
        request = client.build_request(method.upper(), concrete(path), json=body)
        response = await client.send(request, stream=True)
        if response.status_code in (401, 403):
            await response.aread()
            assert problem(response)["hint"]
        await response.aclose()
        if path.endswith("/whoami/revoke"):
            api.secrets.pop(role or "", None)
    return response.status_code


@pytest.mark.parametrize("role", [None, "nobody", "approver", "operator", "auditor", "admin"])
async def test_each_role_gets_what_the_matrix_says(api: Api, role: str | None) -> None:
    await api.recorded("s-1")
    for (method, path), allowed in sorted(MATRIX.items()):
        status = await status_of(api, role, method, path)
        if role is None:
            assert status == 401, f"{method} {path} needs no token"
        elif role in allowed:
            assert status not in (401, 403) and status < 500, f"{role} may not {method} {path}"
        else:
            assert status == 403, f"{role} may {method} {path}"


async def test_unknown_paths_tell_nothing_to_strangers(api: Api) -> None:
    async with api.client(None) as client:
        for path in ("/api/v1/nothing", "/", "/docs", "/openapi.json", "/api/v1/openapi.json"):
            response = await client.get(path)
            assert response.status_code == 401
            problem(response)
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).json() == {"ready": True}
        api.ready = False
        assert (await client.get("/readyz")).status_code == 503
    async with api.client(await api.as_role("nobody")) as client:
        assert problem(await client.get("/api/v1/nothing"))["status"] == 404
        assert problem(await client.get("/api/v1/sessions/"))["status"] == 404
        assert problem(await client.delete("/api/v1/whoami"))["status"] == 405
        assert (await client.get("/api/v1/openapi.json")).json()["info"]["title"] == "Sallyport"
