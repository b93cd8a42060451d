"""CEL conditions. FAILS CLOSED: only a true BOOL is true, and all but a BOOL is an error.

The library returns evaluation errors as values and raises on others (its iteration budget); it cuts
text at a NUL; it knows lists, not tuples or sets. All of that is met here.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from cel_expr_python import cel
from google.protobuf.timestamp_pb2 import Timestamp

from sallyport.core.grant import Target
from sallyport.core.operation import Operation, Parameter
from sallyport.core.subject import Subject
from sallyport.policy.verdict import Context

MAXIMUM_LENGTH: Final = 2000
"""Characters of one expression."""

MAXIMUM_PARAMETERS: Final = 5000
"""Parameters of one operation that a condition can read; with more it is an error."""

VARIABLES: Final = ("subject", "target", "op", "context")

FIELDS: Final = {
    "subject": frozenset({"name", "groups", "issuer", "claims", "owner", "actors"}),
    "target": frozenset({"name", "protocol", "labels", "database"}),
    "op": frozenset(
        {
            "protocol",
            "verb",
            "verbs",
            "effect",
            "facts",
            "resources",
            "text",
            "parameters",
            "content",
        }
    ),
    "context": frozenset(
        {
            "source",
            "country",
            "application",
            "login",
            "database",
            "write",
            "session",
            "now",
            "task",
            "purpose",
        }
    ),
}
"""What conditions can read of each variable."""

_STABLE: Final = {
    "op": frozenset({"verb", "verbs", "effect", "facts", "resources", "protocol"}),
    "context": frozenset(
        {"source", "country", "application", "login", "database", "write", "task", "purpose"}
    ),
}
_USE = re.compile(r"\b(op|context)\b(?:\.([a-z_]+)\b)?", re.ASCII)
_LITERAL = re.compile(
    r"""//[^\n]*|(?P<q>\"{3}|'{3})[\s\S]*?(?P=q)|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'"""
)
_FIELD = re.compile(r"(?<![\w.])(subject|target|op|context)\s*\.\s*(\w+)(?!\w|\s*\()", re.ASCII)
_HIDDEN = re.compile(r"\(\s*(?:subject|target|op|context)\s*,", re.ASCII)


class RuleError(Exception):
    """A rule could not be evaluated: the operation is denied, whatever the rule's effect."""


def _environment() -> Any:
    shape = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
    return cel.NewEnv(variables=dict.fromkeys(VARIABLES, shape))


_ENVIRONMENT: Final = _environment()


class Condition:
    """One compiled expression.

    `volatile`: it reads, or could read, what changes between two operations that look the same
    (text, parameters, time, session), so that no decision that met it may be cached.
    """

    __slots__ = ("_expression", "source", "volatile")

    def __init__(self, source: str) -> None:
        """Compile. Raises: ValueError with what the compiler says."""
        if len(source) > MAXIMUM_LENGTH:
            raise ValueError(f"expected a condition of at most {MAXIMUM_LENGTH} characters")
        self.source = source
        self.volatile = _reads_volatile(source)
        if "\0" in source:
            raise ValueError("expected a condition without NUL")
        try:
            self._expression = _ENVIRONMENT.compile(source)
            result = self._expression.return_type()
        except Exception as error:
            raise ValueError(_first_line(str(error))) from error
        if result != cel.Type.BOOL and result != cel.Type.DYN:
            raise ValueError(f"expected a condition that is true or false, not {result.name()}")

    def holds(self, variables: dict[str, Any]) -> bool:
        """Whether the condition is true. Raises: RuleError when it is neither true nor false."""
        try:
            value = self._expression.eval(data=variables)
            if value.type() != cel.Type.BOOL:
                raise RuleError(
                    f"condition gives no truth value: {_first_line(str(value.value()))}"
                )
            return value.value() is True
        except RuleError:
            raise
        except Exception as error:
            raise RuleError(f"condition fails: {_first_line(str(error))}") from error


