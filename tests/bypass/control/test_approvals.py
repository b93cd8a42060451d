"""Class 55: what is approved is what runs, once, by somebody else's word, in its time."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from sallyport.cli.client import Client, path
from sallyport.cli.errors import CommandError
from sallyport.demo.server import EmbeddedPostgres
from sallyport.protocols.postgres.endpoint import FRESH
from tests.bypass.postgres import wire
from tests.bypass.postgres.wire import Answer, Gone, Wire
from tests.support.gateway import EVERYTHING, Gateway
from tests.support.processes import kill, wait_for

DATABASE = "approvals"
TABLES = """
drop schema public cascade; drop schema if exists other2 cascade;
create schema other2; grant all on schema other2 to app;
create schema public; grant all on schema public to app;
set role app;
create table orders (id int primary key, note text);
create table vault (id int primary key, note text);
create view shown as select * from orders;
create schema other;
create table other.orders (id int primary key, note text);
"""
ROWS = """
truncate orders, vault, other.orders;
insert into orders values (1, 'one'), (2, 'two');
insert into vault values (1, 'sealed'), (2, 'sealed');
insert into other.orders values (1, 'elsewhere');
"""
TABLES += ROWS + "comment on table orders is 'orders'; comment on table vault is 'vault';"
SHAPE = """
select string_agg(c.oid::regclass || ' ' || coalesce(obj_description(c.oid), c.relkind::text), ', '
    order by c.oid::regclass::text) from pg_class c
