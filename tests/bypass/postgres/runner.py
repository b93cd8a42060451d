"""Runs one case of the corpus: says what it says, then looks at what came of it.

A case is data: `as` whom, `send` what, `want` what: `refused` (by the gateway), `error` (anybody's),
`served` (no error at all), `hidden` (what is masked was masked where it was read: the gateway said
so, or refused) or `safe` (whatever the answer is). Always: nothing that the subject may
not change has changed, and no secret is in any byte that it was sent. `control` is the harmless
twin, which must be served.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from tests.bypass.postgres import wire, world
from tests.bypass.postgres.wire import Answer, Gone, Wire
from tests.bypass.postgres.world import World

CASES: Final = Path(__file__).parent / "cases"
_KEYS: Final = {
    "name", "as", "target", "startup", "send", "want", "control", "may_change", "policy", "after",
}  # fmt: skip
_WANTS: Final = ("refused", "error", "served", "hidden", "safe")
_STEPS: Final = {
    "sql", "args", "types", "bin", "statement", "portal", "rows", "undescribed", "raw", "copy",
    "on", "as", "policy", "direct", "want", "target", "ready",
}  # fmt: skip


def load(file: Path) -> list[dict[str, Any]]:
    """Return the cases of one file, with the file's defaults in each."""
    document = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    defaults = {name: value for name, value in document.items() if name in ("as", "want", "target")}
    cases = [{**defaults, **case} for case in document["cases"]]
    for case in cases:
        unknown = set(case) - _KEYS
        if unknown or case.get("want") not in _WANTS:
            raise ValueError(f"{file.name}: `{case['name']}` is no case: {unknown}")
    return cases


class Run:
    """One case in progress."""

    def __init__(self, world_: World, case: dict[str, Any], subject: str) -> None:
        self._world = world_
        self._case = case
        self._subject = subject
        self._sessions: dict[str, tuple[str, Wire]] = {}
        self.answers: list[Answer] = []
        self.gone = False

    def session(self, step: dict[str, Any]) -> Wire:
        """Return the session that a step names, opened at need."""
        name = step.get("on", "main")
        if name not in self._sessions:
            subject = step.get("as", self._subject)
            target = step.get("target", self._case.get("target", "db"))
            startup = self._case.get("startup", {}) if name == "main" else {}
            opened = self._world.connect(subject, target, **startup)
            self._sessions[name] = (subject, opened)
        return self._sessions[name][1]

    def all(self, steps: Any) -> None:
        """Take every step. A session that was ended answers nothing more."""
        try:
            for step in self._world.fill(steps if isinstance(steps, list) else [steps]):
                self.step({"sql": step, "simple": True} if isinstance(step, str) else step)
        except Gone as gone:
            self.gone = True
            if len(gone.args) > 1:
                self.answers += gone.args[1]

    def step(self, step: dict[str, Any]) -> None:
        """Take one step."""
        unknown = set(step) - _STEPS - {"simple"}
        if unknown:
            raise ValueError(f"unknown keys in a step: {unknown}")
        if "policy" in step:
            self._world.reload(policy(step["policy"]))
            return
        if "direct" in step:
            self._world.direct.execute(step["direct"].encode())
            return
        session = self.session(step)
        if "raw" in step:
            data = b"".join(message(*part) for part in map(_words, step["raw"]))
            ready = sum(_answered(_words(part)) for part in step["raw"])
            ready = step.get("ready", ready)
        elif step.get("simple") or "copy" in step:
            data, ready = wire.query(step["sql"]), 1
        else:
            data, ready = extended(step), 1
        session.send(data)
        answers = session.until_ready(ready, copy="raw" not in step) if ready else session.quiet()
        if answers and answers[-1].kind == "G" and "raw" not in step:
            rest = str(step.get("copy", "")).encode()
            session.send(wire.message("d", rest) + wire.COPY_DONE if rest else wire.COPY_DONE)
            if not step.get("simple") and "copy" not in step:
                session.send(wire.SYNC)
            answers += session.until_ready()
        self.answers += answers
        wanted = step.get("want")
        if wanted:
            complaint = judge(wanted, answers, gone=False)
            if complaint:
                raise AssertionError(f"step {step}: {complaint}")

    def finish(self) -> None:
        """Commit what is open, so that nothing hides in a transaction, and leave."""
        for _, session in self._sessions.values():
            try:
                session.send(wire.SYNC + wire.query("commit"))
                session.until_ready(1)
                session.quiet(0.001)
            except Gone:
                pass
            session.close()

    def leaks(self) -> list[bytes]:
        """Return the secrets that any session of the case was sent, but for its own words."""
        own = str(self._case["send"]).encode().lower()
        found: list[bytes] = []
        for subject, session in self._sessions.values():
            found += world.leaked(bytes(session.seen), subject)
        if self._case["want"] == "hidden":
            found = [form for form in found if form not in own]
        return found


