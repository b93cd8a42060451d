"""Gate: decides every operation, and is the one place that makes an `Allow`.

A decision is looked up by everything that it depends on, else evaluated. A hold is settled by
control; on approval the operation is decided once more, with the approval as an input, because
policy, grant and catalogue may have changed while a human was reading.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from sallyport.core.decision import (
    Allow,
    Approval,
    Deny,
    Hold,
    Mask,
    Obligations,
    revision_of,
)
from sallyport.core.errors import ControlLost
from sallyport.core.event import OperationDecided, RecordedEvent
from sallyport.core.grant import Grant
from sallyport.core.messages import (
    Approved,
    CatalogueChanged,
    HoldAnswered,
    HoldTaken,
    OpenHold,
)
from sallyport.core.operation import Effect, Operation, Parameter, Resource, Tags
from sallyport.core.ports import ControlLink, Recorder
from sallyport.core.subject import Refused
from sallyport.policy import Context, Policy, Verdict
from sallyport.protocols.base import Carried, OperationIssued
from sallyport.session.holds import Holds
from sallyport.session.quota import Account, QuotaRule
from sallyport.session.refusals import over, quota_used_up, shorter, ticket, unapproved, unbindable

CACHE = 20_000
"""Decisions kept; the least recently used goes first."""
SCOPES = 10_000
"""Circumstances in which decisions are kept; likewise."""

Recordable = tuple[str, tuple[Parameter, ...]]
Conceal = Callable[[str, tuple[Parameter, ...], tuple[Mask, ...]], Recordable]
"""Masks a statement's text and parameters for the record, as results are. Raises: MaskingFailed."""


class _Judged(NamedTuple):
    """A verdict, and what every record of it repeats.

    It holds on to `resources` and `tags`, so that their identity is theirs alone while it is
    cached.
    """

    verdict: Verdict
    resources: tuple[Resource, ...]
    tags: Tags
    facts: tuple[str, ...]
    masks: tuple[str, ...]


Carry = Callable[[Obligations], Carried]
"""Says how an operation would be carried out."""


class _Waiting(NamedTuple):
    """A live hold: what waits for which approval. `again` decides once more, with it."""

    grant: Grant
    issued: OperationIssued
    hold: Hold
    approval: str
    stands: Callable[[], Awaitable[bool]] | None
    again: Callable[[Approval], Awaitable[Allow | Deny]]


class _Standing(NamedTuple):
    """What decides about all operations of one session under one policy: looked up once."""

    scope: int
    account: Account


