"""Statements about the session itself: transactions, settings, prepared statements, cursors."""

from __future__ import annotations

from typing import Final

from sallyport.core.operation import Effect
from sallyport.sql import set_config, tree
from sallyport.sql.draft import Draft
from sallyport.sql.expression import show_setting
from sallyport.sql.session import ON
from sallyport.sql.settings import READ_ONLY, judge_setting
from sallyport.sql.statement import Change, Setting
from sallyport.sql.tree import Fields, Node

_TRANSACTIONS: Final = {
    "TRANS_STMT_BEGIN": ("begin", "begin"),
    "TRANS_STMT_START": ("begin", "begin"),
    "TRANS_STMT_COMMIT": ("commit", "commit"),
    "TRANS_STMT_ROLLBACK": ("rollback", "rollback"),
    "TRANS_STMT_SAVEPOINT": ("savepoint", "savepoint"),
    "TRANS_STMT_RELEASE": ("release", "release"),
    "TRANS_STMT_ROLLBACK_TO": ("rollback", "rollback-to"),
    "TRANS_STMT_PREPARE": ("prepare-transaction", "commit"),
    "TRANS_STMT_COMMIT_PREPARED": ("commit-prepared", ""),
    "TRANS_STMT_ROLLBACK_PREPARED": ("rollback-prepared", ""),
}
_WITH_HOLD: Final = 0x20


def transaction(draft: Draft, kind: str, fields: Fields) -> None:
    """BEGIN to ROLLBACK PREPARED."""
    wanted = tree.text(fields, "kind")
    draft.verb, change = _TRANSACTIONS.get(wanted, ("unknown", ""))
    if draft.verb == "unknown":
        draft.add("statement", wanted, Effect.UNKNOWN, "unparsed")
        return
    if change:
        name, chain = tree.text(fields, "savepoint_name"), tree.flag(fields, "chain")
        draft.change = Change(change, name=name, chain=chain)
    if draft.verb in ("prepare-transaction", "commit-prepared", "rollback-prepared"):
        draft.add("transaction", tree.text(fields, "gid"), Effect.WRITE, "two-phase")
        draft.touches_catalogue = draft.verb == "commit-prepared"
    _modes(draft, tree.nodes(fields, "options"))


def _modes(draft: Draft, options: list[Node]) -> None:
    for node in options:
        option = tree.body(node)
        name = tree.text(option, "defname")
        if name == "transaction_read_only":
            value = tree.constant(tree.child(option, "arg")) or "0"
            values = ("on",) if value.lower() in ON else ("off",)
            judged = judge_setting(name, values)
            if judged.effect is not Effect.READ:
                draft.add("setting", name, judged.effect, *judged.facts)


def set_(draft: Draft, kind: str, fields: Fields) -> None:
    """SET and RESET in all their forms."""
    form = tree.text(fields, "kind")
    name = tree.text(fields, "name").lower()
    if form == "VAR_RESET_ALL":
        draft.verb = "reset"
        draft.add("setting", "*", Effect.READ, "set-config")
        draft.change = Change("reset-all")
        return
    if form == "VAR_SET_MULTI":
        _set_several(draft, name, tree.nodes(fields, "args"))
        return
    default = form in ("VAR_SET_DEFAULT", "VAR_RESET")
    values: tuple[str, ...] | None = None
    if form == "VAR_SET_VALUE":
        given = [tree.constant(node) for node in tree.nodes(fields, "args")]
        known = tuple(value for value in given if value is not None)
        values = known if len(known) == len(given) else None
    judged = judge_setting(name, values, default=default)
    role = name in ("role", "session_authorization")
    draft.verb = "reset" if form == "VAR_RESET" else "set-role" if role else "set"
    draft.add("setting", name, judged.effect, *judged.facts)
    if role and not default:
        draft.add("role", values[0] if values else "default", Effect.ADMIN)
    local = tree.flag(fields, "is_local")
    if form == "VAR_SET_CURRENT":
        return
    draft.change = Change("set", settings=(Setting(name, values, default, local),))


def _set_several(draft: Draft, name: str, arguments: list[Node]) -> None:
    """SET TRANSACTION, SET SESSION CHARACTERISTICS AS TRANSACTION."""
    draft.verb = "set"
    session = name == "session characteristics"
    prefix = "default_" if session else ""
    for node in arguments:
        option = tree.body(node)
        defined = tree.text(option, "defname")
        if tree.tag(node) == "A_Const" or not defined:
            draft.add("setting", "transaction_snapshot", Effect.READ, "set-config")
            continue
        setting = prefix + defined
        value = tree.constant(tree.child(option, "arg")) or "0"
        values = (value,)
        if setting in READ_ONLY:
            values = ("on",) if value.lower() in ON else ("off",)
        judged = judge_setting(setting, values)
        draft.add("setting", setting, judged.effect, *judged.facts)


def show(draft: Draft, kind: str, fields: Fields) -> None:
    """SHOW."""
    draft.verb = "show"
    draft.returns_rows = True
    name = tree.text(fields, "name")
    if name == "all":
        draft.add("setting", "*", Effect.READ)
    else:
        show_setting(name, draft.scope())


def discard(draft: Draft, kind: str, fields: Fields) -> None:
    """DISCARD."""
    draft.verb = "discard"
    target = tree.text(fields, "target")
    change = {"DISCARD_ALL": "discard-all", "DISCARD_TEMP": "discard-temp"}.get(target)
    draft.change = Change(change) if change else None