def _reads_volatile(source: str) -> bool:
    """Whether anything but the stable fields of `op` and `context` may be read.

    Textual, hence coarse: a variable that is passed on whole or indexed counts as volatile, and so
    does its name inside a text.
    """
    return any(match[2] not in _STABLE[match[1]] for match in _USE.finditer(source))


def unknown_field(source: str) -> tuple[str, str] | None:
    """Return a variable and a field of it that no operation has: it would always be an error.

    Textual: says nothing where a name may stand for something else (`all(op, ...)`, `r'...'`).
    """
    if _HIDDEN.search(source) or re.search(r"""[rR]["']""", source):
        return None
    for match in _FIELD.finditer(_LITERAL.sub("''", source)):
        if match[2] not in FIELDS[match[1]]:
            return match[1], match[2]
    return None


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:200] if text.strip() else "no reason given"


def variables_of(
    subject: Subject, target: Target, context: Context, operation: Operation
) -> dict[str, Any]:
    """Return what conditions read that stay the same from one operation to the next like it.

    Raises: RuleError for what CEL could not see whole.
    """
    return {
        "subject": _plain(
            {
                "name": subject.name,
                "groups": subject.groups,
                "issuer": subject.issuer,
                "claims": subject.claims,
                "owner": subject.owner,
                "actors": subject.actors,
            }
        ),
        "target": _plain(
            {
                "name": target.name,
                "protocol": target.protocol,
                "labels": target.labels,
                "database": target.database,
            }
        ),
        "op": _plain(_operation(operation)),
        "context": _plain(
            {
                "source": context.source,
                "country": context.country,
                "application": context.application,
                "login": context.login,
                "database": context.database,
                "write": context.write,
                "task": context.task,
                "purpose": context.purpose,
            }
        ),
    }


def _operation(operation: Operation) -> dict[str, Any]:
    """Return what conditions read of an operation, beside its literals."""
    return {
        "protocol": operation.protocol,
        "verb": operation.verb,
        "verbs": operation.verbs,
        "effect": operation.effect.value,
        "facts": sorted(operation.facts),
        "resources": [
            {
                "kind": resource.kind,
                "name": resource.name,
                "effect": resource.effect.value,
                "columns": resource.columns,
                "exposed": resource.exposed,
                "template": resource.template,
            }
            for resource in operation.resources
        ],
    }


def add_volatile(variables: dict[str, Any], context: Context, operation: Operation) -> None:
    """Add what only volatile conditions read: text, parameters, time, session.

    Raises: RuleError for what CEL could not see whole, or what would take too long.
    """
    if len(operation.parameters) > MAXIMUM_PARAMETERS:
        raise RuleError(f"condition cannot read more than {MAXIMUM_PARAMETERS} parameters")
    variables["op"]["text"] = _plain(operation.whole_text)
    variables["op"]["content"] = _carried(operation.content)
    variables["op"]["parameters"] = [_parameter(p) for p in operation.parameters]
    variables["context"]["session"] = context.session
    variables["context"]["now"] = Timestamp(seconds=int(context.now))


def _carried(content: bytes) -> Any:
    """Return what an operation carries. Raises: RuleError for what CEL could not see whole."""
    try:
        return _plain(msgspec.json.decode(content)) if content else {}
    except msgspec.MsgspecError as error:
        raise RuleError("condition cannot read what the operation carries") from error


def _parameter(parameter: Parameter) -> dict[str, Any]:
    """A value that is text in either format is text: a binary format hides nothing."""
    value: str | bytes | None = parameter.value
    if isinstance(value, bytes) and b"\0" not in value:
        try:
            value = value.decode()
        except UnicodeDecodeError:
            value = parameter.value
    return {
        "name": parameter.name,
        "type": parameter.type,
        "value": value,
        "binary": parameter.binary,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise RuleError("condition cannot read text with a NUL or a lone surrogate")
        return value
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
