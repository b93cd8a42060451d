"""`sallyport discover` and `sallyport masks`: what to mask, and what stands round the masks."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from sallyport.cli.errors import USAGE, CommandError
from sallyport.cli.invocation import Invocation, command
from sallyport.core.visible import counted

app = typer.Typer(name="masks", no_args_is_help=True, help="Check what masks cover.")

Target = Annotated[str, typer.Argument(metavar="TARGET", help="A target's name.")]
Database = Annotated[
    str, typer.Option("--database", metavar="DB", help="Absent: the target's own.")
]
Json = Mapping[str, Any]


def register(root: typer.Typer) -> None:
    """Add `discover` to the commands."""

    @command(
        root,
        "discover",
        examples=(
            "sallyport discover shop",
            "sallyport discover shop --rows 1000 > found.yaml",
            "sallyport discover shop --database archive --json",
        ),
    )
    def discover(
        call: Invocation,
        target: Target,
        database: Database = "",
        rows: Annotated[
            int, typer.Option("--rows", metavar="N", help="Of each relation: 1 to 2000.")
        ] = 200,
    ) -> None:
        """Sample a target's columns, and propose mask rules for what detectors and tags in
        comments (`pii.email`, `pci.card`, `secret`) find. No value is shown.

        Tables and materialized views are read by the target's own login, read-only. The output
        can stand under `policy: rules:`; what was found is in its comments.
        """
        if not 1 <= rows <= 2000:
            raise CommandError("`--rows` is between 1 and 2000", code=USAGE)
        answer = _pages(call, target, "discover", {"database": database, "rows": rows})
        rules = proposals(target, answer["found"])
        if call.as_json:
            call.output.json({**answer, "rules": rules})
            return
        for found in answer["found"]:
            call.output.line(f"# {_sentence(found)}")
        _tell_unread(call, answer, "# ")
        call.output.line(
            f"# {counted(len(answer['found']), 'finding')} in {counted(answer['done'], 'relation')}"
        )
        call.output.block(as_yaml(rules))


@command(
    app,
    "check",
    examples=(
        "sallyport masks check shop",
        "sallyport masks check shop --waive 'public.archive.*' --json",
        "sallyport masks check shop --setup-sql agent > setup.sql",
    ),
)
def check(
    call: Invocation,
    target: Target,
    database: Database = "",
    waive: Annotated[
        list[str] | None,
        typer.Option("--waive", metavar="GLOB", help="Names to say nothing of. May be repeated."),
    ] = None,
    setup_sql: Annotated[
        str,
        typer.Option(
            "--setup-sql", metavar="ROLE", help="Print SQL of a login that sees masked views alone."
        ),
    ] = "",
) -> None:
    """Look for what stands round a target's masks: copies of masked columns, indexes and
    partitions by them, functions called like the server's, views and columns that masking refuses.

    Exit code 1 when anything is found that is not waived, or could not be read.
    """
    from sallyport.cli.client import path

    if setup_sql:
        body = {"role": setup_sql, "database": database}
        sql = call.client.post(path("targets", target, "masks", "setup"), body)["sql"]
        if call.as_json:
            call.output.json({"sql": sql})
        else:
            call.output.block(sql)
        return
    waived = _globs(waive or ())
    answer = _pages(call, target, "masks", {"database": database})
    everything = answer["found"]
    answer["found"] = [each for each in everything if not waived(each["name"])]
    good = not answer["found"] and not answer["unread"]
    if call.as_json:
        call.output.json({**answer, "good": good})
    else:
        _tell(call, answer, len(everything) - len(answer["found"]))
    if not good:
        raise typer.Exit(1)


def _tell(call: Invocation, answer: Json, left_out: int) -> None:
    """Say what a check found. `left_out`: findings that `--waive` says nothing of."""
    for found in answer["found"]:
        call.output.line(f"{found['kind']}: {found['text']}", "yellow")
        call.output.line(f"    {found['remedy']}")
    _tell_unread(call, answer, "")
    call.output.line(
        f"{counted(len(answer['found']), 'finding')} round "
        f"{counted(answer['masked'], 'masked column')}, {counted(answer['done'], 'relation')} read"
    )
    if left_out:
        call.output.line(
            f"{counted(left_out, 'finding')} left out by --waive: for good, and for "
            "`checked: true`, name them in the target's `masks: waive:`"
        )
    if answer["passed"]:
        call.output.line("passed for the masks in force", "green")


def _pages(call: Invocation, target: str, what: str, body: dict[str, object]) -> dict[str, Any]:
    """Return all pages of a survey as one; on a terminal, stderr tells how far it is."""
    from sallyport.cli.client import path

    whole: dict[str, Any] = {}
    after, found, unread, passed = 0, [], [], False
    shown = sys.stderr.isatty()
    while True:
        page = call.client.post(path("targets", target, what), {**body, "after": after})
        whole = {**page, "masked": max(page.get("masked", 0), whole.get("masked", 0))}
        found += page["found"]
        unread += page["unread"]
        passed = page.get("passed", False)
        if shown:
            sys.stderr.write(f"\r{int(page['done'])} of {int(page['relations'])} relations ")
            sys.stderr.flush()
        if page["next"] <= after:
            break
        after = page["next"]
    if shown:
        sys.stderr.write("\n")
    del whole["next"]
    if "masked" not in page:
        del whole["masked"]
    else:
        whole["passed"] = passed
    return {**whole, "found": found, "unread": unread}


def proposals(target: str, found: Iterable[Json]) -> list[dict[str, Any]]:
    """Return mask rules, a transform each, for the columns that findings propose.

    Where two of one column propose different ones, redact counts: it leaves less.
    """
    chosen: dict[str, str] = {}
    for each in found:
        if each["proposed"] and chosen.get(each["glob"]) != "redact":
            chosen[each["glob"]] = each["proposed"]
    word = re.sub(r"[^a-z0-9]+", "-", target.lower()).strip("-")[:40]
    return [
        {
            "name": f"discovered-{word}-{transform}",
            "effect": "mask",
            "targets": {"names": [target]},
            "mask": {
                "columns": sorted(glob for glob, one in chosen.items() if one == transform),
                "transform": transform,
            },
        }
        for transform in sorted(set(chosen.values()))
    ]


def as_yaml(rules: Sequence[Json]) -> str:
    """Return mask rules as YAML. Names are quoted, with what would not be seen as escapes."""
    if not rules:
        return "# nothing to propose"
    lines = []
    for rule in rules:
        lines += [
            f"- name: {rule['name']}",
            "  effect: mask",
            f"  targets: {{names: [{_quoted(rule['targets']['names'][0])}]}}",
            "  mask:",
            "    columns:",
            *(f"      - {_quoted(glob)}" for glob in rule["mask"]["columns"]),
            f"    transform: {rule['mask']['transform']}",
        ]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """Return a double-quoted scalar of YAML, in ASCII."""
    inner = (
        f"\\U{ord(each):08X}" if ord(each) > 0xFFFF else json.dumps(each)[1:-1] for each in text
    )
    return '"' + "".join(inner).replace("\x7f", "\\u007f") + '"'


def _sentence(found: Json) -> str:
    column = f"{found['relation']}.{found['column']}"
    if found["source"] == "comment":
        said = f"{column}: its comment says {found['what']}"
    else:
        said = f"{column}: {found['hits']} of {found['rows']} rows hold {_article(found['what'])}"
    covered = {"column": "; masked by a rule", "content": "; a rule's detector hides these"}
    return said + covered.get(found["covered"], "")


def _article(what: str) -> str:
    article = "an" if what[:1] in "aeio" or what in ("ssn", "nir", "nrn") else "a"
    return f"{article} {what}"


def _tell_unread(call: Invocation, answer: Json, before: str) -> None:
    for name in answer["unread"]:
        call.output.line(f"{before}not read (no right, a lock, or too slow): {name}", "yellow")


def _globs(patterns: Sequence[str]) -> Any:
    from sallyport.core.globs import Globs

    try:
        return Globs(patterns).matches
    except ValueError as error:
        raise CommandError(str(error), code=USAGE) from None
