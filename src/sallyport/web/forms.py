"""Forms: the paths that take `application/x-www-form-urlencoded`, as OAuth has it, and their
errors, as RFC 6749, 5.2 has them.
"""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

from starlette.responses import Response

from sallyport.web.problems import Problem

OAUTH_PATH = "/oauth/token"
LOGOUT_PATH = "/oauth/backchannel-logout"
PROVIDERS_PATH = "/oauth/providers"
LOGIN_PATH = "/login"
FORM_PATHS = frozenset({OAUTH_PATH, LOGOUT_PATH})
"""Paths whose body is a form. They authenticate by what is in it: see `SELF_AUTHENTICATED`."""

FORM = "application/x-www-form-urlencoded"
MAXIMUM_FIELDS = 100


class OAuthProblem(Problem):
    """A refusal of the token endpoint. `error` is one of RFC 6749's and RFC 8693's words."""

    def __init__(self, error: str, detail: str, status: int = 400) -> None:
        headers = {"pragma": "no-cache"}
        super().__init__(status, detail, headers=headers)
        self.error = error

    def body(self) -> bytes:
        """Return the JSON, in ASCII."""
        return json.dumps({"error": self.error, "error_description": self.detail}).encode("ascii")

    def response(self) -> Response:
        """Return the response that says it."""
        return Response(self.body(), self.status, self.headers, "application/json")


def as_oauth(problem: Problem, path: str) -> Problem:
    """Return `problem` as a client of `path` expects it: what it did wrong, in OAuth's form.

    A logout that was not done is always 400 (Back-Channel Logout, 2.8).
    """
    if path == LOGOUT_PATH and not isinstance(problem, OAuthProblem):
        return OAuthProblem("invalid_request", problem.detail)
    if path not in FORM_PATHS or isinstance(problem, OAuthProblem) or problem.status >= 500:
        return problem
    return OAuthProblem("invalid_request", problem.detail, problem.status)


def check_form_type(content_type: str) -> None:
    """Refuse anything but a form. Raises: Problem (415)."""
    if content_type.partition(";")[0].strip().lower() != FORM:
        raise Problem(415, f"a body must be `{FORM}`")


def parse_form(body: bytes) -> dict[str, list[str]]:
    """Return the fields of a form, each with its values. Raises: OAuthProblem."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=MAXIMUM_FIELDS,
        )
    except ValueError:
        raise OAuthProblem("invalid_request", "the body is not a form") from None
    form: dict[str, list[str]] = {}
    for name, value in pairs:
        form.setdefault(name, []).append(value)
    return form