where c.relnamespace::regnamespace::text in ('public', 'other', 'other2') and c.relkind in ('r', 'v')
"""
EXPECTED = "orders orders, other.orders r, shown v, vault vault"

HOLD: dict[str, Any] = {
    "name": "updates-wait", "effect": "hold", "operations": {"verbs": ["update"]},
    "hold": {"approvers": ["dba"], "timeout": "60s"},
}  # fmt: skip
SHORT: dict[str, Any] = {
    "name": "merges-wait-shortly", "effect": "hold", "operations": {"verbs": ["merge"]},
    "hold": {"approvers": ["dba"], "timeout": "1s"},
}  # fmt: skip
TICKET: dict[str, Any] = {
    "name": "deletes-need-a-ticket", "effect": "hold", "operations": {"verbs": ["delete"]},
    "hold": {"approvers": ["dba"], "ticket": True, "timeout": "60s", "window": "2s"},
}  # fmt: skip
CLOSED: dict[str, Any] = {
    "name": "vault-is-closed", "effect": "deny",
    "operations": {"resources": {"table": ["public.vault"]}},
}  # fmt: skip
RULES = [*EVERYTHING, HOLD, SHORT, TICKET, CLOSED]


@pytest.fixture(scope="module")
def lasting(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql(f"create database {DATABASE} owner app")
    made = Gateway(
        tmp_path_factory.mktemp("held"),
        postgres,
        database=DATABASE,
        rules=RULES,
        guardrails={"enabled": True, "except": ["limit-sessions"]},
    )
    second = {**made.config["targets"][0], "name": "twin"}
    made.config["targets"].append(second)
    with made as running:
        yield running


@pytest.fixture
def gateway(lasting: Gateway, postgres: EmbeddedPostgres) -> Gateway:
    if ask(lasting, SHAPE) != EXPECTED:
        postgres.psql(f"drop schema if exists other cascade; {TABLES}", DATABASE)
        time.sleep(FRESH + 0.1)  # a session that begins sooner may go by what was there before
    else:
        postgres.psql(ROWS, DATABASE)
    if lasting.config["policy"]["rules"] != RULES:
        lasting.config["policy"]["rules"] = RULES
        lasting.reload()
    return lasting


def ask(gateway: Gateway, sql: str) -> str:
    return gateway.server.psql(sql, DATABASE).strip()


def open_wire(gateway: Gateway, token: str | None = None, target: str = "db") -> Wire:
    return Wire(gateway.port, {"user": "app", "database": target}, token or gateway.agent)


def held(gateway: Gateway, session: Wire, data: bytes) -> dict[str, Any]:
    """Send what a rule holds; return its approval, once it is pending."""
    before = {one["id"] for one in pending(gateway)}
    session.send(data)
    return wait_for(
        lambda: next((one for one in pending(gateway) if one["id"] not in before), None),
        "an approval is pending",
    )


def pending(gateway: Gateway) -> list[dict[str, Any]]:
    found = gateway.approver.get("/approvals", state="pending")["approvals"]
    return [dict(one) for one in found]


def show(gateway: Gateway, identifier: str) -> dict[str, Any]:
    return dict(gateway.admin.get(path("approvals", identifier)))


def errors(answers: list[Answer]) -> list[str]:
    return [answer.fields["C"] for answer in answers if answer.kind == "E"]


def extended(sql: str, *values: str, name: str = "") -> bytes:
    return wire.parse(name, sql) + wire.bind("", name, values) + wire.execute() + wire.SYNC


UPDATE = "update orders set note = 'changed' where id = 1"
BY_ID = "update orders set note = 'changed' where id = $1"


def delete() -> str:
    """A statement that no other test asked a ticket for."""
    return f"delete from orders where id = 1 -- {secrets.token_hex(8)}"


def test_what_is_approved_runs_once(gateway: Gateway) -> None:
    with open_wire(gateway) as session:
        gateway.approve(held(gateway, session, wire.query(UPDATE))["id"])
        assert errors(session.until_ready()) == []
    assert ask(gateway, "select note from orders order by id") == "changed\ntwo"


# --- the statement behind the approval changes


def test_parameters_are_part_of_what_is_approved(gateway: Gateway) -> None:
    """The same prepared statement with another parameter asks again."""
    with open_wire(gateway) as session:
        first = held(gateway, session, extended(BY_ID, "1"))
        assert "1" in str(first["parameters"])
        gateway.approve(first["id"])
        assert errors(session.until_ready()) == []
        second = held(gateway, session, extended(BY_ID, "2"))
        assert second["digest"] != first["digest"]
        gateway.deny(second["id"])
        assert errors(session.until_ready()) == ["42501"]
    assert ask(gateway, "select note from orders order by id") == "changed\ntwo"


def test_nothing_sent_behind_a_held_statement_takes_its_place(gateway: Gateway) -> None:
    """While it waits: the name is parsed anew, bound anew, and executed; all of it comes after."""
    with open_wire(gateway) as session:
        opening = (
            wire.parse("s", BY_ID) + wire.bind("p", "s", ["1"]) + wire.execute("p") + wire.SYNC
        )
        swap = (
            wire.close("S", "s") + wire.close("P", "p")
            + wire.parse("s", "update vault set note = 'stolen'") + wire.bind("p", "s")
            + wire.execute("p") + wire.SYNC
        )  # fmt: skip
        first = held(gateway, session, opening + swap)
        assert first["text"] == BY_ID
        gateway.approve(first["id"])
        answers = session.until_ready(2)
    assert "42501" in errors(answers)
    assert ask(gateway, "select note from vault") == "sealed\nsealed"
    assert ask(gateway, "select note from orders where id = 1") == "changed"


def test_a_prepared_statement_that_is_parsed_again_under_its_name_asks_again(
    gateway: Gateway,
) -> None:
    with open_wire(gateway) as session:
        first = held(gateway, session, extended(BY_ID, "1", name="s"))
        gateway.approve(first["id"])
        assert errors(session.until_ready()) == []
        other = "update orders set note = 'other' where id = $1"
        session.send(wire.close("S", "s") + wire.SYNC)
        session.until_ready()
        second = held(gateway, session, extended(other, "1", name="s"))
        assert second["text"] == other
        gateway.deny(second["id"])
        assert errors(session.until_ready()) == ["42501"]


SWAPS: dict[str, str] = {
    "renamed-and-another-put-there":
        "alter table orders rename to was; alter table vault rename to orders",
    "made-a-view-of-the-closed-table":
        "alter table orders rename to was; create view orders as select * from vault;"
        " grant all on orders to app",
    "taken-away": "drop view shown; alter table orders rename to gone",
    "moved-to-another-schema":
        "alter table orders set schema other2; alter table vault rename to orders",
}  # fmt: skip


@pytest.mark.parametrize("protocol", ["simple", "prepared"])
@pytest.mark.parametrize("swap", SWAPS)
def test_a_table_that_is_swapped_while_its_statement_waits(
    gateway: Gateway, swap: str, protocol: str
) -> None:
    """Somebody past the gateway swaps the table: the approval was for the one that stood there."""
    with open_wire(gateway) as session:
        data = wire.query(UPDATE)
        if protocol == "prepared":
            # Prepared in a batch of its own: else its Parse keeps a lock that swapping waits for.
            session.send(wire.parse("s", BY_ID) + wire.describe("S", "s") + wire.SYNC)
            session.until_ready()
            data = wire.bind("", "s", ["1"]) + wire.execute() + wire.SYNC
        approval = held(gateway, session, data)
        ask(gateway, f"set role app; {SWAPS[swap]}")
        gateway.approve(approval["id"])
        assert errors(session.until_ready()) == ["42501"]
    left = "select count(*) from (select note from {} where note in ('changed', 'stolen')) n"
    vault = (
        "orders"
        if swap in ("renamed-and-another-put-there", "moved-to-another-schema")
        else "vault"
    )
    assert ask(gateway, left.format(f"public.{vault}")) == "0", "the closed table was written"


def test_a_path_that_changes_while_a_statement_waits(gateway: Gateway) -> None:
    """`search_path` is the session's; nothing of it changes between the asking and the running."""
    with open_wire(gateway) as session:
        data = wire.query(UPDATE) + wire.query("set search_path to other") + wire.query("select 1")
        approval = held(gateway, session, data)
        assert any("public.orders" in str(resource) for resource in approval["resources"])
        gateway.approve(approval["id"])
        assert errors(session.until_ready(3)) == []
    assert ask(gateway, "select note from other.orders") == "elsewhere"
    assert ask(gateway, "select note from orders where id = 1") == "changed"


