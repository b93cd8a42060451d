"""The API's application: routers, error answers and the shield, put together."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from sallyport.core.errors import SallyportError
from sallyport.web.api import (
    access,
    accounts,
    approvals,
    connections,
    credentials,
    findings,
    logins,
    oauth,
    policy,
    sessions,
    sign_in,
    surveys,
    system,
    targets,
    tokens,
)
from sallyport.web.api.common import errors
from sallyport.web.authentication import OPEN_PATHS, Anybody, Authentication, checks_itself
from sallyport.web.cookies import Cookies
from sallyport.web.metrics import PREFIX, Requests
from sallyport.web.problems import Problem, ProblemModel, on_http_exception, on_invalid, on_problem
from sallyport.web.services import WebServices
from sallyport.web.shield import Shield, hosts_for, on_error
from sallyport.web.streams import Streams

DESCRIPTION = """\
The control API of Sallyport. Every request carries `Authorization: Bearer TOKEN`, but for the
probes, for `GET /oauth/providers`, and for `POST /oauth/token` and
`POST /oauth/backchannel-logout`, which check what their form shows. A browser that signed in at
`GET /login` shows a cookie instead, which counts for pages of the same origin alone: what changes
something needs an `Origin` that is the API's own.
Errors are `application/problem+json` (RFC 9457). Times are epoch seconds. Lists come in pages:
give `next` of one page as `cursor` for the following one. Streams are JSON lines, or Server-Sent
Events when `Accept` says `text/event-stream`."""

TAGS = [
    {"name": "sessions", "description": "Sessions, live and on record."},
    {"name": "approvals", "description": "What waits for a human."},
    {"name": "access", "description": "Access that is asked for, and given for a time."},
    {"name": "tokens", "description": "The gateway's own tokens."},
    {"name": "service-accounts", "description": "Programs that prove themselves with a key."},
    {"name": "oauth", "description": "Short-lived tokens for what one has already, and logins."},
    {
        "name": "sign-in",
        "description": "Signing in with a browser, known by a cookie then.",
    },
    {"name": "credentials", "description": "What the gateway presents to targets."},
    {"name": "targets", "description": "What is behind the gateway."},
    {"name": "policy", "description": "What is allowed, and why."},
    {"name": "system", "description": "The product itself."},
    {"name": "probes", "description": "Health, readiness and measures."},
]


def create_app(services: WebServices, *, host: str = "127.0.0.1", tls: bool = False) -> Shield:
    """Return the whole API as an ASGI application.

    `host` is what it listens on: on loopback only loopback's own names are taken as `Host`.
    """
    api = create_routes(services)
    origin = services.sign_ins.settings.origin
    cookies = Cookies(tls=tls or origin.startswith("https:"))
    return Shield(
        api,
        authentication=Authentication(services.identity, services.sign_ins, cookies, tls=tls),
        hosts=hosts_for(host, origin),
        tls=tls,
        observe=api.state.requests.observe,
        stopping=api.state.streams.close,
    )


def create_routes(services: WebServices) -> FastAPI:
    """Return the routes alone, without the shield: what documentation and tests look at."""
    api = FastAPI(
        title="Sallyport",
        version=_version(),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers={
            Problem: on_problem,
            HTTPException: on_http_exception,
            RequestValidationError: on_invalid,
            SallyportError: on_error,
            Exception: on_error,
        },
    )
    api.state.services = services
    api.state.streams = Streams()
    api.state.requests = Requests()
    for module in (
        sessions,
        approvals,
        access,
        tokens,
        accounts,
        credentials,
        targets,
        connections,
        surveys,
        findings,
        policy,
        system,
    ):
        api.include_router(module.router, prefix=PREFIX)
    api.include_router(_schema_router(api), prefix=PREFIX)
    api.include_router(system.probes)
    api.include_router(oauth.router)
    api.include_router(logins.router)
    api.include_router(sign_in.router)
    return api


def openapi(api: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the bearer scheme on every route but the open probes."""
    document = get_openapi(
        title=api.title,
        version=api.version,
        description=api.description,
        tags=TAGS,
        routes=api.routes,
    )
    components = document["components"]
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    problem = ProblemModel.model_json_schema(ref_template="#/components/schemas/{model}")
    components["schemas"].update(problem.pop("$defs"))
    components["schemas"]["Problem"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    for path, methods in document["paths"].items():
        for operation in methods.values():
            if "422" in operation["responses"]:
                operation["responses"]["422"] = errors(422)[422]
            if path not in OPEN_PATHS and not checks_itself(path):
                operation["security"] = [{"bearer": []}]
    return document


def _schema_router(api: FastAPI) -> APIRouter:
    router = APIRouter(tags=["system"])

    @router.get("/openapi.json", include_in_schema=False)
    async def openapi_document(caller: Anybody) -> dict[str, Any]:
        """Show this API's own description."""
        return openapi(api)

    return router


def _version() -> str:
    try:
        return version("sallyport")
    except PackageNotFoundError:
        return "0"
