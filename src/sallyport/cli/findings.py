"""`sallyport findings`: what detectors hid in columns that no mask names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from sallyport.cli.invocation import Invocation, command
from sallyport.cli.units import moment

COLUMNS = {
    "TARGET": "target",
    "DATABASE": "database",
    "COLUMN": "column",
    "DETECTOR": "detector",
    "HITS": "hits",
    "CELLS": "cells",
    "FIRST": "first",
    "LAST": "last",
    "LAST SUBJECT": "subject",
    "RULES": "rules",
}


def register(root: typer.Typer) -> None:
    """Add `findings` to the commands."""

    @command(
        root,
        "findings",
        examples=(
            "sallyport findings",
            "sallyport findings shop --since 7d",
            "sallyport findings shop --database archive --json",
        ),
    )
    def findings(
        call: Invocation,
        target: Annotated[
            str | None, typer.Argument(metavar="TARGET", help="Absent: of all targets.")
        ] = None,
        database: Annotated[
            str | None, typer.Option("--database", metavar="DB", help="In this database alone.")
        ] = None,
        since: Annotated[
            str | None, typer.Option("--since", help="Found since: like 2h (ago), or an ISO time.")
        ] = None,
        limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
    ) -> None:
        """Show what detectors hid in results, in columns that no mask rule names: how often, in
        how many cells, and when. No value is kept or shown.

        Each time that a cell is read counts. RULES are the mask rules that name the column now.
        """
        found = call.client.pages(
            "/findings", "findings", limit, target=target, database=database, since=moment(since)
        )
        if not call.as_json:
            found = [_readable(each) for each in found]
        call.output.table(found, COLUMNS, "no findings")


def _readable(finding: Mapping[str, Any]) -> dict[str, Any]:
    column = str(finding["column"])
    if not column:
        column = "(computed)"
    elif column == "*":
        column = "(others)"
    elif column.endswith(".*"):
        column = f"{column} (computed)"
    return {**finding, "column": column}
