"""What every router shares: the services of a request, audited views, common error responses."""

from __future__ import annotations

import time
from typing import Annotated, Any, cast

from fastapi import Depends, Request

from sallyport.core.event import Audited
from sallyport.core.subject import Subject
from sallyport.web.problems import MEDIA_TYPE, PROBLEM_REFERENCE, Problem
from sallyport.web.services import WebServices
from sallyport.web.streams import Streams

_WORDS = {
    400: "not readable",
    401: "no valid token",
    403: "the caller's roles do not allow it",
    404: "not there, or not for the caller",
    409: "the state it is in does not allow it",
    413: "too large",
    415: "not JSON",
    422: "not as the schema says",
    429: "too much of it",
    503: "nothing can be recorded, or a part is missing",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of these error statuses; 401 and 429 are always among them."""
    return {
        status: {
            "description": _WORDS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": PROBLEM_REFERENCE}}},
        }
        for status in sorted({401, 429, *statuses})
    }


def _services(request: Request) -> WebServices:
    return cast(WebServices, request.app.state.services)


def _streams(request: Request) -> Streams:
    return cast(Streams, request.app.state.streams)


Services = Annotated[WebServices, Depends(_services)]
OpenStreams = Annotated[Streams, Depends(_streams)]


def audit_view(
    services: WebServices, subject: Subject, action: str, object_: str, /, **details: Any
) -> None:
    """Put on record that `subject` looked at something, before it is shown.

    FAILS CLOSED: raises RecorderLost, and then nothing is shown.
    """
    given = {key: value for key, value in details.items() if value is not None}
    given["issuer"] = subject.issuer
    given["token"] = subject.token
    services.audit(Audited("", time.time(), subject.name, action, object_, given, subject.actors))


def not_found(kind: str, name: str) -> Problem:
    """Return the one answer for what is not there and for what the caller may not see."""
    return Problem(404, f"no {kind} `{name}` that you may see")