class PolicyGate:
    """The gate of one worker."""

    def __init__(
        self,
        *,
        link: ControlLink,
        recorder: Recorder,
        stale: Callable[[str, str, str], None],
        conceal: Conceal,
        strict: bool = False,
    ) -> None:
        self._link = link
        self._recorder = recorder
        self._stale = stale
        self._conceal = conceal
        self._strict = strict
        self._policy: Policy | None = None
        self._in_transaction = 30.0
        self._cache: OrderedDict[object, _Judged] = OrderedDict()
        self._scopes: OrderedDict[object, int] = OrderedDict()
        self._last_scope = 0
        self._standings: dict[str, _Standing] = {}
        self._accounts: dict[tuple[str, str, tuple[QuotaRule, ...]], Account] = {}
        self._holds = Holds(link, recorder)

    # --- what the worker tells

    def load(self, policy: Policy, *, strict: bool, in_transaction: float) -> None:
        """Decide by `policy` from now. `in_transaction`: seconds of a hold that keeps locks."""
        self._policy = policy
        self._strict = strict
        self._in_transaction = in_transaction
        self._cache.clear()
        self._scopes.clear()
        self._standings.clear()
        self._accounts.clear()

    @property
    def revision(self) -> str:
        """The policy revision in force; empty before the first."""
        return self._policy.revision if self._policy is not None else ""

    def answered(self, answer: HoldAnswered) -> None:
        """Control says how a live hold ended."""
        self._holds.answered(answer)

    def may_write(self, grant: Grant) -> bool:
        """Whether any rule could let this grant's subject write there."""
        return self._policy is not None and grant.write

    # --- what the relay asks

    def lease(self, grant: Grant) -> Awaitable[None] | None:
        """What to wait for before deciding, or None."""
        return self._standing(grant).account.wait()

    def decide(self, grant: Grant, issued: OperationIssued) -> Allow | Deny | Hold:
        """Decide by the policy in force, spend the quota, record the decision."""
        operation = issued.operation
        refused = self._unfit(grant)
        if refused is None:
            account = self._standing(grant).account
            over = account.used_up() or account.spend("statements_per_minute", 1)
            refused = quota_used_up(over) if over is not None else None
        if refused is not None:
            self._note(grant, operation, refused)
            return refused
        judged = self._judge(grant, issued)
        decision = _decision(operation, judged.verdict)
        self._note(grant, operation, decision, judged)
        return decision

    def precheck(self, grant: Grant, operation: Operation) -> Deny | None:
        """Return the Deny that nothing later could change, or None. Only a Deny is recorded."""
        refused = self._unfit(grant)
        if refused is None:
            judged = self._judge(grant, OperationIssued(operation))
            verdict = judged.verdict
            if verdict.outcome != "deny" or not verdict.cacheable:
                return None
            refused = Deny(verdict.rules, verdict.reason, verdict.hint)
            self._note(grant, operation, refused, judged)
        else:
            self._note(grant, operation, refused)
        return refused

    def spend(self, grant: Grant, rows: int, size: int) -> Deny | None:
        """Spend a result's rows and bytes; the Deny of a quota that is used up."""
        account = self._standing(grant).account
        over = account.spend("rows_per_hour", rows, overdraw=True)
        over = account.spend("bytes_per_hour", size, overdraw=True) or over
        return quota_used_up(over) if over is not None else None

    def durable_first(self, operation: Operation) -> bool:
        """Whether the decision must be on disk before `operation` is released."""
        return self._strict or operation.effect is not Effect.READ

    def touched(self, grant: Grant) -> None:
        """DDL went through: no worker may decide from the catalogue it knows."""
        target = grant.target
        self._stale(target.protocol, target.name, target.database)
        with contextlib.suppress(ControlLost):  # sessions end by the silence itself
            self._link.tell(CatalogueChanged(target.name, target.database))

    def record(self, event: RecordedEvent) -> None:
        """Put an event on record."""
        self._recorder.record(event)

    async def commit(self) -> None:
        """Return when all that was recorded is durable."""
        await self._recorder.commit()

    async def settle(
        self,
        grant: Grant,
        issued: OperationIssued,
        hold: Hold,
        told: Callable[[str], None],
        stands: Callable[[], Awaitable[bool]] | None = None,
        carry: Carry | None = None,
    ) -> Allow | Deny:
        """Wait for a human; a timeout, a lost control and a cancelled task are all a Deny."""
        operation = issued.operation
        if issued.in_transaction and not hold.ticket:
            hold = shorter(hold, self._in_transaction)
        if hold.ticket and (reason := await unbindable(operation, stands)):
            return self._denied(grant, issued, hold.rules, reason)
        obligations = self._evaluate(grant, issued, None).obligations
        carried, masks = self._carried(obligations, carry)
        if carried.refused is not None:
            self._note(grant, operation, carried.refused, self._judge(grant, issued))
            return carried.refused
        again = functools.partial(self._again, grant, issued, carry, (carried.text, masks))
        try:
            reply = await self._link.ask(
                OpenHold(
                    session=grant.session,
                    subject=grant.subject,
                    operation=operation,
                    hold=hold,
                    application=grant.application,
                    source=grant.source,
                    expires=time.time() + hold.timeout,
                    rewritten=carried.text,
                    masks=masks,
                )
            )
        except ControlLost:
            return self._denied(grant, issued, hold.rules, "control is not there to ask")
        if isinstance(reply, Approved):
            return await again(reply.approval)
        if isinstance(reply, HoldTaken):
            self._holds.opened(grant.session, operation, hold, reply.approval)
            if hold.ticket:
                return ticket(hold, reply.approval)
            waiting = _Waiting(grant, issued, hold, reply.approval, stands, again)
            return await self._wait(waiting, told)
        reason = reply.reason if isinstance(reply, Refused) else "control gave no answer"
        return self._denied(grant, issued, hold.rules, reason)

    # --- inside

    def _unfit(self, grant: Grant) -> Deny | None:
        if grant.ended.reason is not None:
            return over(grant.ended.reason)
        if self._policy is None or not self._link.alive:
            return Deny(("control",), "the gateway's control does not answer", "try again shortly")
        full = self._recorder.refusal(grant.subject.name)
        if full is not None:
            return Deny(("recording",), full, "tell the operator; nothing runs unrecorded")
        return None

    def _standing(self, grant: Grant) -> _Standing:
        known = self._standings.get(grant.session)
        if known is None:
            known = _Standing(self._scope(grant), self._account(grant))
            if grant.ended.reason is None:
                self._standings[grant.session] = known
                grant.ended.listen(functools.partial(self._forget, grant.session))
        return known

    def _forget(self, session: str, _reason: str) -> None:
        self._standings.pop(session, None)

    def _scope(self, grant: Grant) -> int:
        """Number the circumstances of a session: all that decides beside the operation itself."""
        key = (
            msgspec.msgpack.encode((grant.subject, grant.target)),
            grant.login, grant.source, grant.country, grant.application, grant.write,
            grant.stated.task, grant.stated.purpose,
        )  # fmt: skip
        known = self._scopes.get(key)
        if known is not None:
            self._scopes.move_to_end(key)
            return known
        self._last_scope += 1
        self._scopes[key] = self._last_scope
        if len(self._scopes) > SCOPES:
            self._scopes.popitem(last=False)
        return self._last_scope

    def _judge(self, grant: Grant, issued: OperationIssued) -> _Judged:
        """Look the verdict up by all that it depends on, else evaluate.

        Literals are none of it: a verdict that read the text or the parameters is not cacheable.
        """
        operation = issued.operation
        key = (
            self._standing(grant).scope, operation.verb, operation.inner, operation.facts,
            id(operation.resources), id(issued.tags),
        )  # fmt: skip
        found = self._cache.get(key)
        if found is not None:
            self._cache.move_to_end(key)
            return found
        judged = _judged(issued, self._evaluate(grant, issued, None))
        verdict = judged.verdict
        if issued.cacheable and verdict.cacheable and verdict.outcome != "hold":
            self._cache[key] = judged
            if len(self._cache) > CACHE:
                self._cache.popitem(last=False)
        return judged

    def _evaluate(
        self, grant: Grant, issued: OperationIssued, approval: Approval | None
    ) -> Verdict:
        if self._policy is None:
            raise ControlLost("no policy is in force")
        context = Context(
            source=grant.source,
            application=grant.application,
            now=time.time(),
            login=grant.login,
            database=grant.target.database,
            write=grant.write,
            session=grant.session,
            task=grant.stated.task,
            purpose=grant.stated.purpose,
            country=grant.country,
        )
        return self._policy.evaluate(
            grant.subject, grant.target, context, issued.operation, approval, issued.tags
        )

    @staticmethod
    def _carried(obligations: Obligations, carry: Carry | None) -> tuple[Carried, bytes]:
        """Return how an operation would be carried out so, and the revision of its masks."""
        carried = Carried() if carry is None else carry(obligations)
        return carried, revision_of(obligations.masks)

    async def _wait(self, waiting: _Waiting, told: Callable[[str], None]) -> Allow | Deny:
        grant, issued, hold, approval, stands, again = waiting
        answer = await self._holds.wait(grant.session, issued.operation, hold, approval, told)
        if answer.state != "approved":
            return self._denied(grant, issued, hold.rules, unapproved(answer))
        if stands is not None and not await stands():
            reason = f"what it names changed while approval {approval} was waited for"
            return self._denied(grant, issued, hold.rules, reason)
        digest = issued.operation.digest
        return await again(Approval(approval, digest, hold.rules, answer.by, hold.approvers))

    async def _again(
        self,
        grant: Grant,
        issued: OperationIssued,
        carry: Carry | None,
        shown: tuple[str, bytes],
        approval: Approval,
    ) -> Allow | Deny:
        """Decide once more, with the approval as an input; durable before it is an Allow.

        `shown`: what the approver saw, by `_carried`. FAILS CLOSED: it has to be the same now.
        """
        operation = issued.operation
        refused = self._unfit(grant)
        if refused is not None:
            self._note(grant, operation, refused, approval=approval.id)
            return refused
        judged = _judged(issued, self._evaluate(grant, issued, approval))
        decision = _decision(operation, judged.verdict)
        if isinstance(decision, Hold):
            decision = Deny(
                decision.rules,
                f"approval {approval.id} does not answer every rule that holds this",
                "the policy changed while it waited; send the statement again",
            )
        carried, masks = self._carried(judged.verdict.obligations, carry)
        if isinstance(decision, Allow) and (carried.refused or (carried.text, masks) != shown):
            reason = f"what is masked changed while approval {approval.id} was waited for"
            decision = Deny(decision.rules[:1], reason, "send the statement again")
        self._note(grant, operation, decision, judged, approval.id)
        if isinstance(decision, Allow):
            await self._recorder.commit()
        return decision

    def _denied(
        self, grant: Grant, issued: OperationIssued, rules: tuple[str, ...], reason: str
    ) -> Deny:
        deny = Deny(rules, reason, "ask an approver, then send the statement again")
        self._note(grant, issued.operation, deny, self._judge(grant, issued))
        return deny

    def _account(self, grant: Grant) -> Account:
        """Return what a subject's sessions on a target share, as far as the same rules bind them.

        A subject's tokens may differ in groups; control counts all of them together.
        """
        quotas = self._policy.quotas(grant.subject, grant.target) if self._policy else ()
        rules = tuple(
            QuotaRule(quota.name, quota.rule, quota.amount, quota.window_seconds)
            for quota in quotas
            if quota.window_seconds is not None
        )
        subject, target = grant.subject.name, grant.target.name
        account = self._accounts.get((subject, target, rules))
        if account is None:
            account = Account(self._link, subject, target)
            account.update(rules)
            self._accounts[subject, target, rules] = account
        return account

    def _note(
        self,
        grant: Grant,
        operation: Operation,
        decision: Allow | Deny | Hold,
        judged: _Judged | None = None,
        approval: str = "",
    ) -> None:
        allow = decision if isinstance(decision, Allow) else None
        rewrite = allow.obligations.rewrite if allow is not None else None
        text, parameters = operation.whole_text, operation.parameters
        if judged is None:
            judged = _judged(OperationIssued(operation), None)
        masks = judged.verdict.obligations.masks
        if masks:
            text, parameters = self._conceal(text, parameters, masks)
        self._recorder.record(
            OperationDecided(
                session=grant.session,
                at=time.time(),
                operation=operation.id,
                verb=operation.verb,
                effect=operation.effect.value,
                resources=operation.resources,
                facts=judged.facts,
                text=text,
                parameters=parameters,
                fingerprint=operation.fingerprint,
                digest=operation.digest,
                decision="allow" if allow is not None else type(decision).__name__.lower(),
                rules=decision.rules,
                reason="" if allow is not None else getattr(decision, "reason", ""),
                observed=judged.verdict.observed,
                revision=self.revision,
                rewritten=rewrite.decode("utf-8", "replace") if rewrite is not None else None,
                approval=approval,
                masks=judged.masks,
            )
        )


_NOTHING = Verdict("deny", ())
"""Stands where an operation was refused before any rule was asked."""


def _judged(issued: OperationIssued, verdict: Verdict | None) -> _Judged:
    verdict = verdict or _NOTHING
    return _Judged(
        verdict,
        issued.operation.resources,
        issued.tags,
        tuple(sorted(issued.operation.facts)),
        tuple(mask.rule for mask in verdict.obligations.masks),
    )


def _decision(operation: Operation, verdict: Verdict) -> Allow | Deny | Hold:
    if verdict.outcome == "allow":
        return Allow(operation.digest, verdict.rules, verdict.obligations)
    if verdict.outcome == "hold" and verdict.hold is not None:
        return verdict.hold
    return Deny(verdict.rules, verdict.reason, verdict.hint)
