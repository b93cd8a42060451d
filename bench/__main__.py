"""`make bench`: one run, interleaved, medians; prints a table and writes JSON."""

from __future__ import annotations

import argparse
import functools
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import cases, statements
from bench.rig import Rig, Way, rig

Measure = Callable[[Rig, Way], dict[str, float]]

SELECT = "SELECT * FROM wide"
COPY = "COPY wide TO STDOUT"

_MAIL = "CASE WHEN id % {} = 0 THEN email ELSE 'mail of user ' || id || ' is unknown' END"
DATA = {
    name: f"SELECT id, {_MAIL.format(every)} AS email, token, amount, at FROM wide"
    for name, every in (("no hits", 10**9), ("every tenth row hits", 10), ("every row hits", 1))
}
STATEMENTS = statements.STATEMENTS


def plan(quick: bool) -> list[tuple[str, tuple[str, ...], int, Measure]]:
    """Return the cases: name, ways, repetitions, what to do."""
    seconds, repeat = (2, 1) if quick else (5, 3)
    found: list[tuple[str, tuple[str, ...], int, Measure]] = []
    for mode in ("prepared", "simple", "extended"):
        groups: list[tuple[str, tuple[str, ...], int]] = [
            (
                f"pgbench -S {mode}, {clients} clients",
                ("direct", "pgbouncer", "gateway", "compiled"),
                clients,
            )
            for clients in (1, 8, 32)
        ]
        secret = f"TLS to the client: pgbench -S {mode}, 8 clients"
        groups.append((secret, ("pgbouncer TLS", "gateway TLS", "compiled TLS"), 8))
        found += [
            (
                name,
                ways,
                repeat,
                functools.partial(cases.pgbench, mode=mode, clients=clients, seconds=seconds),
            )
            for name, ways, clients in groups
        ]
    kinds = ("counted", "", "masked")
    gateways = [f"{which} {kind}".strip() for which in ("gateway", "compiled") for kind in kinds]
    every = ("direct", "pgbouncer", *gateways)
    for name, sql in (("SELECT of 1,000,000 rows", SELECT), ("COPY of 1,000,000 rows", COPY)):
        found.append((name, every, repeat, functools.partial(cases.bulk, sql=sql)))
    found.append(
        (
            "COPY FROM STDIN of 1,000,000 rows",
            ("direct", "pgbouncer", "gateway counted", "gateway", "compiled counted", "compiled"),
            repeat,
            cases.copy_in,
        )
    )
    found.append(
        (
            "small query beside a bulk SELECT",
            ("direct", "pgbouncer", "gateway counted", "gateway masked", "compiled masked"),
            1,
            functools.partial(cases.beside, sql=SELECT),
        )
    )
    found.append(
        (
            "small query beside pipelines of small ones",
            ("direct", "pgbouncer", "gateway", "compiled"),
            1,
            functools.partial(cases.beside, sql=""),
        )
    )
    found += masked(seconds, repeat)
    idle = ("pgbouncer", "gateway", "gateway TLS", "compiled", "compiled TLS")
    found.append(("500 idle sessions", idle, 1, cases.idle))
    return found


def masked(seconds: int, repeat: int) -> list[tuple[str, tuple[str, ...], int, Measure]]:
    """Return the cases of masking, by how much is masked and how."""
    found: list[tuple[str, tuple[str, ...], int, Measure]] = []
    kinds = ("counted", "masked", "three masked", "all masked")
    ways = ("direct", *(f"{which} {kind}" for which in ("gateway", "compiled") for kind in kinds))
    for name, sql in (("SELECT", SELECT), ("COPY", COPY)):
        measure = functools.partial(cases.bulk, sql=sql)
        found.append((f"masking: {name}, one, three, all of five columns", ways, repeat, measure))
    few = ("direct", "gateway counted", "gateway masked", "compiled counted", "compiled masked")
    measure = functools.partial(cases.bulk, sql=f"{SELECT} WHERE email <> 'nobody'")
    found.append(("masking: SELECT, one column at the source", few, repeat, measure))
    searched = tuple(name.replace("masked", "detected") for name in few)
    for name, sql in DATA.items():
        for form, text in (("SELECT", sql), ("COPY", f"COPY ({sql}) TO STDOUT")):
            measure = functools.partial(cases.bulk, sql=text)
            found.append((f"masking: {form}, detectors, {name}", searched, repeat, measure))
    every = ("direct", "gateway", "gateway masked", "compiled", "compiled masked")
    for name, sql in STATEMENTS.items():
        for age, setting in (("new", "\\set n random(1, 1000000)"), ("known", "\\set n 7")):
            measure = functools.partial(
                cases.pgbench, mode="simple", clients=1, seconds=seconds, script=f"{setting}\n{sql}"
            )
            found.append((f"masking: a {age} text, {name}", every, repeat, measure))
        alone = functools.partial(statements.rewriting, name=name)
        found.append((f"masking: rewriting in one process, {name}", ("direct",), 1, alone))
    return found


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--quick", action="store_true", help="short runs, one of each")
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument("--interpreted", action="store_true", help="leave the compiled gateway out")
    given = parser.parse_args()
    console = Console()
    results: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="sallyport-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with rig(folder, compiled=not given.interpreted) as built:
            for case, ways, repeat, measure in plan(given.quick):
                if given.only not in case:
                    continue
                console.print(f"[dim]{case} ...[/dim]")
                results[case] = run(built, ways, repeat, measure)
                report(console, {case: results[case]})
    write(results)


def run(
    built: Rig, ways: tuple[str, ...], repeat: int, measure: Measure
) -> dict[str, dict[str, float]]:
    """Run one case over its ways, interleaved, and return the medians."""
    samples: dict[str, list[dict[str, float]]] = {}
    for _ in range(repeat):
        for name in ways:
            if name in built.ways:
                samples.setdefault(name, []).append(measure(built, built.ways[name]))
    return {
        name: {key: statistics.median(one[key] for one in many) for key in many[0]}
        for name, many in samples.items()
    }


def report(console: Console, results: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print a table: each figure, and its ratio to the first way that has one."""
    for case, ways in results.items():
        table = Table(title=case, title_justify="left")
        table.add_column("way")
        keys = list(dict.fromkeys(key for figures in ways.values() for key in figures))
        for key in keys:
            table.add_column(key, justify="right")
        for name, figures in ways.items():
            table.add_row(name, *(_cell(key, figures, list(ways.values())) for key in keys))
        console.print(table)


def _cell(key: str, figures: dict[str, float], ways: list[dict[str, float]]) -> str:
    found = figures.get(key)
    if found is None:
        return ""
    base = next((one for one in ways if one.get(key)), figures)
    ratio = f" ({found / base[key]:.2f}x)" if base is not figures and base.get(key) else ""
    return f"{found:.4g}{ratio}"


def write(results: dict[str, dict[str, dict[str, float]]]) -> None:
    """Write the results as JSON."""
    path = cases.folder_for_results() / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(
        json.dumps({"machine": platform.platform(), "results": results}, indent=1) + "\n"
    )
    print(f"written to {path}")


if __name__ == "__main__":
    main()
