"""Surveys of targets: what should be masked there, and what stands round the masks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from sallyport.web.api.common import Services, audit_view, errors, not_found
from sallyport.web.api.models import Model
from sallyport.web.authentication import Administrator, Operator
from sallyport.web.problems import Problem

router = APIRouter(prefix="/targets", tags=["targets"])

Database = Annotated[str, Field(default="", max_length=128)]
After = Annotated[int, Field(default=0, ge=0, le=2**32)]


class DiscoverRequest(Model):
    """What to sample: relations after number `after`, `rows` of each."""

    database: Database
    after: After
    rows: int = Field(default=200, ge=1, le=2000)


class FoundView(Model):
    """A column that holds, or is said to hold, what should be hidden. `proposed`: a transform."""

    relation: str
    column: str
    glob: str
    source: str
    what: str
    hits: int
    rows: int
    covered: str
    proposed: str


class DiscoveryView(Model):
    """A page of what samples and comments show. `next`: what to give as `after`; 0 at the end."""

    database: str
    relations: int
    done: int
    next: int
    unread: list[str]
    found: list[FoundView]


class ExamineRequest(Model):
    """Where to look: relations after number `after`."""

    database: Database
    after: After


class ExposureView(Model):
    """A way round a mask, or a mask that cannot be kept, and what to do about it."""

    kind: str
    name: str
    text: str
    remedy: str


class ExaminationView(Model):
    """A page of what stands round the masks. `next`: what to give as `after`; 0 at the end.

    `passed`: with this page the check is over and found nothing; sessions may be opened.
    """

    database: str
    masked: int
    relations: int
    done: int
    next: int
    unread: list[str]
    passed: bool
    found: list[ExposureView]


class SetupRequest(Model):
    """The login to be made."""

    role: str = Field(min_length=1, max_length=64)
    database: Database


class SetupView(Model):
    """SQL for an operator to read and run. Nothing of it was run."""

    sql: str


@router.post("/{name}/discover", responses=errors(403, 404, 422))
async def discover(
    body: DiscoverRequest, caller: Operator, services: Services,
    name: str = Path(max_length=128),
) -> DiscoveryView:  # fmt: skip
    """Sample a target's columns and tell which hold what detectors find; never a value."""
    with _asked(services, caller, "target-discovered", name, body.database):
        found = await services.surveys.discover(name, body.database, body.after, body.rows)
    return DiscoveryView.model_validate(found)


@router.post("/{name}/masks", responses=errors(403, 404, 422))
async def examine(
    body: ExamineRequest, caller: Operator, services: Services,
    name: str = Path(max_length=128),
) -> ExaminationView:  # fmt: skip
    """Tell what stands round a target's masks: copies, indexes, keys, functions, views."""
    with _asked(services, caller, "target-masks-checked", name, body.database):
        found = await services.surveys.examine(name, body.database, body.after)
    return ExaminationView.model_validate(found)


@router.post("/{name}/masks/setup", responses=errors(403, 404, 422))
async def setup(
    body: SetupRequest, caller: Operator, services: Services,
    name: str = Path(max_length=128),
) -> SetupView:  # fmt: skip
    """Return the SQL of a login that sees masked views alone. Runs nothing of it."""
    with _asked(services, caller, "target-setup-shown", name, body.database):
        sql = await services.surveys.setup(name, body.database, body.role)
    return SetupView(sql=sql)


@contextmanager
def _asked(
    services: Services, caller: Administrator, action: str, name: str, database: str
) -> Iterator[None]:
    """Put on record that a target is surveyed, and say in words why it cannot be."""
    if all(target.name != name for target in services.targets()):
        raise not_found("target", name)
    audit_view(services, caller, action, name, database=database or None)
    try:
        yield
    except ValueError as error:
        raise Problem(422, str(error)) from None
