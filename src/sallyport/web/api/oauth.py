"""The token endpoint: a JWT, or a service account's assertion, for a short-lived token.

RFC 8693 and RFC 6749, 4.4 with RFC 7523. It takes no bearer token: what is in the form is checked
by `identity.oauth`, which delays the answers to whoever fails often.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from sallyport.identity.oauth import EXCHANGE, OAuthRefused
from sallyport.web.api.account_models import OAuthError, OAuthToken
from sallyport.web.api.common import Services
from sallyport.web.authentication import source_of
from sallyport.web.forms import FORM, OAUTH_PATH, OAuthProblem, parse_form

router = APIRouter(tags=["oauth"])

_FIELDS: dict[str, str] = {
    "grant_type": f"`{EXCHANGE}` or `client_credentials`",
    "subject_token": "exchange: a JWT of a configured issuer",
    "subject_token_type": "exchange: `urn:ietf:params:oauth:token-type:jwt` (`id_token`, "
    "`access_token`)",
    "actor_token": "exchange: the JWT of who acts for the subject",
    "actor_token_type": "with `actor_token`, as `subject_token_type`",
    "client_assertion_type": "client_credentials: "
    "`urn:ietf:params:oauth:client-assertion-type:jwt-bearer`",
    "client_assertion": "client_credentials: a JWT that the account's key has signed",
    "audience": "a target that the token shall reach, and no other; may stand more than once",
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "title": "TokenForm",
                    "required": ["grant_type"],
                    "properties": {
                        name: {"type": "string", "description": text}
                        for name, text in _FIELDS.items()
                    },
                }
            }
        },
    }
}


@router.post(
    OAUTH_PATH,
    response_model_exclude_none=True,
    responses={
        400: {"model": OAuthError, "description": "what was asked cannot be given"},
        401: {"model": OAuthError, "description": "the client is not known"},
    },
    openapi_extra=_BODY,
)
async def give_token(request: Request, services: Services) -> OAuthToken:
    """Exchange what a program has for a short-lived token of the gateway's own."""
    if "authorization" in request.headers:
        raise OAuthProblem("invalid_request", "no Authorization header is expected here")
    form = parse_form(await request.body())
    try:
        issued = await services.oauth.give(
            form, source_of(request.scope), encrypted=request.url.scheme == "https"
        )
    except OAuthRefused as refused:
        status = 401 if refused.error == "invalid_client" else 400
        raise OAuthProblem(refused.error, str(refused), status) from None
    return OAuthToken(
        access_token=issued.access_token,
        token_type="Bearer",  # noqa: S106
        expires_in=issued.expires_in,
        issued_token_type=issued.kind,
    )
