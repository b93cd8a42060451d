"""Findings: what detectors hid in columns that no mask names, so that a rule can name them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query

from sallyport.recording.records import FindingRecord
from sallyport.web.api.common import Services, audit_view, errors
from sallyport.web.api.models import Model
from sallyport.web.authentication import Operator
from sallyport.web.pages import Cursor, Limit, Moment, cut, decode_cursor
from sallyport.web.services import WebServices

router = APIRouter(prefix="/findings", tags=["targets"])

Name = Annotated[str | None, Query(max_length=256)]


class FindingView(Model):
    """How often a detector hid something in one column, and when; never a value.

    `column` is `schema.table.column`; `schema.table.*` of a computed value for which only that
    relation was read; empty of any other; `*` of columns that there was no room to name. `hits`
    are matches, `cells` those that had one, each time that they were read. `subject` read them
    last. `rules`: the mask rules in force that name the column now.
    """

    target: str
    database: str
    column: str
    detector: str
    hits: int
    cells: int
    first: float
    last: float
    subject: str
    rules: list[str]


class FindingList(Model):
    """A page of findings, most hits first. `next`: the cursor of the next page, if there is one."""

    findings: list[FindingView]
    next: str | None = None


@router.get("", responses=errors(400, 403, 422, 503))
async def list_findings(
    caller: Operator,
    services: Services,
    target: Name = None,
    database: Name = None,
    since: Moment = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> FindingList:
    """List what detectors hid in columns that no mask names; `since`: found since then."""
    offset = decode_cursor(cursor)
    found = await services.library.findings(target, database, since, limit=limit + 1, offset=offset)
    page, following = cut(found, limit, offset)
    asked = {"database": database, "since": since, "count": len(page)}
    audit_view(services, caller, "findings-viewed", target or "", **asked)
    return FindingList(findings=_views(services, page), next=following)


def _views(services: WebServices, page: Sequence[FindingRecord]) -> list[FindingView]:
    rules: dict[tuple[str, str], Sequence[str]] = {}
    for target in {each.target for each in page}:
        columns = list({each.column for each in page if each.target == target})
        for column, names in zip(columns, services.naming(target, columns), strict=True):
            rules[target, column] = names
    return [
        FindingView(
            **{name: getattr(each, name) for name in each.__struct_fields__},
            rules=list(rules[each.target, each.column]),
        )
        for each in page
    ]
