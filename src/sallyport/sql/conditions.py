"""Whether a WHERE clause narrows a statement to some rows of its table.

It does if it says something about the table's own columns that is not true of every row. Folded
are constants, comparisons of a column with itself, tests for NULL of columns that cannot be,
`LIKE '%'`, a membership in the table itself, and alternatives that together are always true.
This is a floor: that `id > -1` holds for every row is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from sallyport.sql import tree
from sallyport.sql.effort import Effort
from sallyport.sql.scope import Item
from sallyport.sql.tree import Fields, Node

_TRUE: Final = frozenset({"t", "true", "y", "yes", "on", "1"})
_FALSE: Final = frozenset({"f", "false", "n", "no", "off", "0"})
_REFLEXIVE: Final = {"=": True, ">=": True, "<=": True, "<>": False, "<": False, ">": False}
_OPPOSITE: Final = {"<>": "=", ">=": "<", ">": "<="}
_MAX_DEPTH: Final = 200


class Condition:
    """Judges conditions on one table."""

    def __init__(self, target: Item, effort: Effort) -> None:
        self._effort = effort
        self._alias = target.alias
        self._vague = target.vague
        self._columns = {output.name for output in target.outputs}
        relation = target.touch.found.relation if target.touch is not None else None
        self._relation = relation
        self.reads_literals = False
        """Another constant in the same place could have been judged otherwise."""
        self._not_null = {c.name for c in relation.columns if c.not_null} if relation else set()

    def narrows(self, node: Node | None, depth: int = 0) -> bool:
        """Return whether the condition leaves out rows, as far as can be seen."""
        if node is None or depth > _MAX_DEPTH:
            return False
        truth = self._truth(node, depth)
        if truth is not None:
            return not truth
        fields = tree.body(node)
        if tree.tag(node) != "BoolExpr":
            return self._mentions(node)
        arguments = tree.nodes(fields, "args")
        if tree.text(fields, "boolop") == "AND_EXPR":
            return any(self.narrows(argument, depth + 1) for argument in arguments)
        if tree.text(fields, "boolop") == "OR_EXPR":
            return all(self.narrows(argument, depth + 1) for argument in arguments)
        return self._mentions(node)

    def _truth(self, node: Node, depth: int) -> bool | None:
        """Return what the condition is for every row; None where that is not known."""
        self._effort.spend(1)
        if depth > _MAX_DEPTH:
            return None
        judge = _JUDGES.get(tree.tag(node))
        return None if judge is None else judge(self, node, depth)

    def _constant(self, node: Node, depth: int) -> bool | None:
        self.reads_literals = True
        if "isnull" in tree.body(node):
            return False
        value = tree.constant(node)
        if value is None:
            return self._cast(node, depth)
        return True if value.lower() in _TRUE else False if value.lower() in _FALSE else None

    def _cast(self, node: Node, depth: int) -> bool | None:
        inner = tree.child(tree.body(node), "arg")
        return None if inner is None else self._truth(inner, depth + 1)

    def _boolean(self, node: Node, depth: int) -> bool | None:
        fields = tree.body(node)
        arguments = tree.nodes(fields, "args")
        operator = tree.text(fields, "boolop")
        truths = [self._truth(argument, depth + 1) for argument in arguments]
        if operator == "NOT_EXPR":
            return None if truths[0] is None else not truths[0]
        if operator == "AND_EXPR":
            return False if False in truths else True if set(truths) == {True} else None
        if True in truths or self._complementary(arguments):
            return True
        return False if set(truths) == {False} else None

    def _complementary(self, arguments: list[Node]) -> bool:
        self.reads_literals = True
        seen: set[tuple[bytes, bool]] = set()
        for argument in arguments:
            key, negated = _canonical(argument, self._effort)
            if (key, not negated) in seen:
                return True
            seen.add((key, negated))
        return False

    def _null_test(self, node: Node, depth: int) -> bool | None:
        fields = tree.body(node)
        inner = tree.child(fields, "arg")
        if inner is None:
            return None
        is_null = tree.text(fields, "nulltesttype") == "IS_NULL"
        if tree.tag(inner) == "A_Const":
            return is_null == ("isnull" in tree.body(inner))
        if tree.tag(inner) == "ColumnRef":
            parts = tree.names(tree.body(inner), "fields")
            own = len(parts) == 1 or parts[-2] == self._alias
            if own and parts[-1] in self._not_null:
                return not is_null
            if parts == [self._alias]:
                return None
        return None

    def _boolean_test(self, node: Node, depth: int) -> bool | None:
        fields = tree.body(node)
        inner = tree.child(fields, "arg")
        truth = None if inner is None else self._truth(inner, depth + 1)
        if truth is None:
            return None
        kind = tree.text(fields, "booltesttype")
        return {
            "IS_TRUE": truth, "IS_NOT_TRUE": not truth,
            "IS_FALSE": not truth, "IS_NOT_FALSE": truth,
        }.get(kind)  # fmt: skip

    def _comparison(self, node: Node, depth: int) -> bool | None:
        fields = tree.body(node)
        left, right = tree.child(fields, "lexpr"), tree.child(fields, "rexpr")
        if left is None or right is None:
            return None
        kind = tree.text(fields, "kind")
        operator = tree.names(fields, "name")[-1]
        if tree.tag(left) != "ColumnRef" or kind in ("AEXPR_LIKE", "AEXPR_ILIKE"):
            self.reads_literals = True
        if kind in ("AEXPR_LIKE", "AEXPR_ILIKE"):
            pattern = tree.constant(right)
            match_all = pattern is not None and pattern != "" and not pattern.strip("%")
            return operator in ("~~", "~~*") if match_all else None
        if kind == "AEXPR_IN":
            items = tree.nodes(tree.body(right), "items")
            return operator == "=" if any(self._alike(left, items)) else None
        if kind in ("AEXPR_BETWEEN", "AEXPR_BETWEEN_SYM"):
            items = tree.nodes(tree.body(right), "items")
            return True if all(self._alike(left, items)) else None
        if kind in ("AEXPR_DISTINCT", "AEXPR_NOT_DISTINCT"):
            return kind == "AEXPR_NOT_DISTINCT" if all(self._alike(left, [right])) else None
        if kind != "AEXPR_OP":
            return None
        return _compared(operator, left, right, self._effort)

    def _alike(self, one: Node, others: list[Node]) -> Iterator[bool]:
        key = _key(one, self._effort)
        kind = tree.tag(one)
        return (tree.tag(o) == kind and _key(o, self._effort) == key for o in others)

    def _coalesce(self, node: Node, depth: int) -> bool | None:
        arguments = tree.nodes(tree.body(node), "args")
        return self._truth(arguments[0], depth + 1) if arguments else None

    def _member(self, node: Node, depth: int) -> bool | None:
        """Return whether `column IN (SELECT column FROM this table)`, which holds everywhere."""
        fields = tree.body(node)
        if tree.text(fields, "subLinkType") not in ("ANY_SUBLINK", "EXISTS_SUBLINK"):
            return None
        query = tree.child(fields, "subselect")
        select = tree.body(query) if query else {}
        sources = tree.nodes(select, "fromClause")
        if "whereClause" in select or "limitCount" in select or "havingClause" in select:
            return None
        if len(sources) != 1 or tree.tag(sources[0]) != "RangeVar" or self._relation is None:
            return None
        same = tree.text(tree.body(sources[0]), "relname") == self._relation.name
        return True if same else None

    def _mentions(self, node: Node) -> bool:
        pending: list[Node] = [node]
        while pending:
            current = pending.pop()
            self._effort.spend(1)
            kind, fields = tree.tag(current), tree.body(current)
            if kind == "ColumnRef" and self._owns(tree.names(fields, "fields")):
                return True
            if kind == "SubLink":
                query = tree.child(fields, "subselect")
                if query is not None and self._correlated(query):
                    return True
                test = tree.child(fields, "testexpr")
                pending.extend([test] if test else [])
            elif kind == "CurrentOfExpr":
                return True
            else:
                pending.extend(_parts(fields))
        return False

    def _owns(self, parts: list[str]) -> bool:
        if len(parts) == 1:
            return self._vague or parts[0] in self._columns or parts[0] == self._alias
        return parts[-2] == self._alias and parts[-1] != "*"

    def _correlated(self, query: Node) -> bool:
        """Return whether a subselect names the table by its alias, and not its own namesake."""
        qualified = False
        for node in tree.subnodes(query):
            kind, fields = tree.tag(node), tree.body(node)
            if kind == "RangeVar" or "alias" in fields:
                alias = tree.text(tree.struct(fields, "alias"), "aliasname")
                if (alias or tree.text(fields, "relname")) == self._alias:
                    return False
            elif kind == "ColumnRef":
                parts = tree.names(fields, "fields")
                qualified = qualified or (len(parts) > 1 and parts[-2] == self._alias)
        return qualified


_JUDGES: Final[dict[str, Callable[[Condition, Node, int], bool | None]]] = {
    "A_Const": Condition._constant,
    "TypeCast": Condition._cast,
    "BoolExpr": Condition._boolean,
    "NullTest": Condition._null_test,
    "BooleanTest": Condition._boolean_test,
    "A_Expr": Condition._comparison,
    "CoalesceExpr": Condition._coalesce,
    "SubLink": Condition._member,
}


def _compared(operator: str, left: Node, right: Node, effort: Effort) -> bool | None:
    if _key(left, effort) == _key(right, effort) and tree.tag(left) != "FuncCall":
        return _REFLEXIVE.get(operator)
    one, other = tree.constant(left), tree.constant(right)
    if one is None or other is None:
        return None
    if operator in ("=", "<>") and not _is_number(one) and not _is_number(other):
        return (one == other) == (operator == "=")
    if not (_is_number(one) and _is_number(other)):
        return None
    difference = float(one) - float(other)
    return {
        "=": difference == 0, "<>": difference != 0, "<": difference < 0, ">": difference > 0,
        "<=": difference <= 0, ">=": difference >= 0,
    }.get(operator)  # fmt: skip


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _canonical(node: Node, effort: Effort) -> tuple[bytes, bool]:
    """Return a condition's key and whether it is the key's negation."""
    negated = False
    while tree.tag(node) == "BoolExpr" and tree.text(tree.body(node), "boolop") == "NOT_EXPR":
        node = tree.nodes(tree.body(node), "args")[0]
        negated = not negated
    fields = tree.body(node)
    if tree.tag(node) == "NullTest":
        negated ^= tree.text(fields, "nulltesttype") == "IS_NOT_NULL"
        return b"null" + _key(tree.child(fields, "arg"), effort), negated
    if tree.tag(node) == "A_Expr" and tree.text(fields, "kind") == "AEXPR_OP":
        operator = tree.names(fields, "name")[-1]
        negated ^= operator in _OPPOSITE
        left, right = tree.child(fields, "lexpr"), tree.child(fields, "rexpr")
        sides = _key(left, effort) + b" " + _key(right, effort)
        return _OPPOSITE.get(operator, operator).encode() + sides, negated
    return _key(node, effort), negated


def _key(node: Node | None, effort: Effort) -> bytes:
    """Return what two equal expressions have in common: the tree without its locations."""
    return msgspec.json.encode(_bare(node, effort))


def _bare(value: object, effort: Effort) -> object:
    effort.spend(1)
    if isinstance(value, dict):
        return {k: _bare(v, effort) for k, v in value.items() if k != "location"}
    if isinstance(value, list):
        return [_bare(item, effort) for item in value]
    return value


def _parts(fields: Fields) -> list[Node]:
    return [node for value in fields.values() for node in _direct(value)]


def _direct(value: object) -> list[Node]:
    """Return the nodes below a field without going into a subselect."""
    found: list[Node] = []
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict) and item:
            key = next(iter(item))
            if len(item) == 1 and isinstance(key, str) and key[:1].isupper():
                found.append(item)
            else:
                stack.extend(item.values())
    return found
