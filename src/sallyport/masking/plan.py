"""Plan: what must be hidden in one result, column by column, and in one text.

A column that a mask names by its origin is replaced whole; every other one is searched by the
detectors that the masks ask for. Where several masks meet, the strongest counts (`settings`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, final

from sallyport.core.decision import Mask
from sallyport.core.errors import MaskingFailed
from sallyport.core.globs import Globs
from sallyport.core.operation import Parameter
from sallyport.masking.cells import CellMask
from sallyport.masking.content import Content, Rule, cores
from sallyport.masking.detectors import detectors_of
from sallyport.masking.expressions import compile_pattern
from sallyport.masking.finders import Detector
from sallyport.masking.locate import Locator, locator
from sallyport.masking.settings import NULL, Setting, setting_of, strongest
from sallyport.masking.transforms import Transform
from sallyport.masking.types import UNKNOWN, Kind, PgType, type_of

Origins = frozenset[tuple[str, str, str]]
_SEARCHED_NUMBERS = (Kind.INTEGER, Kind.FLOAT, Kind.NUMERIC)
_NEVER = (Kind.BLIND, Kind.UUID, Kind.DATE, Kind.TIMESTAMP)
_EXPONENTS = (Kind.FLOAT, Kind.JSON, Kind.ARRAY)
_KEY_SIZE = 16


class Column(NamedTuple):
    """One column of a result.

    `origins` are the (schema, table, column) that its values come from, by every name that they
    have (a partition's and its parents'); None: computed, or not known. `type` is PostgreSQL's name
    of the type or its oid in digits. `binary` is the format of its cells. `behind` are those
    origins that it is computed from: what a transform keeps of them (ends, equality, which are
    NULL) would tell something else of the computed value, so a mask on these leaves nothing.
    """

    name: str
    origins: Origins | None
    type: str
    binary: bool
    behind: Origins = frozenset()


@final
class ResultPlan:
    """What happens to each column of one result. `cells` is None where nothing does.

    `searched`: those that are looked at only where `locator` points; of the others every cell is.
    """

    __slots__ = ("cells", "locator", "patterns", "searched", "transforms")

    def __init__(self, cells: Sequence[CellMask | None]) -> None:
        self.cells = tuple(cells)
        self.searched = [
            None if cell is None or cell.content is None or cell.hidden else cell for cell in cells
        ]
        self.transforms = tuple(_described(cell) for cell in cells)
        searched = [cell for cell in cells if cell is not None and cell.content is not None]
        patterns = [
            core
            for cell in searched
            if cell.content is not None
            for core in cores(cell.content.rules)
        ]
        if any(cell.escaping for cell in searched):
            patterns += [r"\\", '""']
        if any(cell.type.kind in _EXPONENTS for cell in searched):
            short = any(cell.content is not None and cell.content.shortest < 7 for cell in searched)
            patterns.append(r"[0-9][eE][+-]?[0-9]" if short else r"[0-9][eE]\+?1[0-9]")
        self.patterns = tuple(dict.fromkeys(patterns))
        self.locator: Locator | None = locator(self.patterns) if patterns else None

    @property
    def named(self) -> bool:
        """Whether a column is replaced whole."""
        return any(cell is not None and cell.whole is not None for cell in self.cells)


def _described(cell: CellMask | None) -> str:
    return cell.whole.name.lower() if cell is not None and cell.whole is not None else ""


def plan(masks: tuple[Mask, ...], columns: Sequence[Column], key: bytes) -> ResultPlan | None:
    """Return what `masks` make of a result with these columns; None: nothing.

    `key` makes the hashes. FAILS CLOSED. Raises: MaskingFailed for a mask that cannot be carried
    out (an unknown detector or transform, a bad glob, a hash without a key).
    """
    if not masks:
        return None
    try:
        return _plan(masks, tuple(columns), key)
    except ValueError as error:
        raise MaskingFailed(str(error)) from None


@lru_cache(maxsize=512)
def _plan(masks: tuple[Mask, ...], columns: tuple[Column, ...], key: bytes) -> ResultPlan | None:
    compiled = [_Compiled(mask) for mask in masks]
    if len(key) < _KEY_SIZE and any(mask.transform is Transform.HASH for mask in compiled):
        raise ValueError(f"the hash transform needs a key of {_KEY_SIZE} bytes or more")
    cells = [_cell(compiled, column, key) for column in columns]
    return ResultPlan(cells) if any(cell is not None for cell in cells) else None


@lru_cache(maxsize=4096)
def whole_setting(
    masks: tuple[Mask, ...], origins: Origins, behind: Origins = frozenset()
) -> Setting | None:
    """Return what `masks` do to a column with these origins; None: it is not masked.

    `behind` as in `Column`. Raises: MaskingFailed, as `plan` does.
    """
    try:
        compiled = [_Compiled(mask) for mask in masks]
    except ValueError as error:
        raise MaskingFailed(str(error)) from None
    names = _names(origins)
    return _whole([mask for mask in compiled if not mask.exempts(names)], names, behind)


def _names(origins: Origins) -> list[str]:
    return [".".join(origin) for origin in sorted(origins)]


def _whole(applying: Sequence[_Compiled], names: Sequence[str], behind: Origins) -> Setting | None:
    whole = strongest(mask.setting for mask in applying if mask.covers(names))
    if whole is not None and behind:
        computed = _names(behind)
        if any(mask.covers(computed) for mask in applying):
            return NULL
    return whole


@final
class _Compiled:
    """A mask, ready to be asked."""

    __slots__ = ("_columns", "_unless", "detectors", "setting", "transform")

    def __init__(self, mask: Mask) -> None:
        self.setting = setting_of(mask)
        self.transform = self.setting.in_results
        self.detectors: tuple[Detector, ...] = detectors_of(mask)
        self._columns = Globs(mask.columns)
        self._unless = Globs(mask.unless_columns)

    def exempts(self, names: Sequence[str]) -> bool:
        """Whether the mask leaves this column alone.

        FAILS CLOSED: only if every name of it is exempt, and never what has no origin.
        """
        return bool(names) and all(self._unless.matches(name) for name in names)

    def covers(self, names: Sequence[str]) -> bool:
        """Whether the mask replaces this column whole."""
        return any(self._columns.matches(name) for name in names)


def _cell(masks: Sequence[_Compiled], column: Column, key: bytes) -> CellMask | None:
    kind = type_of(column.type)
    names = _names(column.origins or frozenset())
    applying = [mask for mask in masks if not mask.exempts(names)]
    whole = _whole(applying, names, column.behind)
    if whole is not None:
        return CellMask(kind, column.binary, whole.in_results, None, key)
    chosen: dict[Detector, Transform] = {}
    for mask in applying:
        for detector in mask.detectors:
            chosen[detector] = max(chosen.get(detector, mask.transform), mask.transform)
    rules = _rules(tuple(chosen.items()), column, kind)
    if not rules:
        return None
    return CellMask(kind, column.binary, None, _content(rules, key), key)


def _rules(
    chosen: tuple[tuple[Detector, Transform], ...], column: Column, kind: PgType
) -> tuple[Rule, ...]:
    if kind.kind in _NEVER:
        return ()
    names = [column.name, *(origin[2] for origin in column.origins or ())]
    rules = [Rule(detector, _hinted(detector, names), transform) for detector, transform in chosen]
    if kind.kind in _SEARCHED_NUMBERS:
        rules = [rule for rule in rules if rule.hinted or rule.detector.numbers]
    return tuple(rules)


def _hinted(detector: Detector, names: Sequence[str]) -> bool:
    if not detector.hint:
        return False
    expression = _hint(detector.hint)
    return any(expression.search(name.lower().encode()) is not None for name in names)


_hint = lru_cache(maxsize=256)(compile_pattern)


@lru_cache(maxsize=256)
def _content(rules: tuple[Rule, ...], key: bytes) -> Content:
    return Content(rules, key)


@final
class TextMasker:
    """Detectors for texts that belong to no column: notices, errors, statements, parameters.

    In these the null transform redacts, since a text cannot be NULL.
    """

    __slots__ = ("_key", "content")

    def __init__(self, content: Content, key: bytes) -> None:
        self.content = content
        self._key = key

    def mask_bytes(self, data: bytes) -> bytes:
        """Return UTF-8 text with every match replaced. Raises: MaskingFailed."""
        try:
            masked = self.content.mask(data)
        except Exception as error:
            raise MaskingFailed(f"a text cannot be masked ({type(error).__name__})") from None
        return b"" if masked is None else masked

    def mask_text(self, text: str) -> str:
        """Return `text` with every match replaced. Raises: MaskingFailed."""
        raw = text.encode("utf-8", "surrogatepass")
        masked = self.mask_bytes(raw)
        return text if masked is raw else masked.decode("utf-8", "replace")

    def mask_parameters(self, parameters: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
        """Return bound values as they may be recorded. Raises: MaskingFailed."""
        out = [self._parameter(parameter) for parameter in parameters]
        changed = any(new is not old for new, old in zip(out, parameters, strict=True))
        return tuple(out) if changed else parameters

    def _parameter(self, parameter: Parameter) -> Parameter:
        if parameter.value is None:
            return parameter
        kind = type_of(parameter.type)
        if kind is UNKNOWN and not parameter.binary:
            kind = type_of("text")
        cell = CellMask(kind, parameter.binary, None, self.content, self._key)
        try:
            value = cell.mask(parameter.value)
        except MaskingFailed:
            # What a client binds need not be valid; then it is searched as it stands.
            value = self.mask_bytes(parameter.value)
        if value is parameter.value:
            return parameter
        return Parameter(parameter.name, parameter.type, value, parameter.binary)


def text_masker(masks: tuple[Mask, ...], key: bytes) -> TextMasker | None:
    """Return what masks texts as `masks` ask; None: nothing to do. Raises: MaskingFailed."""
    if not masks:
        return None
    try:
        return _text_masker(masks, key)
    except ValueError as error:
        raise MaskingFailed(str(error)) from None


@lru_cache(maxsize=128)
def _text_masker(masks: tuple[Mask, ...], key: bytes) -> TextMasker | None:
    chosen: dict[Detector, Transform] = {}
    for mask in masks:
        transform = min(setting_of(mask).in_results, Transform.REDACT)
        for detector in detectors_of(mask):
            chosen[detector] = max(chosen.get(detector, transform), transform)
    if not chosen:
        return None
    rules = tuple(Rule(detector, False, transform) for detector, transform in chosen.items())
    return TextMasker(_content(rules, key), key)


def mask_text(text: str, masks: tuple[Mask, ...], key: bytes) -> str:
    """Return `text` with what the detectors of `masks` find replaced. Raises: MaskingFailed."""
    masker = text_masker(masks, key)
    return text if masker is None else masker.mask_text(text)