def prepare(draft: Draft, kind: str, fields: Fields) -> None:
    """PREPARE: carries what the statement will do."""
    for node in tree.nodes(fields, "argtypes"):
        draft.expressions.type(tree.body(node), draft.scope())
    draft.nested_statement(tree.child(fields, "query") or {})
    draft.account.settings.clear()
    draft.verb = "prepare"
    draft.returns_rows = False
    name = tree.text(fields, "name")
    draft.change = Change("prepare", name=name, text=draft.text, epoch=draft.names.epoch)


def execute(draft: Draft, kind: str, fields: Fields) -> None:
    """EXECUTE: what was prepared, as its names resolve now."""
    name = tree.text(fields, "name")
    draft.expressions.walk_all(tree.nodes(fields, "params"), draft.scope())
    state = draft.names.state
    draft.names.wary |= state.prepared_age(name) != state.age(draft.names.epoch)
    _again(draft, name, state.prepared_text(name), "statement")
    draft.verb = "execute"
    draft.reads = name


def deallocate(draft: Draft, kind: str, fields: Fields) -> None:
    """DEALLOCATE."""
    draft.verb = "deallocate"
    name = tree.text(fields, "name")
    draft.add("statement", name or "*", Effect.READ)
    draft.change = Change("deallocate", name=name) if name else Change("deallocate-all")


def declare(draft: Draft, kind: str, fields: Fields) -> None:
    """DECLARE: carries what its query reads."""
    draft.nested_statement(tree.child(fields, "query") or {})
    set_config.undecided(draft)  # it runs when it is read, or at COMMIT
    draft.verb = "declare"
    draft.returns_rows = False
    draft.facts("cursor")
    name = tree.text(fields, "portalname")
    draft.add("cursor", name, Effect.READ)
    hold = bool(tree.number(fields, "options") & _WITH_HOLD)
    epoch = draft.names.epoch
    draft.change = Change("declare", name=name, text=draft.text, epoch=epoch, hold=hold)


def fetch(draft: Draft, kind: str, fields: Fields) -> None:
    """FETCH and MOVE: what the cursor's query reads."""
    name = tree.text(fields, "portalname")
    state = draft.names.state
    draft.names.wary |= state.cursor_age(name) != state.age(draft.names.epoch)
    _again(draft, name, state.cursor_text(name), "cursor")
    draft.verb = "fetch"
    draft.reads = name
    draft.facts("cursor")
    draft.add("cursor", name, Effect.READ)
    draft.returns_rows = not tree.flag(fields, "ismove")


def _again(draft: Draft, name: str, text: str | None, kind: str) -> None:
    """Take in the statement that was prepared or declared under a name."""
    parsed = () if text is None else draft.parse(text)
    if len(parsed) != 1:
        draft.account.unknown(kind, name)
        return
    draft.runs = text or ""
    node = parsed[0].node
    if tree.tag(node) in ("PrepareStmt", "DeclareCursorStmt"):
        node = tree.child(tree.body(node), "query") or {}
    draft.nested_statement(node)
    if kind == "cursor":
        set_config.undecided(draft)  # FETCH 0 runs nothing


def close(draft: Draft, kind: str, fields: Fields) -> None:
    """CLOSE."""
    draft.verb = "close"
    draft.facts("cursor")
    name = tree.text(fields, "portalname")
    draft.add("cursor", name or "*", Effect.READ)
    draft.change = Change("close", name=name) if name else Change("close-all")


def notify(draft: Draft, kind: str, fields: Fields) -> None:
    """NOTIFY."""
    draft.verb = "notify"
    draft.add("channel", tree.text(fields, "conditionname"), Effect.WRITE, "notify")


def listen(draft: Draft, kind: str, fields: Fields) -> None:
    """LISTEN and UNLISTEN."""
    draft.verb = "listen" if kind == "ListenStmt" else "unlisten"
    draft.add("channel", tree.text(fields, "conditionname") or "*", Effect.READ)


def do(draft: Draft, kind: str, fields: Fields) -> None:
    """DO: code that nobody reads here."""
    language = "plpgsql"
    for node in tree.nodes(fields, "args"):
        if tree.text(tree.body(node), "defname") == "language":
            language = tree.constant(tree.child(tree.body(node), "arg")) or "?"
    draft.verb = "do"
    draft.add("language", language, Effect.UNKNOWN, "dynamic-sql")
    draft.change = Change("opaque", opaque=True)
    draft.touches_catalogue = True


def call(draft: Draft, kind: str, fields: Fields) -> None:
    """CALL."""
    draft.verb = "call"
    draft.returns_rows = True
    draft.expressions.walk({"FuncCall": tree.struct(fields, "funccall")}, draft.scope())
    draft.change = Change("opaque", opaque=True)
    draft.touches_catalogue = True


def constraints(draft: Draft, kind: str, fields: Fields) -> None:
    """SET CONSTRAINTS."""
    draft.verb = "set-constraints"
    draft.add("constraint", "*", Effect.WRITE)


def load(draft: Draft, kind: str, fields: Fields) -> None:
    """LOAD."""
    draft.verb = "load"
    draft.add("file", tree.text(fields, "filename"), Effect.ADMIN, "server-file")


def checkpoint(draft: Draft, kind: str, fields: Fields) -> None:
    """CHECKPOINT."""
    draft.verb = "checkpoint"
    draft.add("database", draft.names.state.database, Effect.ADMIN)
