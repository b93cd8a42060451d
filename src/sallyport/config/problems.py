"""What is wrong with a configuration: all of it at once, each with its line."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sallyport.config.yaml import Key, Tree
from sallyport.core.errors import ConfigError

Problem = tuple[Key, str]
"""Where, and what was expected."""

MAXIMUM_PROBLEMS: Final = 1000
"""Errors of the file's shape that are put into words: that takes a moment each."""


class ConfigErrors(ConfigError):
    """Everything that is wrong with one file. `file`, `line` and `message` are the first's."""

    def __init__(self, errors: list[ConfigError]) -> None:
        first = errors[0]
        super().__init__(first.message, first.file, first.line)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


def raise_problems(tree: Tree, problems: Iterable[Problem]) -> None:
    """Raise what is wrong, by line; return when nothing is. Raises: ConfigErrors."""
    found = {(tree.line(path), message) for path, message in problems}
    if found:
        raise ConfigErrors([ConfigError(text, tree.file, line) for line, text in sorted(found)])


def problems_of(error: ValidationError, root: type[BaseModel], value: object) -> list[Problem]:
    """Return a validation's errors in the words that a reader of the file knows."""
    problems: list[Problem] = []
    for detail in error.errors(include_url=False)[:MAXIMUM_PROBLEMS]:
        path = _known(detail["loc"], value)
        problems.append((path, _message(detail, path, root)))
    return problems


def _known(location: Key, value: object) -> Key:
    """Drop what is not a key of the file: tags of unions and validators."""
    path: list[str | int] = []
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if isinstance(value, dict) and isinstance(part, str) and (part in value or last):
            value = value.get(part)
            path.append(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
            path.append(part)
    return tuple(path)


_KINDS: Final = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def _message(detail: ErrorDetails, path: Key, root: type[BaseModel]) -> str:
    kind, given = detail["type"], detail["input"]
    context: dict[str, Any] = detail.get("ctx", {})
    if kind == "missing":
        return f"`{detail['loc'][-1]}` is missing"
    if kind == "extra_forbidden":
        return _unknown_key(str(path[-1]), _keys(root, path[:-1]))
    if kind in _KINDS:
        return f"expected {_KINDS[kind]}, not {shown(given)}"
    if kind == "literal_error":
        choices = str(context.get("expected", "")).replace("'", "`").replace(" or ", ", ")
        return f"expected {'one of ' if ',' in choices else ''}{choices}, not {shown(given)}"
    if kind == "value_error":
        message = str(context.get("error", detail["msg"]))
        secret = message.startswith("expected a reference to a secret")
        return message if secret or ", not " in message else f"{message}, not {shown(given)}"
    if kind == "too_short":
        return "expected at least one entry; leave the key out to match everything"
    if kind == "string_pattern_mismatch":
        return f"expected a name like `{_example(context)}`, not {shown(given)}"
    text = detail["msg"].removeprefix("Input should be ").removeprefix("String should ")
    return f"expected {text[0].lower()}{text[1:]}, not {shown(given)}"


def _example(context: dict[str, Any]) -> str:
    return "agents-read" if "a-z0-9][a-z0-9-]" in str(context.get("pattern")) else "orders"


def shown(value: object) -> str:
    """Return a value as an error shows it: short, on one line."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    clean = "".join(character if character.isprintable() else "?" for character in text)
    return f"`{clean[:60]}...`" if len(clean) > 60 else f"`{clean}`"


def meant(word: str, known: Iterable[str]) -> str:
    """Return a guess at what a wrong word was meant to be, with a blank before it, or nothing."""
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""


def _unknown_key(key: str, known: list[str]) -> str:
    return (
        f"unknown key {shown(key)}{meant(key, known)}, expected one of {', '.join(sorted(known))}"
    )


def _keys(root: type[BaseModel], path: Key) -> list[str]:
    """Return the keys that the model at `path` knows."""
    annotation: Any = root
    for part in path:
        model = _model(annotation)
        if isinstance(part, int):
            continue
        if model is None:
            return []
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        if part in fields:
            annotation = fields[part].annotation
        # else: a key of a mapping, whose values are of the model that the annotation holds
    model = _model(annotation)
    if model is None:
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _model(annotation: Any) -> type[BaseModel] | None:
    """Return the one model inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in typing.get_args(annotation):
        model = _model(part)
        if model is not None:
            return model
    return None