def test_a_default_path_that_changes_while_a_statement_waits(
    gateway: Gateway, postgres: EmbeddedPostgres
) -> None:
    """ALTER ROLE ... SET reaches no session that is open."""
    with open_wire(gateway) as session:
        approval = held(gateway, session, wire.query(UPDATE))
        postgres.psql(f"alter role app in database {DATABASE} set search_path to other")
        try:
            gateway.approve(approval["id"])
            assert errors(session.until_ready()) == []
        finally:
            postgres.psql(f"alter role app in database {DATABASE} reset search_path")
    assert ask(gateway, "select note from other.orders") == "elsewhere"


def test_the_policy_that_forbids_it_meanwhile_wins(gateway: Gateway) -> None:
    with open_wire(gateway) as session:
        approval = held(gateway, session, wire.query(UPDATE))
        more = {"name": "no-updates", "effect": "deny", "operations": {"verbs": ["update"]}}
        gateway.config["policy"]["rules"] = [*RULES, more]
        gateway.reload()
        gateway.approve(approval["id"])
        assert errors(session.until_ready()) == ["42501"]
    assert ask(gateway, "select note from orders where id = 1") == "one"


STRICTER: dict[str, dict[str, Any]] = {
    "two-people": {**HOLD, "hold": {**HOLD["hold"], "people": 2}},
    "other-approvers": {**HOLD, "hold": {**HOLD["hold"], "approvers": ["board"]}},
    "another-rule": {**HOLD, "name": "updates-wait-for-the-board"},
}


@pytest.mark.parametrize("change", STRICTER)
def test_a_policy_that_got_stricter_meanwhile_is_not_answered(
    gateway: Gateway, change: str
) -> None:
    with open_wire(gateway) as session:
        approval = held(gateway, session, wire.query(UPDATE))
        gateway.config["policy"]["rules"] = [*EVERYTHING, STRICTER[change], CLOSED]
        gateway.reload()
        try:
            gateway.approve(approval["id"])
        except CommandError:
            return  # control does not even take it
        assert errors(session.until_ready()) == ["42501"]
    assert ask(gateway, "select note from orders where id = 1") == "one"


