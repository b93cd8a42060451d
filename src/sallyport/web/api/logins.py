"""Logins of people: where they can log in, and what ends when they log out there."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from sallyport.identity.logouts import LogoutRefused
from sallyport.web.api.account_models import OAuthError
from sallyport.web.api.common import Services
from sallyport.web.api.models import Model
from sallyport.web.authentication import source_of
from sallyport.web.forms import FORM, LOGOUT_PATH, PROVIDERS_PATH, OAuthProblem, parse_form
from sallyport.web.shield import problem_of

router = APIRouter(tags=["oauth"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "title": "LogoutForm",
                    "required": ["logout_token"],
                    "properties": {
                        "logout_token": {
                            "type": "string",
                            "description": "a JWT of a configured issuer, with what has ended",
                        }
                    },
                }
            }
        },
    }
}


class ProviderView(Model):
    """An issuer where people log in. `flow` is auto, device or code.

    `ca` is the PEM of who vouches for its https; empty: the system's authorities. `public_secret`
    is what it demands of programs that can keep none; empty: nothing.
    """

    name: str
    issuer: str
    client_id: str
    scopes: list[str]
    flow: str
    ca: str
    public_secret: str


class ProviderList(Model):
    """Where people log in, by name."""

    providers: list[ProviderView]


@router.get(PROVIDERS_PATH)
async def list_providers(services: Services) -> ProviderList:
    """Tell where to log in. Needs no token, for it is asked by those who have none yet."""
    return ProviderList(
        providers=[
            ProviderView(
                name=one.name,
                issuer=one.issuer,
                client_id=one.client_id,
                scopes=list(one.scopes),
                flow=one.flow,
                ca=one.ca,
                public_secret=one.public_secret,
            )
            for one in sorted(services.providers(), key=lambda one: one.name)
        ]
    )


@router.post(
    LOGOUT_PATH,
    response_class=Response,
    responses={
        200: {"description": "what the logout token names has ended"},
        400: {"model": OAuthError, "description": "not valid, or not done: nothing has ended"},
    },
    openapi_extra=_BODY,
)
async def back_channel_logout(request: Request, services: Services) -> Response:
    """End what an issuer says has ended (OpenID Connect Back-Channel Logout 1.0).

    FAILS CLOSED: whatever keeps it from being done is 400, so that the issuer knows.
    """
    form = parse_form(await request.body())
    shown = form.get("logout_token", [])
    if "authorization" in request.headers or len(shown) != 1 or not shown[0]:
        raise OAuthProblem("invalid_request", "exactly one `logout_token` is expected")
    try:
        await services.logouts.take(shown[0], source_of(request.scope))
    except LogoutRefused as refused:
        raise OAuthProblem("invalid_request", str(refused)) from None
    except Exception as error:
        problem = problem_of(error)
        raise OAuthProblem("invalid_request", f"the logout failed: {problem.detail}") from error
    return Response(status_code=200)
