"""Constants of a column's type, checked before they are sent.

Only forms that every PostgreSQL and every setting of a session reads in one way are taken: dates
as ISO 8601 has them, moments with an offset where the type has a zone.
"""

from __future__ import annotations

import ipaddress
import json
import re
import uuid
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Final

from sallyport.sql.column_types import NUMERIC_SIZES, ColumnType
from sallyport.sql.rewriting.pieces import CannotMask

_WIDTHS: Final = {"int2": 15, "int4": 31, "int8": 63}
_LENGTH: Final = re.compile(r".*\((\d+)\)")
_DECIMAL: Final = re.compile(r"-?\d{1,100}(\.\d{1,100})?", re.ASCII)
_DATE: Final = r"\d{4}-\d\d-\d\d"
_TIME: Final = r"([01]\d|2[0-3]):\d\d:\d\d(\.\d{1,6})?"
_OFFSET: Final = r"[+-](0\d|1[0-5]):[0-5]\d"
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_JSON_NUMBER: Final = 400


def check(text: str, type_: ColumnType) -> None:
    """Look whether `text` is a literal of a type. Raises: CannotMask where it is not, surely."""
    if type_.kind == "enum":
        good = text in type_.labels
    elif type_.kind in ("base", "text"):
        name = "text" if type_.kind == "text" else type_.name
        if name not in _CHECKS:
            raise CannotMask(f"a column of type `{type_.spelled}` takes no constant")
        try:
            good = _CHECKS[name](text, type_)
        except (ValueError, ArithmeticError, RecursionError):
            good = False
    else:
        raise CannotMask(f"a column of type `{type_.spelled}` takes no constant")
    if not good:
        raise CannotMask(f"the constant is no literal of type `{type_.spelled}`")


def _length(type_: ColumnType) -> int | None:
    sized = _LENGTH.fullmatch(type_.spelled)
    return int(sized[1]) if sized else None


def _text(text: str, type_: ColumnType) -> bool:
    length = 63 if type_.name == "name" else _length(type_)
    size = len(text.encode()) if type_.name == "name" else len(text)
    return length is None or size <= length


def _integer(text: str, type_: ColumnType) -> bool:
    bound = 2 ** _WIDTHS[type_.name]
    return re.fullmatch(r"-?[0-9]{1,19}", text) is not None and -bound <= int(text) < bound


def _numeric(text: str, type_: ColumnType) -> bool:
    if not _DECIMAL.fullmatch(text):
        return False
    sizes = NUMERIC_SIZES.fullmatch(type_.spelled)
    if sizes is None:
        return True
    precision, scale = int(sizes[1]), int(sizes[2])
    value = Decimal(text)
    exponent = value.normalize().as_tuple().exponent
    exact = value == 0 or (isinstance(exponent, int) and exponent >= -scale)
    return exact and abs(value) < Decimal(10) ** (precision - scale)


def _float(text: str, _type: ColumnType) -> bool:
    value = abs(Decimal(text)) if _DECIMAL.fullmatch(text) else None
    return value is not None and (value == 0 or Decimal("1e-30") < value < Decimal("1e30"))


def _matches(pattern: str, read: Callable[[str], object]) -> Callable[[str, ColumnType], bool]:
    shape = re.compile(pattern, re.ASCII)

    def good(text: str, _type: ColumnType) -> bool:
        return shape.fullmatch(text) is not None and read(text) is not None

    return good


def _json(text: str, _type: ColumnType) -> bool:
    if "\\u" in text or re.search(rf"[0-9.eE+-]{{{_JSON_NUMBER}}}|[eE][+-]?[0-9]{{4}}", text):
        return False
    json.loads(text, parse_constant=_refuse, parse_int=str, parse_float=str)
    return True


def _refuse(word: str) -> None:
    raise ValueError(word)


def _bits(text: str, type_: ColumnType) -> bool:
    length = _length(type_)
    fits = length is None or (len(text) == length if type_.name == "bit" else len(text) <= length)
    return re.fullmatch("[01]*", text) is not None and fits


_CHECKS: Final[dict[str, Callable[[str, ColumnType], bool]]] = {
    **dict.fromkeys(("text", "varchar", "bpchar", "name"), _text),
    **dict.fromkeys(_WIDTHS, _integer),
    **dict.fromkeys(("float4", "float8"), _float),
    **dict.fromkeys(("json", "jsonb"), _json),
    **dict.fromkeys(("bit", "varbit"), _bits),
    "numeric": _numeric,
    "bool": lambda text, _type: text in ("true", "false"),
    "uuid": _matches(_UUID.pattern, uuid.UUID),
    "bytea": _matches(r"\\x([0-9a-fA-F]{2})*", len),
    "date": _matches(_DATE, date.fromisoformat),
    "time": _matches(_TIME, time.fromisoformat),
    "timetz": _matches(_TIME + _OFFSET, time.fromisoformat),
    "timestamp": _matches(f"{_DATE} {_TIME}", datetime.fromisoformat),
    "timestamptz": _matches(f"{_DATE} {_TIME}{_OFFSET}", datetime.fromisoformat),
    "inet": _matches(r"[0-9a-fA-F:.]+(/(0|[1-9]\d{0,2}))?", ipaddress.ip_interface),
    "cidr": _matches(r"[0-9a-fA-F:.]+/(0|[1-9]\d{0,2})", ipaddress.ip_network),
}
