"""Problems: every error of the API as `application/problem+json` (RFC 9457), and nothing more.

A problem says what was refused, why, and what to do next. It never repeats the request's body
(a token or a credential may stand in it) and never carries a stack trace: an unexpected error
gets a reference that the log knows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
"""Content type of every error."""

PROBLEM_REFERENCE = "#/components/schemas/Problem"
"""Where OpenAPI keeps the form of every error."""

MAXIMUM_ERRORS = 20
"""Invalid fields that one problem names; the rest is cut."""

MAXIMUM_LOCATION = 120
"""Characters of one field's path that are repeated to the client."""


class FieldError(BaseModel):
    """One field that was not as expected."""

    model_config = ConfigDict(extra="forbid")

    field: str
    """Where it stands, e.g. `body.groups.0`."""
    message: str
    """What was expected."""


class ProblemModel(BaseModel):
    """The error body of every route, as OpenAPI shows it (RFC 9457)."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "no session `s-01` that you may see",
                    "hint": "list what there is with `GET /api/v1/sessions`",
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    detail: str
    hint: str | None = None
    reference: str | None = None
    errors: list[FieldError] | None = None


class Problem(Exception):
    """A refusal of the API, raised anywhere below a route; becomes the response."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldError] = (),
        reference: str = "",
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.hint = hint
        self.headers = dict(headers or {})
        self.errors = tuple(errors)
        self.reference = reference

    def body(self) -> bytes:
        """Return the JSON, in ASCII: a lone surrogate in a field's name cannot break it."""
        content: dict[str, object] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.hint:
            content["hint"] = self.hint
        if self.reference:
            content["reference"] = self.reference
        if self.errors:
            content["errors"] = [error.model_dump() for error in self.errors]
        return json.dumps(content).encode("ascii")

    def response(self) -> Response:
        """Return the response that says it."""
        return Response(self.body(), self.status, self.headers, MEDIA_TYPE)


async def on_problem(request: Request, error: Exception) -> Response:
    """Answer a `Problem` that a route raised."""
    if not isinstance(error, Problem):  # registered for this class alone
        raise error
    return error.response()


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the framework itself refuses: unknown paths, wrong methods, unreadable bodies."""
    if not isinstance(error, HTTPException):  # registered for this class alone
        raise error
    details = {404: "no such path", 405: "this path does not take that method"}
    detail = details.get(error.status_code, "the request cannot be read")
    return Problem(error.status_code, detail, headers=error.headers).response()


async def on_invalid(request: Request, error: Exception) -> Response:
    """Answer a body, path or query that is not as the schema says, field by field."""
    if not isinstance(error, RequestValidationError):  # registered for this class alone
        raise error
    fields = [
        FieldError(
            field=".".join(str(part) for part in item["loc"])[:MAXIMUM_LOCATION],
            message=str(item["msg"])[:MAXIMUM_LOCATION],
        )
        for item in error.errors()[:MAXIMUM_ERRORS]
    ]
    problem = Problem(
        422,
        "the request is not as expected",
        hint="correct these fields, and send it again",
        errors=fields,
    )
    return problem.response()
