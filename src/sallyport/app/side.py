"""The side door: control's own way to targets, for the operator's tools. No client is served."""

from __future__ import annotations

from sallyport.control.control import Control
from sallyport.core.errors import TargetUnavailable
from sallyport.core.grant import Grant
from sallyport.core.messages import Access, Catalogue
from sallyport.core.subject import Secret
from sallyport.protocols import registry
from sallyport.protocols.base import Leg
from sallyport.protocols.inspecting import Inspector
from sallyport.session.dialling import Dialling
from sallyport.session.leg import SharedBuffer, StreamLeg
from sallyport.session.lifecycle import GATEWAY, mint
from sallyport.web.services import Finding, TargetCheck


class SideServices:
    """`protocols.base.SideDoor`, with the default login of each target and never to write."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._dialling = Dialling(SharedBuffer())

    async def dial(self, grant: Grant) -> StreamLeg:
        """Reach the target, plain. Raises: TargetUnavailable."""
        return await self._dialling.dial(grant)

    async def start_tls(
        self, grant: Grant, leg: Leg, *, alpn: tuple[str, ...] = (), identity: Secret | None = None
    ) -> StreamLeg:
        """Encrypt a dialled leg. Raises: TargetUnavailable."""
        return await self._dialling.start_tls(grant, leg, alpn, identity)

    async def dial_catalogue(self, target: str, database: str) -> Grant:
        """Return a grant for the gateway's own connection. Raises: TargetUnavailable."""
        access = await self._control.catalogue(Catalogue(target, database))
        if not isinstance(access, Access):
            raise TargetUnavailable(target, f"{access.reason}: {access.hint}")
        return mint(access, GATEWAY, "", "sallyport")


async def inspect_target(control: Control, side: SideServices, name: str) -> TargetCheck:
    """Look at a target as a session would reach it."""
    try:
        grant = await side.dial_catalogue(name, "")
        plugin = registry.load([grant.target.protocol])[grant.target.protocol]
        if not isinstance(plugin, Inspector):
            return TargetCheck(name, False, {}, (Finding("warning", "its protocol has no checks"),))
        report = await plugin.inspect(side, grant)
    except TargetUnavailable as error:
        return TargetCheck(name, False, {}, (Finding("failed", error.message),))
    findings = tuple(Finding(found.state, found.text) for found in report.findings)
    return TargetCheck(name, report.reachable, report.facts, findings)
