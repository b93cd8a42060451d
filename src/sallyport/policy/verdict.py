"""What goes into an evaluation and what comes out of it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from sallyport.core.decision import Hold, Obligations

Outcome = Literal["allow", "deny", "hold"]


class Context(Struct, frozen=True):
    """The circumstances of one operation. `now` is in epoch seconds: policy has no clock."""

    source: str
    application: str
    now: float
    login: str
    database: str
    write: bool
    session: str
    task: str = ""
    purpose: str = ""


class AccessGiven(Struct, frozen=True):
    """The target may be reached. `max_session` in seconds, None: the product's own bound.

    `write`: whether any rule could let this subject change something there. `request` and `ends`
    (epoch seconds): the request for access that it is given by, and until when.
    """

    rule: str
    max_session: float | None
    write: bool
    request: str = ""
    ends: float | None = None


class Quota(Struct, frozen=True):
    """A bound on a subject at a target. `window_seconds` None: of what is open at one time."""

    name: str
    rule: str
    amount: int
    window_seconds: float | None


class Verdict(Struct, frozen=True):
    """What policy makes of one operation. It grants nothing: the gate alone makes an `Allow`.

    `observed` are rules in observe mode, each as `name: effect`. `cacheable`: the same operation in
    the same circumstances (time and literals aside) meets the same verdict. `obligations` are
    there whatever the outcome: what is recorded of a refused statement is masked too.
    """

    outcome: Outcome
    rules: tuple[str, ...]
    reason: str = ""
    hint: str = ""
    hold: Hold | None = None
    obligations: Obligations = Obligations()
    observed: tuple[str, ...] = ()
    cacheable: bool = False