def test_a_grant_that_ends_meanwhile_ends_the_hold(gateway: Gateway) -> None:
    token = gateway.token("short-lived", groups=["agents"])
    with open_wire(gateway, token) as session:
        approval = held(gateway, session, wire.query(UPDATE))
        gateway.admin.post("/tokens/revoke", {"subject": "short-lived"})
        with pytest.raises(Gone) as gone:
            session.until_ready()
        assert "no answer" not in str(gone.value)
        wait_for(lambda: show(gateway, approval["id"])["state"] != "pending" or None, "it is over")
        with pytest.raises(CommandError):
            gateway.approve(approval["id"])
    assert ask(gateway, "select note from orders where id = 1") == "one"


# --- who answers


DISGUISES: dict[str, str] = {
    "the-same-name": "agent-one",
    "other-letters": "Agent-One",
    "upper-case": "AGENT-ONE",
    "full-width": "\uff41gent-one",
    "another-hyphen": "agent\u2010one",
    "a-soft-hyphen": "agent-\u00adone",
    "a-zero-width-space": "agent-\u200bone",
    "a-joiner": "agent-o\u200dne",
    "a-space-behind": "agent-one ",
    "a-space-before": " agent-one",
    "a-no-break-space": "agent-one\u00a0",
    "a-direction-mark": "agent-one\u200e",
    "a-ligature": "agent-one",
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_nobody_approves_for_themselves(gateway: Gateway, disguise: str) -> None:
    try:
        token = gateway.token(DISGUISES[disguise], groups=["dba"], roles=["approver"])
    except CommandError:
        return  # no such name is given a token at all
    with open_wire(gateway) as session:
        approval = held(gateway, session, wire.query(UPDATE))
        with pytest.raises(CommandError) as refused:
            answer(Client(gateway.url, token), approval["id"], yes=True)
        assert "asked for" in str(refused.value)
        gateway.deny(approval["id"])
        assert errors(session.until_ready()) == ["42501"]


def answer(client: Client, identifier: str, *, yes: bool) -> None:
    client.post(path("approvals", identifier, "approve" if yes else "deny"), {"reason": "x"})


def test_the_owner_of_a_token_does_not_approve_what_it_asks_for(gateway: Gateway) -> None:
    """`boss` makes tokens: for an agent, for a helper, and for itself once more."""
    boss = Client(gateway.url, gateway.token("boss", groups=["dba"], roles=["admin", "approver"]))

    def made(subject: str, **more: Any) -> str:
        body = {"name": subject, "subject": subject, "lifetime": 3600, **more}
        return str(boss.post("/tokens", body)["secret"])

    agent = made("boss-agent", groups=["agents"])
    again = made("Boss", groups=["dba"], roles=["approver"])
    with open_wire(gateway, agent) as session:
        approval = held(gateway, session, wire.query(UPDATE))
        for client in (boss, Client(gateway.url, again)):
            with pytest.raises(CommandError):
                answer(client, approval["id"], yes=True)
        gateway.deny(approval["id"])
        session.until_ready()
    asking = gateway.token("boss", groups=["agents"])
    helper = made("boss-helper", groups=["dba"], roles=["approver"])
    with open_wire(gateway, asking) as session:
        approval = held(gateway, session, wire.query(UPDATE))
        with pytest.raises(CommandError):
            answer(Client(gateway.url, helper), approval["id"], yes=True)
        gateway.deny(approval["id"])
        session.until_ready()
    assert ask(gateway, "select note from orders where id = 1") == "one"


OTHERS: dict[str, dict[str, Any]] = {
    "an-agent": {"groups": ["agents"]},
    "the-group-without-the-role": {"groups": ["agents", "reader"]},
    "the-role-without-the-group": {"groups": ["web"], "roles": ["approver"]},
    "an-auditor": {"groups": ["web"], "roles": ["auditor"]},
    "an-administrator-of-no-group": {"groups": ["web"], "roles": ["admin"]},
    "a-group-in-other-letters": {"groups": ["DBA"], "roles": ["approver"]},
    "a-group-by-a-glob": {"groups": ["*"], "roles": ["approver"]},
}


@pytest.mark.parametrize("who", OTHERS)
def test_only_the_rules_approvers_answer(gateway: Gateway, who: str) -> None:
    try:
        token = gateway.token(f"other-{who}", **OTHERS[who])
    except CommandError:
        return
    with open_wire(gateway) as session:
        approval = held(gateway, session, wire.query(UPDATE))
        for yes in (True, False):
            with pytest.raises(CommandError):
                answer(Client(gateway.url, token), approval["id"], yes=yes)
        assert show(gateway, approval["id"])["state"] == "pending"
        gateway.deny(approval["id"])
        session.until_ready()


# --- an answer, once more


def test_an_answer_is_given_once(gateway: Gateway) -> None:
    with open_wire(gateway) as session:
        approval = held(gateway, session, wire.query(UPDATE))
        gateway.approve(approval["id"])
        assert errors(session.until_ready()) == []
        for again in (gateway.approve, gateway.deny):
            with pytest.raises(CommandError):
                again(approval["id"])
        second = held(gateway, session, wire.query(UPDATE))
        assert second["id"] != approval["id"]
        gateway.deny(second["id"])
        assert errors(session.until_ready()) == ["42501"]


def test_answers_that_race_have_one_winner(gateway: Gateway) -> None:
    """Yes and no from four people at once, ten times: what ran is what the record says."""
    tokens = [gateway.token(f"racer{n}", groups=["dba"], roles=["approver"]) for n in range(4)]
    clients = [Client(gateway.url, token) for token in tokens]

    def race(client: Client, identifier: str, yes: bool, said: list[bool]) -> None:
        try:
            answer(client, identifier, yes=yes)
        except CommandError:
            return
        said.append(yes)

    for turn in range(10):
        with open_wire(gateway) as session:
            sql = f"update orders set note = 'turn {turn}' where id = 1"
            approval = held(gateway, session, wire.query(sql))
            said: list[bool] = []
            threads = [
                threading.Thread(target=race, args=(client, approval["id"], n % 2 == 0, said))
                for n, client in enumerate(clients)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            ran = errors(session.until_ready()) == []
        state = show(gateway, approval["id"])["state"]
        assert said == [state == "approved"]
        assert ran is said[0]
        assert (ask(gateway, "select note from orders where id = 1") == f"turn {turn}") is ran


def test_an_answer_that_races_with_the_timeout_has_one_winner(gateway: Gateway) -> None:
    """Eight times an approval comes as the second ends: it ran if and only if it was approved."""
    seen = set()
    merge = "merge into orders o using (values (1)) v(id) on o.id = v.id when matched then update set note = '{}'"
    for turn in range(8):
        with open_wire(gateway) as session:
            start = time.monotonic()
            approval = held(gateway, session, wire.query(merge.format(f"t{turn}")))
            delay = 0.9 + 0.03 * turn - (time.monotonic() - start)
            time.sleep(max(delay, 0))
            try:
                gateway.approve(approval["id"])
                taken = True
            except CommandError:
                taken = False
            ran = errors(session.until_ready()) == []
        seen.add(taken)
        assert ran is taken, f"turn {turn}: taken {taken}, ran {ran}"
        assert (ask(gateway, "select note from orders where id = 1") == f"t{turn}") is ran
        assert show(gateway, approval["id"])["state"] == ("approved" if taken else "expired")
    assert seen


def test_a_hold_that_nobody_answers_is_denied(gateway: Gateway) -> None:
    with open_wire(gateway) as session:
        session.send(
            wire.query("merge into orders o using vault v on false when matched then do nothing")
        )
        assert errors(session.until_ready()) == ["42501"]
        session.send(wire.query("select 1"))
        assert errors(session.until_ready()) == []


# --- what ends a hold


def test_a_client_that_leaves_takes_its_hold_along(gateway: Gateway) -> None:
    session = open_wire(gateway)
    approval = held(gateway, session, wire.query(UPDATE))
    session.close()
    wait_for(
        lambda: show(gateway, approval["id"])["state"] == "cancelled" or None, "it is cancelled"
    )
    with pytest.raises(CommandError):
        gateway.approve(approval["id"])
    assert ask(gateway, "select note from orders where id = 1") == "one"


def test_a_cancel_ends_a_hold_and_the_session_goes_on(gateway: Gateway) -> None:
    with psycopg.connect(gateway.dsn(), autocommit=True) as connection:
        caught: list[BaseException] = []

        def run() -> None:
            try:
                connection.execute(UPDATE)
            except psycopg.Error as error:
                caught.append(error)

        before = {one["id"] for one in pending(gateway)}
        thread = threading.Thread(target=run)
        thread.start()
        approval = wait_for(
            lambda: next((o for o in pending(gateway) if o["id"] not in before), None), "pending"
        )
        connection.cancel_safe()
        thread.join(60)
        assert caught
        wait_for(
            lambda: show(gateway, approval["id"])["state"] == "cancelled" or None, "it is cancelled"
        )
        assert connection.execute("select 1").fetchone() == (1,)
    assert ask(gateway, "select note from orders where id = 1") == "one"


@pytest.mark.parametrize("part", ["control", "worker"])
def test_a_restart_approves_nothing(gateway: Gateway, part: str) -> None:
    """A live hold ends with the process that waits, or that would answer; nothing ran."""
    with open_wire(gateway) as session:
        approval = held(gateway, session, wire.query(UPDATE))
        kill(gateway, part)
        gateway.wait_ready()
        try:
            answers = session.until_ready()
        except Gone as gone:
            assert "no answer" not in str(gone)
            answers = []
        assert answers == [] or errors(answers) == ["42501"]
    wait_for(lambda: show(gateway, approval["id"])["state"] != "pending" or None, "it is over")
    with pytest.raises(CommandError):
        gateway.approve(approval["id"])
    assert ask(gateway, "select note from orders where id = 1") == "one"
    wait_for(lambda: usable(gateway), "the gateway serves again")


def usable(gateway: Gateway) -> bool:
    try:
        with open_wire(gateway) as session:
            session.send(wire.query("select 1"))
            return errors(session.until_ready()) == []
    except (Gone, OSError):
        return False


# --- tickets


def ticket(gateway: Gateway, session: Wire, data: bytes) -> str:
    """Ask for a ticket; return its id."""
    before = {one["id"] for one in pending(gateway)}
    session.send(data)
    answers = session.until_ready()
    assert errors(answers) == ["42501"]
    new = [one["id"] for one in pending(gateway) if one["id"] not in before]
    assert len(new) == 1, answers
    assert new[0] in str([answer.fields for answer in answers if answer.kind == "E"])
    return str(new[0])


def rows(gateway: Gateway) -> str:
    return ask(gateway, "select count(*) from orders")


def test_a_ticket_runs_once(gateway: Gateway) -> None:
    sql = delete()
    with open_wire(gateway) as session:
        gateway.approve(ticket(gateway, session, wire.query(sql)))
        session.send(wire.query(sql))
        assert errors(session.until_ready()) == []
        session.send(wire.query(sql))
        assert errors(session.until_ready()) == ["42501"]
        session.send(wire.query(sql))
        assert errors(session.until_ready()) == ["42501"]
    assert rows(gateway) == "1"


OTHER: dict[str, Callable[[Gateway, str], tuple[str, str, bytes]]] = {
    "another-text": lambda g, d: (g.agent, "db", wire.query("delete from orders where id = 2")),
    "the-text-with-a-comment": lambda g, d: (g.agent, "db", wire.query(d + "x")),
    "another-parameter": lambda g, d: (
        g.agent, "db", extended("delete from orders where id = $1", "2"),
    ),
    "another-target": lambda g, d: (g.agent, "twin", wire.query(d)),
    "another-database": lambda g, d: (g.agent, "db/app", wire.query(d)),
    "another-subject": lambda g, d: (
        g.token("ticket-thief", groups=["agents"]), "db", wire.query(d),
    ),
    "in-a-text-with-another": lambda g, d: (
        g.agent, "db", wire.query(f"delete from orders where id = 2; {d}"),
    ),
    "behind-another-path": lambda g, d: (
        g.agent, "db", wire.query("set search_path to other; " + d),
    ),
}  # fmt: skip


@pytest.mark.parametrize("other", OTHER)
def test_a_ticket_is_for_that_execution_alone(gateway: Gateway, other: str) -> None:
    sql = delete()
    with open_wire(gateway) as session:
        data = wire.query(sql)
        if other == "another-parameter":
            data = extended("delete from orders where id = $1", "1")
        gateway.approve(ticket(gateway, session, data))
    token, target, data = OTHER[other](gateway, sql)
    with open_wire(gateway, token, target) as thief:
        thief.send(data)
        assert errors(thief.until_ready()) == ["42501"]
    assert rows(gateway) == "2"
    assert ask(gateway, "select count(*) from other.orders") == "1"


def test_two_sessions_cannot_both_use_a_ticket(gateway: Gateway) -> None:
    sql = delete()
    with open_wire(gateway) as first, open_wire(gateway) as second:
        gateway.approve(ticket(gateway, first, wire.query(sql)))
        first.send(wire.query(sql))
        second.send(wire.query(sql))
        results = [errors(first.until_ready()), errors(second.until_ready())]
    assert sorted(results) == [[], ["42501"]]


def test_a_ticket_ends_with_its_window(gateway: Gateway) -> None:
    sql = delete()
    with open_wire(gateway) as session:
        identifier = ticket(gateway, session, wire.query(sql))
        gateway.approve(identifier)
        settled = float(show(gateway, identifier)["settled"])
        time.sleep(max(settled + 2.1 - time.time(), 0))
        session.send(wire.query(sql))
        assert errors(session.until_ready()) == ["42501"]
    assert rows(gateway) == "2"


@pytest.mark.parametrize("verdict", ["pending", "denied"])
def test_a_ticket_that_is_not_approved_is_none(gateway: Gateway, verdict: str) -> None:
    sql = delete()
    with open_wire(gateway) as session:
        identifier = ticket(gateway, session, wire.query(sql))
        if verdict == "denied":
            gateway.deny(identifier)
        for _ in range(3):
            session.send(wire.query(sql))
            assert errors(session.until_ready()) == ["42501"]
    assert rows(gateway) == "2"


def test_a_ticket_for_a_table_that_is_swapped_is_void(gateway: Gateway) -> None:
    sql = delete()
    with open_wire(gateway) as session:
        gateway.approve(ticket(gateway, session, wire.query(sql)))
    ask(gateway, "set role app; drop view shown; alter table orders rename to was;"
        " alter table vault rename to orders")  # fmt: skip
    with open_wire(gateway) as session:
        session.send(wire.query(sql))
        assert errors(session.until_ready()) == ["42501"]
    assert ask(gateway, "select count(*) from was") == "2"
    assert ask(gateway, "select count(*) from orders") == "2"


def test_a_ticket_survives_a_restart_of_control(gateway: Gateway) -> None:
    sql = delete()
    with open_wire(gateway) as session:
        identifier = ticket(gateway, session, wire.query(sql))
    kill(gateway, "control")
    gateway.wait_ready()
    wait_for(lambda: usable(gateway), "the gateway serves again")
    with open_wire(gateway) as session:
        session.send(wire.query(sql))
        assert errors(session.until_ready()) == ["42501"]
        assert rows(gateway) == "2"
        gateway.approve(identifier)
        session.send(wire.query(sql))
        assert errors(session.until_ready()) == []
    assert rows(gateway) == "1"
