"""The closed set of facts: what policies can ask about a statement beyond verb and resources."""

from __future__ import annotations

from typing import Final

FACTS: Final[dict[str, str]] = {
    "advisory-lock": "takes or frees an advisory lock",
    "catalog": "reads the system catalogue (pg_catalog, information_schema)",
    "cursor": "opens, reads or closes a cursor",
    "destructive": "loses data or structure: DROP, TRUNCATE, ALTER that drops or converts, DETACH",
    "dynamic-sql": "runs SQL that stands in no grammar: DO, query_to_xml and family, dblink",
    "explain": "asks for a plan (planning can run functions)",
    "explain-analyze": "asks for a plan by running the statement",
    "intercepts": "makes, changes or switches a rule, trigger, event trigger or row policy",
    "large-object": "touches large objects",
    "lock": "locks rows or a table",
    "multi-statement": "stands in a text of several statements",
    "no-where": "UPDATE, DELETE or MERGE that no real condition on its table narrows",
    "notify": "sends a notification to other sessions",
    "other-sessions": "sees, cancels or ends other sessions of the server",
    "ownership": "changes the owner of something",
    "password": "sets or shows a password",
    "privilege": "gives or takes rights",
    "read-write": "asks for a transaction that may write, where the session may start read-only",
    "replaces": "CREATE OR REPLACE: may change what exists",
    "replication": "touches replication: slots, publications, subscriptions, origins",
    "role": "makes, changes, drops or takes on a role",
    "secret-catalog": "reads what the catalogue keeps of passwords, statistics or others' queries",
    "select-into": "makes a table of a query's rows",
    "server-administration": "changes the server itself: its configuration, log, WAL or statistics",
    "server-file": "reads or writes files of the server",
    "server-program": "runs a program on the server",
    "set-config": "sets a run-time setting",
    "temporary": "makes or drops a temporary relation",
    "two-phase": "prepares, commits or rolls back a prepared transaction",
    "unknown-function": "calls a function whose doing is not known",
    "unparsed": "was not understood by the grammar, or is over a limit",
    "unresolved": "names something that the catalogue does not know",
    "user-function": "calls a function that is not part of the server",
    "volatile-function": "calls a function whose result changes or that has effects",
    "weakens-gate": "changes a setting that the gateway relies on",
    "writable-cte": "writes inside a WITH clause",
    "writes-function": "calls a function that writes or changes the server",
}
"""Every fact that a classification can give, each with a sentence for the policy guide."""
