"""Settings: what one mask does to a column, and which of several masks on a column counts.

The strongest transform does: null, constant, redact, hash, generalise, partial. FAILS CLOSED: two
settings of one strength that differ redact, and so do a mask on keys of a document and another that
would leave more of it than redact does.
What only the database can do (generalise, constant, partial with ends of its own, keys) is done at
the source; wherever a result is all that can be masked, such a column is redacted there.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, NamedTuple

from sallyport.core.decision import Mask
from sallyport.masking.transforms import Transform, transform_of

MOST_KEPT: Final = 100
"""Characters that partial may keep at either end."""
WIDEST: Final = Decimal(10**15)
MAX_KEYS: Final = 64
MAX_DEPTH: Final = 8

_STRENGTH: Final = {
    "partial": 1, "generalise": 2, "hash": 3, "redact": 4, "constant": 5, "null": 6,
}  # fmt: skip


class Setting(NamedTuple):
    """What a mask does to a column. `keys`: only what stands under these paths in a document."""

    transform: str
    keep_start: int | None = None
    keep_end: int | None = None
    bucket: Decimal | None = None
    value: str | None = None
    keys: tuple[tuple[str, ...], ...] = ()

    @property
    def only_at_source(self) -> bool:
        """Whether results cannot be masked so."""
        return (
            self.transform in ("generalise", "constant")
            or self.keep_start is not None
            or self.keep_end is not None
            or bool(self.keys)
        )

    @property
    def in_results(self) -> Transform:
        """What results get in its place."""
        return Transform.REDACT if self.only_at_source else transform_of(self.transform)


REDACT: Final = Setting("redact")
NULL: Final = Setting("null")


def setting_of(mask: Mask) -> Setting:
    """Return what `mask` does to a column. Raises: ValueError for what cannot be carried out."""
    problem = problem_of(
        mask.transform, mask.keep_start, mask.keep_end, mask.bucket, mask.value, mask.keys
    )
    if problem is not None:
        raise ValueError(problem[1])
    return Setting(
        mask.transform,
        mask.keep_start,
        mask.keep_end,
        mask.bucket,
        mask.value,
        tuple(sorted(tuple(path.split(".")) for path in mask.keys)),
    )


def problem_of(
    transform: str,
    keep_start: int | None,
    keep_end: int | None,
    bucket: Decimal | None,
    value: str | None,
    keys: tuple[str, ...],
) -> tuple[str, str] | None:
    """Return which setting does not fit its transform, and why; None: all of them do."""
    if transform not in _STRENGTH:
        return "transform", f"no transform is called `{transform}`"
    for name, kept in (("keep_start", keep_start), ("keep_end", keep_end)):
        if kept is not None and transform != "partial":
            return name, f"`{name}` belongs to transform partial, and only there"
        if kept is not None and not 0 <= kept <= MOST_KEPT:
            return name, f"`{name}` is between 0 and {MOST_KEPT}"
    if (value is not None) != (transform == "constant"):
        if value is None:
            return "transform", "`value` is missing: transform constant needs it"
        return "value", "`value` belongs to transform constant, and only there"
    if bucket is not None and transform != "generalise":
        return "bucket", "`bucket` belongs to transform generalise, and only there"
    if bucket is not None and not _width(bucket):
        return "bucket", "`bucket` is above 0, up to 1e15, with 12 decimals at most"
    return _problem_of_keys(keys)


def _width(bucket: Decimal) -> bool:
    return bucket.is_finite() and 0 < bucket <= WIDEST and bucket == round(bucket, 12)


def _problem_of_keys(keys: tuple[str, ...]) -> tuple[str, str] | None:
    if len(keys) > MAX_KEYS:
        return "keys", f"`keys` are {MAX_KEYS} at most"
    for path in keys:
        parts = path.split(".")
        if not all(parts) or len(parts) > MAX_DEPTH or "\0" in path:
            return "keys", f"a path in `keys` is 1 to {MAX_DEPTH} names with dots between them"
    return None


def strongest(settings: Iterable[Setting]) -> Setting | None:
    """Return what counts where all of `settings` meet on one column; None: there is none."""
    met = dict.fromkeys(settings)
    if len(met) < 2:
        return next(iter(met), None)
    whole = [one for one in met if not one.keys]
    keyed = [one for one in met if one.keys]
    if not whole:
        bare = {one._replace(keys=()) for one in keyed}
        if len(bare) > 1:
            return REDACT
        return bare.pop()._replace(keys=tuple(sorted({path for one in keyed for path in one.keys})))
    most = max(_STRENGTH[one.transform] for one in whole)
    top = [one for one in whole if _STRENGTH[one.transform] == most]
    if len(top) > 1 or (keyed and most < _STRENGTH["redact"]):
        return REDACT
    return top[0]
