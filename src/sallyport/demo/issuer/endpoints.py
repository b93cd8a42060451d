"""What programs call: discovery, keys, tokens, device codes, revocation."""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sallyport.cli.login.device import GRANT as DEVICE_GRANT
from sallyport.demo.issuer.clients import CLIENTS, COMMAND_LINE, SCOPES, granted
from sallyport.demo.issuer.devices import LASTS as DEVICE_LASTS
from sallyport.demo.issuer.devices import Devices
from sallyport.demo.issuer.door import demand_program, read_form
from sallyport.demo.issuer.logins import Login, Logins
from sallyport.demo.issuer.tokens import ALGORITHM, LASTS, Signer
from sallyport.web.forms import OAuthProblem

_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)
_GRANTS: Final = ("authorization_code", "refresh_token", DEVICE_GRANT)


class Endpoints:
    """The routes that answer in JSON."""

    def __init__(self, issuer: str, signer: Signer, logins: Logins, devices: Devices) -> None:
        self._issuer = issuer
        self._signer = signer
        self._logins = logins
        self._devices = devices

    def routes(self) -> list[Route]:
        """Return them, by their paths below the issuer's."""
        return [
            Route("/.well-known/openid-configuration", self.discovery),
            Route("/jwks", self.keys),
            Route("/token", self.token, methods=["POST"]),
            Route("/device/code", self.device_code, methods=["POST"]),
            Route("/revoke", self.revoke, methods=["POST"]),
        ]

    async def discovery(self, request: Request) -> Response:
        """Say what there is (OpenID Connect Discovery 1.0, 3)."""
        return JSONResponse(
            {
                "issuer": self._issuer,
                "authorization_endpoint": f"{self._issuer}/authorize",
                "token_endpoint": f"{self._issuer}/token",
                "jwks_uri": f"{self._issuer}/jwks",
                "device_authorization_endpoint": f"{self._issuer}/device/code",
                "revocation_endpoint": f"{self._issuer}/revoke",
                "end_session_endpoint": f"{self._issuer}/logout",
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": list(_GRANTS),
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [ALGORITHM],
                "token_endpoint_auth_methods_supported": ["none"],
                "revocation_endpoint_auth_methods_supported": ["none"],
                "code_challenge_methods_supported": ["S256"],
                "scopes_supported": list(SCOPES),
                "claims_supported": "sub name email email_verified groups sid auth_time".split(),
                "authorization_response_iss_parameter_supported": True,
                "backchannel_logout_supported": True,
                "backchannel_logout_session_supported": True,
                "request_uri_parameter_supported": False,
                "claims_parameter_supported": False,
            }
        )

    async def keys(self, request: Request) -> Response:
        """Show the public key."""
        return JSONResponse(self._signer.key_set())

    async def token(self, request: Request) -> Response:
        """Give tokens for a code, a device code or a refresh token (RFC 6749, 3.2)."""
        form = await _form(request)
        client, grant = form["client_id"], form.get("grant_type", "")
        if grant not in _GRANTS:
            raise OAuthProblem("unsupported_grant_type", f"expected one of {', '.join(_GRANTS)}")
        nonce = ""
        if grant == "authorization_code":
            verifier = form.get("code_verifier", "")
            login, nonce = self._logins.take_code(
                _needed(form, "code"),
                client,
                form.get("redirect_uri", ""),
                verifier if _VERIFIER.fullmatch(verifier) else "",
            )
        elif grant == "refresh_token":
            login = self._logins.take_refresh(_needed(form, "refresh_token"), client)
        else:
            login = self._devices.poll(_needed(form, "device_code"), client)
            if self._logins.find(login.sid) is None:
                raise OAuthProblem("access_denied", "the login has ended")
        return JSONResponse(self._tokens(login, nonce), headers={"pragma": "no-cache"})

    async def device_code(self, request: Request) -> Response:
        """Begin a login at a terminal (RFC 8628, 3.1)."""
        form = await _form(request)
        client, scopes = form["client_id"], granted(form.get("scope", ""))
        if client != COMMAND_LINE:
            raise OAuthProblem("unauthorized_client", "this client has no device codes")
        if scopes is None:
            raise OAuthProblem("invalid_scope", "expected `openid` in `scope`")
        code, device = self._devices.begin(client, scopes)
        page = f"{self._issuer}/device"
        return JSONResponse(
            {
                "device_code": code,
                "user_code": device.user_code,
                "verification_uri": page,
                "verification_uri_complete": f"{page}?user_code={device.user_code}",
                "expires_in": int(DEVICE_LASTS),
                "interval": int(device.interval),
            }
        )

    async def revoke(self, request: Request) -> Response:
        """End the login of a refresh token (RFC 7009). An access token is good for nothing here."""
        form = await _form(request)
        self._logins.revoke(_needed(form, "token"), form["client_id"])
        return Response(status_code=200)

    def _tokens(self, login: Login, nonce: str) -> dict[str, Any]:
        access = secrets.token_urlsafe(32)
        answer = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": LASTS,
            "scope": " ".join(login.scopes),
            "id_token": self._signer.id_token(login, access, nonce),
        }
        if refresh := self._logins.give_refresh(login):
            answer["refresh_token"] = refresh
        return answer


async def _form(request: Request) -> dict[str, str]:
    """Return the form of a program that is one of our clients. Raises: OAuthProblem."""
    demand_program(request)
    form = await read_form(request)
    if form.get("client_id") not in CLIENTS or {"client_secret", "client_assertion"} & set(form):
        known = ", ".join(sorted(CLIENTS))
        raise OAuthProblem("invalid_client", f"expected `client_id` {known}, and no secret", 401)
    return form


def _needed(form: dict[str, str], name: str) -> str:
    if name not in form:
        raise OAuthProblem("invalid_request", f"`{name}` is missing")
    return form[name]
