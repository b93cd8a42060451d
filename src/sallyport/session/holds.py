"""Holds: live operations that wait until control says how people answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from sallyport.core.decision import Hold
from sallyport.core.errors import ControlLost
from sallyport.core.event import HoldOpened, HoldSettled
from sallyport.core.messages import CloseHold, HoldAnswered
from sallyport.core.operation import Operation
from sallyport.core.ports import ControlLink, Recorder

LATE: Final = 2.0
"""Seconds that control's answer to a hold may come after its timeout."""


class Holds:
    """Those of one worker, by approval."""

    def __init__(self, link: ControlLink, recorder: Recorder) -> None:
        self._link = link
        self._recorder = recorder
        self._waiting: dict[str, asyncio.Future[HoldAnswered]] = {}

    def answered(self, answer: HoldAnswered) -> None:
        """Control says how a live hold ended."""
        future = self._waiting.get(answer.approval)
        if future is not None and not future.done():
            future.set_result(answer)

    def opened(self, session: str, operation: Operation, hold: Hold, approval: str) -> None:
        """Put on record that it waits."""
        self._recorder.record(
            HoldOpened(
                session, time.time(), operation.id, approval,
                hold.approvers, hold.people, hold.timeout, hold.ticket,
            )
        )  # fmt: skip

    async def wait(
        self,
        session: str,
        operation: Operation,
        hold: Hold,
        approval: str,
        told: Callable[[str], None],
    ) -> HoldAnswered:
        """Return how it ended, and put that on record; withdraw it if this task is cancelled."""
        future: asyncio.Future[HoldAnswered] = asyncio.get_running_loop().create_future()
        self._waiting[approval] = future
        told(
            f"held by rule `{hold.rules[0]}`: waits for approval {approval} "
            f"(at most {hold.timeout:.0f} s)"
        )
        answer: HoldAnswered | None = None
        try:
            async with asyncio.timeout(hold.timeout + LATE):
                answer = await future
        except TimeoutError:
            answer = HoldAnswered(session, approval, "expired", (), "nobody answered in time")
        finally:
            self._waiting.pop(approval, None)
            if answer is None:
                answer = HoldAnswered(session, approval, "cancelled", (), "withdrawn")
                self._withdraw(approval)
            self._recorder.record(
                HoldSettled(
                    session, time.time(), operation.id, approval,
                    answer.state, answer.by, answer.reason,
                )
            )  # fmt: skip
        return answer

    def _withdraw(self, approval: str) -> None:
        try:
            self._link.tell(CloseHold(approval, "the client is gone or cancelled"))
        except ControlLost:
            return  # holds end with their sessions, and these by control's silence
