"""Policy: what is in force, what a configuration would be, what a statement would meet."""

from __future__ import annotations

import json

from fastapi import APIRouter

from sallyport.config import ConfigErrors
from sallyport.core.errors import ConfigError
from sallyport.web.api.common import Services, audit_view
from sallyport.web.api.common import errors as responses_of
from sallyport.web.api.models import (
    CheckProblem,
    CheckRequest,
    CheckResult,
    ExplainRequest,
    Explanation,
    PolicyView,
    Reloaded,
)
from sallyport.web.authentication import Operator, Overseer
from sallyport.web.problems import MAXIMUM_ERRORS, FieldError, Problem

router = APIRouter(prefix="/policy", tags=["policy"])


@router.get("", responses=responses_of(403))
async def show_policy(caller: Overseer, services: Services) -> PolicyView:
    """Show the policy in force, with its revision."""
    state = services.policy.state()
    audit_view(services, caller, "policy-viewed", state.revision)
    return PolicyView(
        revision=state.revision,
        loaded=state.loaded,
        failure=state.failure,
        document=json.loads(state.document),
    )


@router.post("/check", responses=responses_of(403, 413, 422, 503))
async def check_policy(body: CheckRequest, caller: Overseer, services: Services) -> CheckResult:
    """Check the text of a configuration. Nothing of it comes into force."""
    try:
        found = await services.policy.check(body.text)
    except ConfigError as error:
        raise Problem(503, f"the configuration was not checked: {error.message}") from None
    problems = [CheckProblem(message=each.message, line=each.line) for each in found]
    return CheckResult(valid=not problems, problems=problems)


@router.post("/explain", responses=responses_of(403, 422))
async def explain_statement(
    body: ExplainRequest, caller: Overseer, services: Services
) -> Explanation:
    """Decide a statement as if a subject had sent it, with every rule that took part."""
    audit_view(services, caller, "policy-explained", body.target, subject=body.subject)
    try:
        explained = await services.policy.explain(
            body.subject, body.groups, body.target, body.statement, body.login
        )
    except ValueError as error:
        raise Problem(422, str(error)) from None
    return Explanation(detail=json.loads(explained.detail), text=explained.text)


@router.post("/reload", responses=responses_of(403, 409))
async def reload_policy(caller: Operator, services: Services) -> Reloaded:
    """Load the configuration file again. A bad file changes nothing, and the answer says why."""
    try:
        return Reloaded(revision=await services.reload(caller.name, caller.actors))
    except ConfigError as error:
        errors = error.errors if isinstance(error, ConfigErrors) else (error,)
        raise Problem(
            409,
            "the configuration is not good, so what was in force stays in force",
            hint="run `sallyport check FILE`, correct the file, and reload again",
            errors=[
                FieldError(
                    field="file" if each.line is None else f"line {each.line}",
                    message=each.message,
                )
                for each in errors[:MAXIMUM_ERRORS]
            ],
        ) from None
