"""Discovery: samples of a target's columns, looked at by the content detectors.

What is proposed: masks on whole columns where a detector finds something in half of the values or
more, and on those whose comment has a tag (`pii.email`, `pci.card`, `secret`). The samples are
dropped with the answer; counts alone are kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from sallyport.core.decision import Mask
from sallyport.core.detector import CustomDetector
from sallyport.core.globs import Globs, glob_of
from sallyport.masking.content import Content
from sallyport.masking.detectors import GROUPS, NAMES, detectors_of
from sallyport.masking.plan import Column as Shown
from sallyport.masking.plan import plan
from sallyport.protocols.postgres.catalog_queries import QUERIES
from sallyport.protocols.postgres.endpoint import Rows, SideConnection
from sallyport.protocols.postgres.survey.sampling import (
    PAGE_TIME,
    RELATION_TIME,
    Apart,
    Late,
    Sampled,
    ask,
    base_name,
    kind_of,
    masked_columns,
    relations,
    told,
)
from sallyport.protocols.survey import Discovery, Found, Page
from sallyport.sql.catalogue import CatalogueSnapshot, Relation
from sallyport.sql.rewriting.pieces import identifier
from sallyport.sql.tags import tags_in

VALUE: Final = 2048
"""Characters that are looked at of one value."""
CELLS: Final = 2000
"""Values that one query asks for: with `VALUE` its answer stays under 17 MB."""
MAXIMUM_ROWS: Final = 2000
MAXIMUM_PARTS: Final = 500
"""Texts that are looked at in one document."""
MAXIMUM_DEPTH: Final = 100

_ENDS: Final = frozenset({"email", "phone", "card", "iban"})
"""What may keep its ends; of all else nothing is left."""


async def discover(
    side: SideConnection,
    catalogue: CatalogueSnapshot,
    masks: tuple[Mask, ...],
    page: Page,
    late: Late,
    apart: Apart,
) -> Discovery:
    """Return one page, which ends where `late` says so. Raises: TargetUnavailable."""
    every = await relations(side, catalogue)
    found: list[Found] = []
    unread: list[str] = []
    if page.after == 0:
        comments = await side.query(QUERIES["comments"])
        found += await apart(lambda: list(_of_comments(comments, catalogue, masks)))
    done, last = 0, page.after
    pending = [each for each in every if each.relation.oid > page.after]
    for sampled in pending:
        if done and late(PAGE_TIME):
            break
        answer = await _of_relation(side, sampled, catalogue, masks, page, late, apart)
        if answer is None:
            unread.append(told(sampled.relation.schema, sampled.relation.name))
        found.extend(answer or ())
        done, last = done + 1, sampled.relation.oid
    over = done == len(pending)
    return Discovery(
        database="",
        relations=len(every),
        done=len(every) - len(pending) + done,
        next=0 if over else last,
        unread=tuple(unread),
        found=tuple(found),
    )


async def _of_relation(
    side: SideConnection,
    sampled: Sampled,
    catalogue: CatalogueSnapshot,
    masks: tuple[Mask, ...],
    page: Page,
    late: Late,
    apart: Apart,
) -> list[Found] | None:
    """Return what a sample of one relation shows; None where it cannot be read."""
    relation = sampled.relation
    rows = max(1, min(page.rows, MAXIMUM_ROWS))
    everything = _everything(page.detectors)
    chosen = [
        (column.name, kind_of(column.shape), content)
        for column in sampled.columns
        if kind_of(column.shape) not in ("", "uuid")
        and (content := _content(everything, column.name, base_name(column.shape))) is not None
    ]
    covered = masked_columns(relation, catalogue, masks)
    found: list[Found] = []
    width = max(1, CELLS // rows)
    for start in range(0, len(chosen), width):
        if late(RELATION_TIME):
            return None
        some = chosen[start : start + width]
        values = ", ".join(_value(name, kind) for name, kind, _ in some)
        answer = await ask(side, f"select {values} from {sampled.source(rows)} limit {rows}")
        if answer == [] and sampled.size:
            plain = sampled._replace(size=0)
            answer = await ask(side, f"select {values} from {plain.source(rows)} limit {rows}")
        if answer is None:
            return None
        found += await apart(_Look(relation, some, answer, covered, masks))
    return found


def _everything(custom: tuple[CustomDetector, ...]) -> Mask:
    """Return a mask of all detectors that there are."""
    names = ("all", *(detector.name for detector in custom))
    return Mask(rule="discover", transform="redact", detectors=names, custom=custom)


def _content(every: Mask, name: str, type_: str) -> Content | None:
    """Return the detectors that a column of this name and type would be searched by."""
    made = plan((every,), [Shown(name, None, type_, binary=False)], b"")
    cell = made.cells[0] if made is not None else None
    return cell.content if cell is not None else None


def _value(name: str, kind: str) -> str:
    value = identifier(name)
    if kind == "texts":
        text = f"pg_catalog.array_to_string({value}, E'\\n')"
    else:
        text = f"CAST({value} AS pg_catalog.text)"
    return f"pg_catalog.left({text}, {VALUE})"


class _Look:
    """Counts what the detectors find in the sample of some columns of one relation."""

    def __init__(
        self,
        relation: Relation,
        columns: Sequence[tuple[str, str, Content]],
        rows: Rows,
        covered: frozenset[str],
        masks: tuple[Mask, ...],
    ) -> None:
        self._relation = relation
        self._columns = columns
        self._rows = rows
        self._covered = covered
        self._masks = masks

    def __call__(self) -> list[Found]:
        """Return what is found."""
        found = []
        for index, (name, kind, content) in enumerate(self._columns):
            counts: Counter[str] = Counter()
            values = 0
            for row in self._rows:
                cell = row[index] if index < len(row) else None
                if cell is not None:
                    values += 1
                    counts.update(_names_in(cell[:VALUE], kind, content))
            for what, hits in counts.most_common():
                proposed = _transform(what) if hits * 2 >= values else ""
                found.append(
                    _found(
                        self._relation, name, "values", what, (hits, values), proposed,
                        self._cover(name, what),
                    )
                )  # fmt: skip
        return found

    def _cover(self, column: str, what: str) -> str:
        if column in self._covered:
            return "column"
        name = f"{self._relation.schema}.{self._relation.name}.{column}"
        for mask in self._masks:
            names = {each.name for each in detectors_of(mask)}
            if what in names and not Globs(mask.unless_columns).matches(name):
                return "content"
        return ""


def _names_in(text: str, kind: str, content: Content) -> set[str]:
    """Return the names of the detectors that find something in one value."""
    if kind == "number":
        data = text.encode()
        found = {hit.name for hit in content.hits(data, numbers=True)}
        hinted = content.padded if text.isdigit() else []
        padded = [data.zfill(size) for size in (9, 11) if len(data) <= size]
        found.update(
            rule.detector.name
            for rule in hinted
            for each in padded
            if rule.detector.find(each, True)
        )
        return found
    if kind == "document":
        try:
            parts = list(_parts(json.loads(text)))
        except (ValueError, RecursionError):
            parts = [("", text)]  # cut, or no document: as it stands
    else:
        parts = [("", text)]
    return {
        hit.name
        for name, part in parts
        for hit in content.named_hits(
            part.encode("utf-8", "replace"), name.encode("utf-8", "replace")
        )
    }


def _parts(document: object) -> Iterator[tuple[str, str]]:
    """Yield the texts and numbers of a document, each with the key that it stands under."""
    pending: list[tuple[str, object, int]] = [("", document, 0)]
    seen = 0
    while pending and seen < MAXIMUM_PARTS:
        key, value, depth = pending.pop()
        if isinstance(value, dict) and depth < MAXIMUM_DEPTH:
            pending.extend((str(name), each, depth + 1) for name, each in value.items())
        elif isinstance(value, list) and depth < MAXIMUM_DEPTH:
            pending.extend((key, each, depth + 1) for each in value)
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            seen += 1
            yield key, str(value)


def _of_comments(
    rows: Rows, catalogue: CatalogueSnapshot, masks: tuple[Mask, ...]
) -> Iterator[Found]:
    """Yield the columns whose comment has a tag."""
    for oid, number, text in rows:
        relation = catalogue.relation_by_oid(int(oid or 0))
        tags = tags_in(text or "")
        if relation is None or not tags:
            continue
        for column in relation.columns:
            if column.number == int(number or 0):
                covered = masked_columns(relation, catalogue, masks)
                yield _found(
                    relation, column.name, "comment", tags[0], (0, 0),
                    _transform(tags[0].partition(".")[2]),
                    "column" if column.name in covered else "",
                )  # fmt: skip


def _transform(what: str) -> str:
    return "partial" if what in _ENDS and what in NAMES and what not in GROUPS else "redact"


def _found(
    relation: Relation,
    column: str,
    source: str,
    what: str,
    counts: tuple[int, int],
    proposed: str,
    covered: str,
) -> Found:
    return Found(
        relation=told(relation.schema, relation.name),
        column=told(column),
        glob=glob_of(relation.schema, relation.name, column),
        source=source,
        what=what,
        hits=counts[0],
        rows=counts[1],
        covered=covered,
        proposed="" if covered == "column" else proposed,
    )
