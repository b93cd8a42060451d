"""Derive the candidates for the list of pure built-in functions from a live server.

    python tools/derive_functions.py URI [URI ...]

Prints the built-in names that neither `functions.json` nor this tool's own rules know: each is to
be reviewed and written into one of the file's lists. `--write` adds the candidates to `pure`. A
candidate is a built-in all of whose overloads are immutable or stable and which takes and gives
no internal type: what may change, reveal or run something in spite of that stands in the file's
other lists, which come first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psycopg

DATA = Path(__file__).parent.parent / "src" / "sallyport" / "sql" / "functions.json"

CANDIDATES = """
select p.proname::text from pg_catalog.pg_proc p
where p.pronamespace = 'pg_catalog'::regnamespace and p.oid < 16384
group by p.proname
having bool_and(p.provolatile in ('i', 's') and p.prokind in ('f', 'a', 'w')
    and p.prolang in (12, 13, 14)
    and not (p.proargtypes::oid[] && array[2275, 2281]::oid[])
    and p.prorettype not in (2275, 2279, 2280, 2281, 3838, 3115, 325, 3310, 269))
order by 1
"""
OTHERS = """
select p.proname::text from pg_catalog.pg_proc p
where p.pronamespace = 'pg_catalog'::regnamespace and p.oid < 16384
group by p.proname
having not bool_and(p.proargtypes::oid[] && array[2275, 2281]::oid[]
    or p.prorettype in (2275, 2279, 2280, 2281, 3838, 3115, 325, 3310, 269))
order by 1
"""


def main(arguments: list[str]) -> int:
    """Compare the servers' functions with the reviewed lists."""
    uris = [argument for argument in arguments if argument != "--write"]
    data = json.loads(DATA.read_text())
    reviewed = {name for key, names in data.items() if key != "pure" for name in names}
    candidates: set[str] = set()
    others: set[str] = set()
    for uri in uris:
        with psycopg.connect(uri) as connection:
            candidates.update(row[0] for row in connection.execute(CANDIDATES).fetchall())
            others.update(row[0] for row in connection.execute(OTHERS).fetchall())
    pure = candidates - reviewed
    if "--write" in arguments:
        data["pure"] = sorted(pure | set(data["pure"]))
        DATA.write_text(json.dumps(data, indent=1) + "\n")
    new = sorted(pure - set(data["pure"]))
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
