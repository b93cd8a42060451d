"""Hiding: what an Allow's masks mean for this protocol's results and texts.

A column is known by its origin: the table oid and attribute number of its RowDescription, traced
by the catalogue that the operation was decided with. FAILS CLOSED: where masks name columns, a
table that this catalogue does not know is hidden whole.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, final

from sallyport.core.decision import Deny, Mask
from sallyport.core.event import FindingCount
from sallyport.masking.cells import CellMask
from sallyport.masking.plan import Column, ResultPlan, plan, text_masker, whole_setting
from sallyport.masking.transforms import Transform
from sallyport.masking.types import type_of
from sallyport.protocols.postgres import replies
from sallyport.protocols.postgres.exchange import Exchange
from sallyport.protocols.postgres.frames import Piece
from sallyport.protocols.postgres.masks.at_source import touches_masked
from sallyport.protocols.postgres.masks.column_names import of_copied, of_field
from sallyport.protocols.postgres.masks.copy_fields import CopyFormat
from sallyport.protocols.postgres.masks.copy_rows import CopyMasker
from sallyport.protocols.postgres.masks.rows import RowMasker
from sallyport.protocols.postgres.replies import CopyHeader, Field, Notification
from sallyport.protocols.postgres.results import Masker, Run
from sallyport.sql.names import TEMPORARY
from sallyport.sql.statement import Statement
from sallyport.sql.verbs import WRITES

_SAFE: Final[tuple[str, ...]] = ("S", "V", "C", "M", "s", "t", "c", "d", "n", "F", "L", "R")
"""Fields of an error that a masked subject gets: DETAIL, HINT, CONTEXT, queries may hold values."""
_OPAQUE: Final[tuple[str, ...]] = ("S", "V", "C", "F", "L", "R")
"""What is left where code inside the database spoke: RAISE fills every other field as it likes."""
_OWN: Final[tuple[str, ...]] = ("COPY ", "JSON data, ", "unnamed portal", 'portal "')
"""How a CONTEXT begins that speaks of what the client itself sent."""
_SPOKEN: Final = "said by code inside the database, and hidden by the gateway"
_LOG: Final = "hidden by the gateway: what the server logs"
_LOGGED: Final = ("LOG", "DEBUG")
_OVERLONG: Final = "its text is longer than the result may be, and hidden by the gateway"
_KEPT: Final = 256
_KEPT_SIZE: Final = 8192


@final
class _Masking:
    """A masker as a run uses it; `name` gives the column that findings in one count under.

    What it finds in columns that are masked at the source (`already`) was a mask of ours.
    """

    __slots__ = ("_already", "_masker", "_name", "transforms")

    def __init__(
        self,
        made: ResultPlan,
        masker: RowMasker | CopyMasker,
        name: Callable[[int], str],
        already: frozenset[int] = frozenset(),
    ) -> None:
        self._masker = masker
        self._name = name
        self._already = already
        self.transforms: tuple[str, ...] = made.transforms

    def mask(self, chunk: bytes) -> bytes:
        """Return whole DataRow or CopyData messages, masked."""
        return self._masker.mask(chunk)

    def finish(self) -> bytes:
        """Return the last row, where nothing ended it."""
        return self._masker.finish()

    @property
    def found(self) -> bool:
        """Whether anything was found since `findings`."""
        return not self._masker.tally.empty

    def findings(self) -> list[FindingCount]:
        """Return what was found since, by column."""
        return [
            FindingCount(self._name(index), name, hits, cells)
            for index, name, hits, cells in self._masker.tally.take()
            if index not in self._already
        ]


@final
class Hiding:
    """Makes maskers for results, and hides what errors and notices would tell."""

    def __init__(self, exchange: Exchange, key: bytes) -> None:
        self._exchange = exchange
        self._key = key
        self._fields: OrderedDict[bytes, tuple[Field, ...]] = OrderedDict()

    def fields(self, body: bytes) -> tuple[Field, ...]:
        """Read a RowDescription; those seen lately are not read again."""
        known = self._fields.get(body)
        if known is not None:
            return known
        fields = replies.parse_row_description(body)
        if len(body) <= _KEPT_SIZE:
            self._fields[body] = fields
            if len(self._fields) > _KEPT:
                self._fields.popitem(last=False)
        return fields

    # --- results

    def rows(self, run: Run, fields: tuple[Field, ...]) -> Masker | None:
        """Return what masks DataRows with these fields. Raises: MaskingFailed."""
        masks = run.allow.obligations.masks
        if not masks:
            return None
        made = _plan(masks, fields, run, self._key)
        if made is None:
            return None
        catalogue, statement = run.catalogue, run.statement
        return _Masking(
            made, RowMasker(made), lambda index: of_field(fields[index], catalogue, statement)
        )

    def copy(self, run: Run, header: CopyHeader) -> Masker | None:
        """Return what masks the rows of a COPY TO STDOUT. Raises: ValueError, MaskingFailed."""
        masks = run.allow.obligations.masks
        if not masks:
            return None
        catalogue, statement = run.catalogue, run.statement
        columns = statement.copy_columns
        if columns is None or statement.copy_options is None:
            raise ValueError("a COPY whose columns are not known")
        binary = header.format == 1
        if len(columns) != len(header.formats) or binary != (
            statement.copy_options.format == "binary"
        ):
            raise ValueError("a COPY that is not as it was understood")
        described = [
            Column(column.name, column.origins or None, column.type, binary, column.behind)
            for column in columns
        ]
        already: frozenset[int] = frozenset()
        if run.rewritten:
            sent = [_masked_already(column, masks) for column in described]
            pairs = enumerate(zip(sent, described, strict=True))
            already = frozenset(index for index, (new, old) in pairs if new is not old)
            described = sent
        made = plan(masks, described, self._key)
        if made is None:
            return None
        return _Masking(
            made,
            CopyMasker(made, CopyFormat.of(statement.copy_options)),
            lambda index: of_copied(columns[index], catalogue, statement),
            already,
        )

    # --- texts

    def error(self, piece: Piece, fields: dict[str, str], run: Run | None) -> tuple[bytes, str]:
        """Return an error or notice as the client may see it, and its message.

        What comes with a CONTEXT was raised inside a function, a trigger or the like. Those see
        values before any mask and can say anything in any words, so none of it is shown. What the
        server logs (a client can have it sent) are plans, and the texts that it got.
        """
        masks = self._masks(run)
        if not any(mask.on_results for mask in masks):
            return piece.data, fields.get("M", "")
        if _inside(fields.get("W", "")):
            return _opaque(piece, fields, _SPOKEN)
        if fields.get("V", "").startswith(_LOGGED):
            return _opaque(piece, fields, _LOG)
        shown = {code: fields[code] for code in _SAFE if code in fields}
        shown["M"] = self._text(fields.get("M", ""), masks)
        return replies.fields_message(piece.type, shown), shown["M"]

    def notification(self, piece: Piece, notification: Notification) -> tuple[bytes, str]:
        """Return a notification as the client may see it, and its payload."""
        masks = self._exchange.masks
        if any(mask.columns for mask in masks):
            text = ""  # what triggers of others tell has values from before any mask
        else:
            text = self._text(notification.payload, masks)
        if text == notification.payload:
            return piece.data, text
        return replies.notification(notification.pid, notification.channel, text), text

    def _masks(self, run: Run | None) -> tuple[Mask, ...]:
        if run is not None and run.allow.obligations.masks:
            return run.allow.obligations.masks
        return self._exchange.masks

    def _text(self, text: str, masks: tuple[Mask, ...]) -> str:
        """FAILS CLOSED: a text that cannot be masked is not shown."""
        try:
            masker = text_masker(masks, self._key)
            return text if masker is None else masker.mask_text(text)
        except Exception:
            return "hidden by the gateway"


def _masked_already(column: Column, masks: tuple[Mask, ...]) -> Column:
    """Return a column of what masks at the source: what is masked there is computed here."""
    origins = column.origins or frozenset()
    if whole_setting(masks, origins, column.behind) is None:
        return column
    return column._replace(origins=None, behind=frozenset())


def overlong(piece: Piece, fields: dict[str, str]) -> tuple[bytes, str]:
    """Return an error whose text is larger than a limit allows the result to be."""
    return _opaque(piece, fields, _OVERLONG)


def _opaque(piece: Piece, fields: dict[str, str], message: str) -> tuple[bytes, str]:
    shown = {code: fields[code] for code in _OPAQUE if code in fields}
    shown["M"] = message
    return replies.fields_message(piece.type, shown), message


def _inside(context: str) -> bool:
    """Whether code inside the database speaks. FAILS CLOSED: any context that is not known."""
    return bool(context) and ("\n" in context or not context.startswith(_OWN))


def unclear_copy(statement: Statement, masks: tuple[Mask, ...]) -> Deny | None:
    """Return why a COPY TO STDOUT cannot be masked, before it begins."""
    if statement.copy != "out" or not masks:
        return None
    if statement.copy_columns is not None and statement.copy_options is not None:
        return None
    reason = "where the columns of this COPY come from is not clear, so they cannot be masked"
    return Deny((masks[0].rule,), reason, "copy a table, or select its columns by name")


def _is_own(run: Run, masks: tuple[Mask, ...]) -> bool:
    """Whether a table that the catalogue does not know can only be a temporary one of the session's
    own, which no mask means.

    What it reads beside has no masked columns, or is masked at the source.
    """
    if not run.statement.own:
        return False
    for resource in run.statement.resources:
        schema, _, name = resource.name.partition(".")
        for column in resource.columns if schema == TEMPORARY else ():
            if whole_setting(masks, frozenset({(schema, name, column)})) is not None:
                return False
    return run.rewritten or not touches_masked(run.statement, masks, run.catalogue)


def _unasked(statement: Statement) -> bool:
    """Whether rows can only be a rule's: of a write that asks for none. Their columns have no
    origin then."""
    writes = not WRITES.isdisjoint((statement.verb, *statement.inner))
    return writes and not statement.returns_rows


def _plan(
    masks: tuple[Mask, ...],
    fields: tuple[Field, ...],
    run: Run,
    key: bytes,
) -> ResultPlan | None:
    catalogue = run.catalogue
    columns = []
    unknown = set()
    unasked = _unasked(run.statement)
    for index, field in enumerate(fields):
        origins = None
        behind: frozenset[tuple[str, str, str]] = frozenset()
        if unasked:
            unknown.add(index)
        elif field.table:
            origins = None if catalogue is None else catalogue.origin(field.table, field.attribute)
            if origins is None:
                unknown.add(index)
            elif catalogue is not None:
                behind = catalogue.behind(field.table, field.attribute)
        columns.append(Column(field.name, origins, str(field.type), field.format == 1, behind))
    made = plan(masks, columns, key)
    if not unknown or not any(mask.columns for mask in masks):
        return made
    if not unasked and _is_own(run, masks):
        return made
    cells: list[CellMask | None] = [None] * len(fields)
    if made is not None:
        cells[:] = made.cells
    for index in unknown:
        column = columns[index]
        cells[index] = CellMask(type_of(column.type), column.binary, Transform.NULL, None, key)
    return ResultPlan(cells)
