"""Decision: what policy makes of an operation, with the rules that made it."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct, msgpack

from sallyport.core.detector import CustomDetector
from sallyport.core.operation import digest_of


class Mask(Struct, frozen=True):
    """One thing to hide in results.

    `columns` are globs over `schema.table.column`; `detectors` names content detectors that apply
    to every text that leaves. `transform` is one of redact, partial, hash, null, generalise,
    constant; the rest are its settings (`masking.settings`). `custom` are the definitions of those
    detectors that are an operator's own. `json`, `headers` and `cookies` name what is hidden in
    HTTP responses: JSONPaths, globs over the names of fields, and over those of cookies.
    """

    rule: str
    transform: str
    columns: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()
    unless_columns: tuple[str, ...] = ()
    keep_start: int | None = None
    keep_end: int | None = None
    bucket: Decimal | None = None
    value: str | None = None
    keys: tuple[str, ...] = ()
    custom: tuple[CustomDetector, ...] = ()
    predicates: str = "masked"
    """What statements get that use such a column for more than to show it: masked values to work
    on, or `refuse`."""
    json: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()

    @property
    def on_results(self) -> bool:
        """Whether it has a say in results that have columns, and in what is said beside them."""
        return bool(self.columns or self.detectors)


def revision_of(masks: tuple[Mask, ...]) -> bytes:
    """Return what tells one set of masks from another (32 bytes); empty: there are none."""
    return digest_of(msgpack.encode(masks)) if masks else b""


class Limit(Struct, frozen=True):
    """How much one result may return. None: no bound."""

    rule: str
    rows: int | None = None
    bytes: int | None = None


class Obligations(Struct, frozen=True):
    """What an Allow demands of whoever carries it out."""

    masks: tuple[Mask, ...] = ()
    limits: tuple[Limit, ...] = ()
    record: str = "full"
    """`full`, or `statements`: the result's rows are counted and hashed, not kept."""
    rewrite: bytes | None = None
    """What goes to the target in the command's place; None: the client's own bytes."""
    at_source: bool = False
    """Masked columns stand in more than a select list: what goes to the target must mask them."""


class Allow(Struct, frozen=True, tag="allow"):
    """The operation with this digest may reach the target. Made by `session.gate` alone."""

    digest: bytes
    rules: tuple[str, ...]
    obligations: Obligations


class Deny(Struct, frozen=True, tag="deny"):
    """The operation does not reach the target; reason and hint go to whoever asked.

    `code` is the wire's own error code where this is no plain refusal (a cancelled hold: 57014).
    """

    rules: tuple[str, ...]
    reason: str
    hint: str
    code: str = ""


class Hold(Struct, frozen=True, tag="hold"):
    """The operation waits until `people` distinct members of `approvers` said yes.

    `timeout` is in seconds. `ticket`: refuse at once with an id; one identical execution passes
    within `window` seconds of the approval.
    """

    rules: tuple[str, ...]
    approvers: tuple[str, ...]
    people: int
    timeout: float
    ticket: bool
    reason: str = ""
    window: float = 600.0


Decision = Allow | Deny | Hold


class Approval(Struct, frozen=True):
    """A human's yes, as an input to a second decision: it satisfies just `rules`, for `digest`.

    `by` are the people, each a member of one of the groups `approvers`, which were asked.
    """

    id: str
    digest: bytes
    rules: tuple[str, ...]
    by: tuple[str, ...]
    approvers: tuple[str, ...]