def judge(want: str, answers: list[Answer], *, gone: bool) -> str:
    """Return what is wrong with the answers; empty: nothing."""
    errors = [answer.fields for answer in answers if answer.kind == "E"]
    if want == "safe":
        return ""
    if want == "served":
        return f"not served: {errors or 'the session ended'}" if errors or gone else ""
    if want == "hidden":
        said = any(answer.kind == "N" and b"masked here: " in answer.body for answer in answers)
        return "" if said or any(_ours(fields) for fields in errors) else "nothing was masked"
    if not errors and not gone:
        return f"nothing was refused: {[(a.kind, a.body[:200]) for a in answers]}"
    if want == "refused" and not any(_ours(fields) for fields in errors):
        return f"the gateway let it through: {errors}"
    return ""


def _ours(fields: dict[str, str]) -> bool:
    return fields.get("R", "") == "" and fields.get("F", "") == ""


def policy(name: str) -> list[dict[str, Any]]:
    """Return the policy, or one with more: `masking:GROUP`, `closing:TABLE`, `holding:TABLE`,
    `denying:VERB,...`."""
    kind, _, rest = name.partition(":")
    if kind == "masking":
        mask = next(rule for rule in world.RULES if rule["name"] == "mask")
        more = {**mask, "name": "mask-more", "subjects": {"groups": [rest]}}
        return [*world.RULES, more]
    if kind == "closing":
        more = {
            "name": "close-more",
            "effect": "deny",
            "operations": {"resources": {"table": [rest]}},
        }
        return [*world.RULES, more]
    if kind == "holding":
        more = {
            "name": "hold-more",
            "effect": "hold",
            "operations": {"resources": {"table": [rest]}},
            "hold": {"approvers": ["dba"], "ticket": True},
        }
        return [*world.RULES, more]
    if kind == "denying":
        more = {"name": "deny-verbs", "effect": "deny", "operations": {"verbs": rest.split(",")}}
        return [*world.RULES, more]
    if kind != "usual":
        raise ValueError(f"no such policy: {name}")
    return world.RULES


def extended(step: dict[str, Any]) -> bytes:
    """Return Parse, Bind, Describe, Execute and Sync."""
    arguments = step.get("args", [])
    parts = [
        wire.parse(step.get("statement", ""), step["sql"], step.get("types", [])),
        wire.bind(
            step.get("portal", ""),
            step.get("statement", ""),
            [None if a is None else str(a) for a in arguments],
            [1] if step.get("bin") else [],
        ),
    ]
    if not step.get("undescribed"):
        parts.append(wire.describe("P", step.get("portal", "")))
    parts += [wire.execute(step.get("portal", ""), step.get("rows", 0)), wire.SYNC]
    return b"".join(parts)


def _words(part: Any) -> list[Any]:
    return [part] if isinstance(part, str) else list(part)


def _answered(part: list[Any]) -> int:
    """How many ReadyForQuery a message is answered with."""
    return int(part[0] in ("sync", "query", "function"))


def message(kind: str, *rest: Any) -> bytes:
    """Return one message of a `raw` step: its kind, then what `wire` takes for it."""
    if kind == "bytes":
        return bytes.fromhex(rest[0])
    if kind == "data":
        return wire.message("d", str(rest[0]).encode())
    plain = {"sync": wire.SYNC, "flush": wire.FLUSH, "done": wire.COPY_DONE}
    if kind in plain:
        return plain[kind]
    makers = {
        "query": wire.query,
        "parse": wire.parse,
        "bind": wire.bind,
        "describe": wire.describe,
        "execute": wire.execute,
        "close": wire.close,
        "function": wire.function_call,
    }
    made: bytes = makers[kind](*rest)  # type: ignore[operator]
    return made


def changed(before: dict[str, Any], after: dict[str, Any], allowed: list[str]) -> list[str]:
    """Return what differs, but for the tables that a case may change."""
    names = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    return sorted(n for n in names if not any(f'."{table}"' in n for table in allowed))
