"""Targets: what is configured, and what a look at one finds."""

from __future__ import annotations

from fastapi import APIRouter, Path

from sallyport.web.api.common import Services, audit_view, errors, not_found
from sallyport.web.api.models import FindingView, TargetList, TargetReport, TargetView
from sallyport.web.authentication import Operator, Overseer

router = APIRouter(prefix="/targets", tags=["targets"])


@router.get("", responses=errors(403))
async def list_targets(caller: Overseer, services: Services) -> TargetList:
    """List the targets, by name, as the configuration says."""
    found = sorted(services.targets(), key=lambda target: target.name)
    audit_view(services, caller, "targets-viewed", "", count=len(found))
    return TargetList(
        targets=[
            TargetView(
                name=target.name,
                protocol=target.protocol,
                address=target.address,
                database=target.database,
                labels=target.labels,
                logins=list(target.logins),
                tls=target.tls,
            )
            for target in found
        ]
    )


@router.post("/{name}/check", responses=errors(403, 404))
async def check_target(
    caller: Operator, services: Services, name: str = Path(max_length=128)
) -> TargetReport:
    """Dial a target: TLS, version, the login's powers, and whether it answers without them."""
    if all(target.name != name for target in services.targets()):
        raise not_found("target", name)
    audit_view(services, caller, "target-checked", name)
    found = await services.inspect_target(name)
    return TargetReport(
        name=found.name,
        reachable=found.reachable,
        facts=found.facts,
        findings=[FindingView(state=each.state, text=each.text) for each in found.findings],
    )
