"""Write `docs/api.md` and `docs/cli.md` from the API's own schema and the command line's own help.

python tools/write_interface_reference.py          write both
python tools/write_interface_reference.py --check  exit 1 when one is out of step
"""

from __future__ import annotations

import inspect
import json
import sys
import typing
from pathlib import Path
from typing import Any, cast

import typer

from sallyport.cli.commands import app as commands
from sallyport.cli.invocation import PANEL
from sallyport.web.app import DESCRIPTION, TAGS, create_routes, openapi
from sallyport.web.services import WebServices

DOCS = Path(__file__).resolve().parent.parent / "docs"

API_HEAD = f"""\
# API reference

{DESCRIPTION}

`GET /api/v1/openapi.json` answers the whole description, to anybody with a token. Roles: an
*admin* changes things, an *auditor* sees all, an *approver* answers what one of their groups is
asked. Everybody sees who they are, and the approvals that they asked for themselves.

An error looks like this; `hint` says what to do next:

```json
{{"type": "about:blank", "title": "Forbidden", "status": 403,
 "detail": "this needs the role admin", "hint": "`sallyport whoami` shows the roles you have"}}
```

On loopback only loopback's own names are taken as `Host`. No proxy header is believed. A stream
(`tail`, `events`, `watch`) looks at its token every two seconds and ends with
`{{"type": "ended", ...}}` when that was revoked; `{{"type": "dropped", "count": ...}}` tells a slow
reader how much it missed.
"""

CLI_HEAD = """\
# Command reference

The command line speaks to the API, but for `serve`, `check`, `demo` and `verify`.

| what | how |
|---|---|
| the API's address | `--url`, or `SALLYPORT_URL`; else `http://127.0.0.1:8642` |
| the token | `--token-file`, `SALLYPORT_TOKEN`, `SALLYPORT_TOKEN_FILE`; all can see `--token` |
| without one | the login that `sallyport login` keeps for that address |
| output for programs | `--json`: one object, or one a line for lists and streams |
| colour | on a terminal only, and not with `NO_COLOR` |

These options stand before or after the command. The first `sallyport serve` writes an admin token
to `admin.token` (0600) in its state folder: `export SALLYPORT_TOKEN_FILE=state/admin.token`.
`sallyport --install-completion` completes commands in your shell.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the API cannot be reached, 130 Ctrl-C.
Errors go to stderr and say what to do next. Whatever was recorded is made visible before it is
printed: a recorded byte cannot draw on your terminal. Plain `http` is refused off loopback, no
redirect is followed, and no proxy of the environment is used.
"""


def api_reference() -> str:
    """Return docs/api.md."""
    document = openapi(create_routes(cast(WebServices, None)))
    parts = [API_HEAD]
    for tag in TAGS:
        parts.append(f"## {str(tag['name']).capitalize()}\n\n{tag['description']}\n")
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    parts.append(_operation(document, method, path, operation))
    return "\n".join(parts)


def _operation(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"### {method.upper()} {path}", "", operation.get("description", "").strip(), ""]
    parameters = operation.get("parameters", [])
    if parameters:
        lines += ["| parameter | type | |", "|---|---|---|"]
        for each in parameters:
            words = each.get("description") or each["schema"].get("description", "")
            kind = _type(each["schema"]).replace("|", "\\|")
            required = "required" if each.get("required") and each["in"] == "query" else ""
            note = "; ".join(part for part in (each["in"], required, words) if part)
            lines.append(f"| `{each['name']}` | {kind} | {note} |")
        lines.append("")
    body = operation.get("requestBody")
    if body:
        ((media, content),) = body["content"].items()
        schema = content["schema"]
        model = _resolve(document, schema) if "$ref" in schema else schema
        form = "" if media == "application/json" else f", `{media}`"
        lines += [f"Body{form}:", "", *_fields(model)]
        if examples := model.get("examples"):
            lines += ["```json", json.dumps(examples[0]), "```", ""]
    for status, response in operation["responses"].items():
        schema = response.get("content", {}).get("application/json", {}).get("schema")
        if status.startswith("2") and schema and "$ref" in schema:
            lines += [f"Answers {status}:", "", *_fields(_resolve(document, schema))]
    refusals = [status for status in operation["responses"] if not status.startswith("2")]
    if refusals:
        lines += [f"Refusals: {', '.join(sorted(refusals))}.", ""]
    return "\n".join(lines)


def _fields(model: dict[str, Any]) -> list[str]:
    if not model.get("properties"):
        return ["nothing", ""]
    lines = ["| field | type | |", "|---|---|---|"]
    required = model.get("required", [])
    for name, schema in model["properties"].items():
        words = [] if name in required else ["optional"]
        words += [schema["description"]] if "description" in schema else []
        kind = _type(schema).replace("|", "\\|")
        lines.append(f"| `{name}` | {kind} | {'; '.join(words)} |")
    return [*lines, ""]


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        kinds = [_type(each) for each in schema["anyOf"]]
        return " | ".join(kind for kind in kinds if kind != "null")
    if "enum" in schema:
        return " | ".join(f"`{each}`" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def _resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][_type(schema)]
    return found


def cli_reference() -> str:
    """Return docs/cli.md."""
    parts = [CLI_HEAD]
    parts += [_command("", command) for command in commands.registered_commands]
    for group in commands.registered_groups:
        typed = cast(typer.Typer, group.typer_instance)
        parts.append(f"## {typed.info.name}\n\n{typed.info.help}\n")
        parts += [_command(f"{typed.info.name} ", each) for each in typed.registered_commands]
    return "\n".join(parts)


def _command(prefix: str, command: Any) -> str:
    function = command.callback
    level = "###" if prefix else "##"
    signature = inspect.signature(function)
    rows: list[str] = []
    usage = [f"sallyport {prefix}{command.name}"]
    for parameter in signature.parameters.values():
        info = typing.get_args(parameter.annotation)[1]
        if info.rich_help_panel == PANEL:
            continue
        required = parameter.default is inspect.Parameter.empty
        words = (info.default, *(info.param_decls or ()))
        names = [word for word in words if isinstance(word, str) and word.startswith("-")]
        if not names:  # an argument, not an option
            name = info.metavar
            usage.append(name if required else f"[{name}]")
        else:
            name = ", ".join(names)
            if required:
                usage.append(f"{names[0]} {info.metavar}")
        rows.append(f"| `{name}` | {info.help or ''}{_default(parameter)} |")
    lines = [f"{level} {prefix}{command.name}", "", f"`{' '.join(usage)}`", ""]
    lines += [inspect.cleandoc(function.__doc__ or ""), ""]
    if rows:
        lines += ["| argument | |", "|---|---|", *rows, ""]
    if command.epilog:
        examples = [line.strip() for line in command.epilog.splitlines()[2:]]
        lines += ["```sh", *examples, "```", ""]
    return "\n".join(lines)


def _default(parameter: inspect.Parameter) -> str:
    value = parameter.default
    if isinstance(value, bool) or value in (None, "") or value is inspect.Parameter.empty:
        return ""
    return f" (default `{value:g}`)" if isinstance(value, float) else f" (default `{value}`)"


def main(arguments: list[str]) -> int:
    """Write the pages, or check them; return the exit code."""
    pages = {DOCS / "api.md": api_reference(), DOCS / "cli.md": cli_reference()}
    behind = [
        path
        for path, text in pages.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in arguments:
        for path in behind:
            sys.stderr.write(f"{path.name} is out of step: run {Path(__file__).name}\n")
        return 1 if behind else 0
    for path in behind:
        path.write_text(pages[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
