"""The policy's own life: documents, approvals, caching, access, quotas, obligations."""

from __future__ import annotations

import msgspec
import pytest

from sallyport import policy
from sallyport.core.decision import Approval, Limit
from sallyport.core.subject import Refused
from sallyport.policy import document
from tests.unit.policy.requests import (
    CONNECT,
    TUESDAY_NOON,
    access_rule,
    context,
    decide,
    operation,
    policy_of,
    rules_of,
    subject,
    target,
)

EVERYTHING = {"name": "everything", "effect": "allow"}
UPDATE = operation("update", {"table public.a": "write"}, text="UPDATE a SET x = 1 WHERE y = 2")


def holding(name: str, *approvers: str, **more: object) -> dict[str, object]:
    terms = {"approvers": list(approvers), **more}
    return {"name": name, "effect": "hold", "operations": {"verbs": ["update"]}, "hold": terms}


# --- approvals


def test_an_approval_answers_the_rules_it_names_and_no_other() -> None:
    compiled = policy_of(EVERYTHING, holding("a", "dba"), holding("b", "dba"))
    half = Approval("p-1", UPDATE.digest, ("a",), ("eve",), ("dba",))
    verdict = decide(compiled, UPDATE, approval=half)
    assert (verdict.outcome, verdict.rules) == ("hold", ("b",))
    whole = Approval("p-1", UPDATE.digest, ("a", "b"), ("eve",), ("dba",))
    verdict = decide(compiled, UPDATE, approval=whole)
    assert (verdict.outcome, verdict.rules) == ("allow", ("everything", "a", "b"))


def test_an_approval_never_covers_what_no_allow_covers() -> None:
    compiled = policy_of(CONNECT, holding("a", "dba"))
    approval = Approval("p-1", UPDATE.digest, ("a",), ("eve",), ("dba",))
    assert decide(compiled, UPDATE, approval=approval).outcome == "deny"


def test_an_approval_never_answers_a_deny_of_that_name() -> None:
    deny = {"name": "a", "effect": "deny", "operations": {"verbs": ["update"]}}
    approval = Approval("p-1", UPDATE.digest, ("a",), ("eve",), ("dba",))
    assert decide(policy_of(EVERYTHING, deny), UPDATE, approval=approval).outcome == "deny"


def test_an_approval_is_for_the_text_and_parameters_that_were_shown() -> None:
    compiled = policy_of(EVERYTHING, holding("a", "dba"))
    shown = operation("update", {"table public.a": "write"}, text="UPDATE a", parameters=("1",))
    other = operation("update", {"table public.a": "write"}, text="UPDATE a", parameters=("2",))
    approval = Approval("p-1", shown.digest, ("a",), ("eve",), ("dba",))
    assert decide(compiled, shown, approval=approval).outcome == "allow"
    assert decide(compiled, other, approval=approval).outcome == "hold"


def test_an_approval_by_a_group_that_the_rule_asks_no_more_answers_nothing() -> None:
    compiled = policy_of(EVERYTHING, holding("a", "board"))
    for groups, outcome in (("board",), "allow"), (("dba",), "hold"), (("board", "dba"), "hold"):
        approval = Approval("p-1", UPDATE.digest, ("a",), ("eve",), groups)
        assert decide(compiled, UPDATE, approval=approval).outcome == outcome
    approval = Approval("p-1", UPDATE.digest, ("a",), ("eve",), ())
    assert decide(compiled, UPDATE, approval=approval).outcome == "hold"


def test_an_approval_by_fewer_people_than_the_rule_wants_by_now_answers_nothing() -> None:
    compiled = policy_of(EVERYTHING, holding("a", "dba", people=2))

    def outcome(*by: str) -> str:
        approval = Approval("p-1", UPDATE.digest, ("a",), by, ("dba",))
        return decide(compiled, UPDATE, approval=approval).outcome

    assert outcome("eve", "max") == "allow"
    assert outcome("eve") == "hold"
    assert outcome("eve", "eve", "EVE") == "hold"
    assert outcome() == "hold"


def test_a_hold_says_who_how_many_and_how_long() -> None:
    rule = {**holding("a", "dba", people=2, timeout="90s", ticket=True), "reason": "look first"}
    hold = decide(policy_of(EVERYTHING, rule), UPDATE).hold
    assert hold is not None
    assert (hold.approvers, hold.people, hold.timeout) == (("dba",), 2, 90.0)
    assert (hold.ticket, hold.window, hold.reason) == (True, 600.0, "look first")


# --- what may be cached


@pytest.mark.parametrize(
    ("rule", "cacheable"),
    [
        ({}, True),
        ({"when": "op.verb == 'select'"}, True),
        ({"when": "subject.claims.size() == 0 && 'x' in op.facts"}, True),
        ({"when": "op.text.contains('x')"}, False),
        ({"when": "op['te' + 'xt'].contains('x')"}, False),
        ({"when": "[op].exists(o, o.text == 'x')"}, False),
        ({"when": "op.parameters.size() == 9"}, False),
        ({"when": "context.now > timestamp(0) && false"}, False),
        ({"when": "context.session == 'x'"}, False),
        ({"context": {"hours": "01:00-02:00"}}, False),
        ({"context": {"days": ["sun"]}}, False),
        ({"context": {"sources": ["10.0.0.0/8"]}}, True),
        ({"context": {"countries": ["DE"]}}, True),
        ({"when": "context.country == 'DE'"}, True),
        ({"unless": {"when": "op.text == 'SELECT 1'"}}, False),
        ({"unless": {"context": {"hours": "01:00-23:00"}}}, False),
        ({"mode": "observe", "when": "op.text.contains('x')"}, False),
        # a rule that could not match reads nothing
        ({"operations": {"verbs": ["drop-table"]}, "when": "op.text.contains('x')"}, True),
        ({"subjects": {"names": ["nobody"]}, "context": {"hours": "01:00-02:00"}}, True),
    ],
)
def test_a_verdict_that_rests_on_time_or_literals_is_not_cacheable(
    rule: dict[str, object], cacheable: bool
) -> None:
    compiled = policy_of(CONNECT, {"name": "x", "effect": "deny", **rule})
    assert decide(compiled, operation()).cacheable is cacheable


def test_what_no_allow_covers_yet_is_not_cacheable_when_literals_could_cover_it() -> None:
    compiled = policy_of(
        CONNECT, {"name": "x", "effect": "allow", "when": "op.parameters[0].value == '1'"}
    )
    without = operation("select", {"table public.a": "read"}, parameters=("2",))
    verdict = decide(compiled, without)
    assert (verdict.outcome, verdict.cacheable) == ("deny", False)


def test_a_binary_parameter_hides_nothing_from_a_condition() -> None:
    compiled = policy_of(
        EVERYTHING,
        {"name": "x", "effect": "deny", "when": "op.parameters.exists(p, p.value == 'secret')"},
    )
    plain = operation(parameters=("secret",))
    parameter = msgspec.structs.replace(plain.parameters[0], binary=True)
    binary = msgspec.structs.replace(plain, parameters=(parameter,))
    assert decide(compiled, binary).rules == ("x",)


def test_more_parameters_than_a_condition_can_read_are_an_error() -> None:
    rule = {"name": "x", "effect": "deny", "when": "op.parameters.exists(p, p.value == 'x')"}
    many = operation(parameters=("1",) * 5001)
    assert decide(policy_of(EVERYTHING, rule), many).rules == ("x",)
    other = {**rule, "when": "op.verb == 'drop-table'"}
    assert decide(policy_of(EVERYTHING, other), many).outcome == "allow"


@pytest.mark.parametrize("text", ["DROP\0 TABLE", "\ud800"])
def test_text_that_a_condition_cannot_read_whole_is_an_error(text: str) -> None:
    compiled = policy_of(EVERYTHING, {"name": "x", "effect": "deny", "when": "op.text == 'DROP'"})
    op = msgspec.structs.replace(operation(), text=text)
    assert decide(compiled, op).rules == ("x",)


# --- sessions without write rights


def test_a_read_only_session_writes_nothing_even_when_the_policy_has_changed() -> None:
    verdict = decide(policy_of(EVERYTHING), UPDATE, write=False)
    assert (verdict.outcome, verdict.rules) == ("deny", ("read-only-session",))
    assert decide(policy_of(EVERYTHING), operation(), write=False).outcome == "allow"


@pytest.mark.parametrize(
    ("rule", "write"),
    [
        ({"effect": "allow"}, True),
        ({"effect": "allow", "operations": {"effects": ["read"]}}, False),
        ({"effect": "allow", "operations": {"effects": ["read", "unknown"]}}, False),
        ({"effect": "allow", "operations": {"effects": ["admin"]}}, True),
        ({"effect": "allow", "mode": "observe"}, False),
        ({"effect": "allow", "subjects": {"names": ["bob"]}}, False),
        ({"effect": "allow", "targets": {"labels": {"env": "prod"}}}, False),
        ({"effect": "allow", "context": {"hours": "01:00-02:00"}}, True),
        ({"effect": "allow", "context": {"sources": ["10.0.0.0/8"]}}, False),
        ({"effect": "allow", "context": {"countries": ["AT", "DE"]}}, True),
        ({"effect": "allow", "context": {"countries": ["AT", "unknown"]}}, False),
        ({"effect": "hold", "hold": {"approvers": ["dba"]}}, False),
    ],
)
def test_write_rights_are_what_an_allow_could_give(rule: dict[str, object], write: bool) -> None:
    compiled = policy_of(CONNECT, {"name": "x", **rule})
    assert compiled.may_write(subject(), target(), "127.0.0.1", "DE", "psql") is write


def test_guardrails_give_no_session_write_rights() -> None:
    compiled = policy_of(guardrails=True)
    assert not compiled.may_write(subject(), target())
    reset = operation("select", {"function pg_catalog.pg_advisory_unlock_all": "write"})
    assert decide(compiled, reset, write=False).rules == ("session-basics", "session-unlock")
    begin = operation("begin", {"setting transaction_read_only": "write"}, ("read-write",))
    assert decide(compiled, begin, write=True).outcome == "allow"
    assert decide(compiled, begin, write=False).rules == ("no-read-write",)


# --- operations that are not what they should be


def test_an_operation_without_resources_is_denied() -> None:
    op = msgspec.structs.replace(operation(), resources=())
    every = {
        "name": "x",
        "effect": "allow",
        "operations": {"effects": ["read", "write", "admin", "unknown"]},
    }
    assert decide(policy_of(every), op).outcome == "deny"


def test_a_refusal_names_the_resource_that_nothing_allows() -> None:
    op = operation("select", {"table public.a": "read", "function x.f": "unknown"})
    assert "`x.f`" in decide(policy_of(CONNECT), op).reason
    op = operation("select", {"table public.a": "read"})
    assert "read table `public.a`" in decide(policy_of(CONNECT), op).reason


def test_a_refusal_shows_what_a_name_would_hide() -> None:
    op = operation("select", {"table public.a\n\x1b[2J\u202e": "read"})
    reason = decide(policy_of(CONNECT), op).reason
    assert reason.endswith("`public.a<U+000A><U+001B>[2J<U+202E>`")


# --- obligations


def test_masks_and_limits_are_gathered_and_the_least_is_recorded() -> None:
    compiled = policy_of(
        EVERYTHING,
        {"name": "m1", "effect": "mask", "mask": {"columns": ["*.ssn"], "transform": "hash"}},
        {"name": "m2", "effect": "mask", "mask": {"detectors": ["email"]}},
        {"name": "l1", "effect": "limit", "limit": {"rows_per_result": 10}},
        {"name": "l2", "effect": "limit", "limit": {"bytes_per_result": "1KiB", "sessions": 3}},
        {"name": "l3", "effect": "limit", "limit": {"rows_per_hour": 5}},
        {"name": "r1", "effect": "record", "record": "statements"},
        {"name": "r2", "effect": "record", "record": "full"},
    )
    given = decide(compiled, operation()).obligations
    assert [(mask.rule, mask.transform) for mask in given.masks] == [
        ("m1", "hash"),
        ("m2", "redact"),
    ]
    assert given.limits == (Limit("l1", 10, None), Limit("l2", None, 1024))
    assert given.record == "statements"
    assert given.rewrite is None


def test_a_limit_can_be_about_some_operations() -> None:
    compiled = policy_of(
        EVERYTHING,
        {
            "name": "l",
            "effect": "limit",
            "operations": {"resources": {"table": ["public.a"]}},
            "limit": {"rows_per_result": 1},
        },
    )
    assert decide(compiled, operation()).obligations.limits == ()
    op = operation("select", {"table public.a": "read"})
    assert decide(compiled, op).obligations.limits == (Limit("l", 1, None),)


def test_the_strictest_quota_of_each_kind_counts() -> None:
    compiled = policy_of(
        {"name": "all", "effect": "limit", "limit": {"rows_per_hour": 100, "sessions": 5}},
        {
            "name": "agents",
            "effect": "limit",
            "subjects": {"groups": ["agents"]},
            "limit": {"rows_per_hour": 10, "statements_per_minute": 60},
        },
        {"name": "seen", "effect": "limit", "mode": "observe", "limit": {"sessions": 1}},
    )
    assert compiled.quotas(subject(), target()) == (
        policy.Quota("statements_per_minute", "agents", 60, 60.0),
        policy.Quota("rows_per_hour", "agents", 10, 3600.0),
        policy.Quota("sessions", "all", 5, None),
    )
    assert compiled.quotas(subject(groups=()), target()) == (
        policy.Quota("rows_per_hour", "all", 100, 3600.0),
        policy.Quota("sessions", "all", 5, None),
    )


# --- countries


@pytest.mark.parametrize(
    ("rule", "country", "denied"),
    [
        ({"context": {"countries": ["KP"]}}, "KP", True),
        ({"context": {"countries": ["KP"]}}, "DE", False),
        ({"context": {"countries": ["KP"]}}, "", False),
        ({"context": {"countries": ["KP", "unknown"]}}, "", True),
        ({"unless": {"context": {"countries": ["DE"]}}}, "DE", False),
        ({"unless": {"context": {"countries": ["DE"]}}}, "", True),
        ({"unless": {"context": {"countries": ["DE", "unknown"]}}}, "unreadable", True),
        ({"when": "context.country != 'DE'"}, "DE", False),
        ({"when": "context.country != 'DE'"}, "", True),
    ],
)
def test_a_rule_for_countries(rule: dict[str, object], country: str, denied: bool) -> None:
    compiled = policy_of(EVERYTHING, {"name": "x", "effect": "deny", **rule})
    outcome = decide(compiled, operation(), country=country).outcome
    assert outcome == ("deny" if denied else "allow")


# --- access


def reach(compiled: policy.Policy, **given: object) -> policy.AccessGiven | Refused:
    asked = {
        "subject": subject(),
        "target": target(),
        "login": "app",
        "database": "shop",
        "source": "127.0.0.1",
        "country": "DE",
        "now": TUESDAY_NOON,
        "application": "psql",
        **given,
    }
    return compiled.access(**asked)  # type: ignore[arg-type]


def test_access_is_refused_unless_a_rule_gives_it() -> None:
    assert reach(policy_of(EVERYTHING)) == Refused(policy.ACCESS_REFUSED)


@pytest.mark.parametrize(
    ("rule", "given"),
    [
        ({"subjects": {"groups": ["agents"]}}, True),
        ({"subjects": {"groups": ["people"]}}, False),
        ({"logins": ["app", "ro"]}, True),
        ({"logins": ["admin"]}, False),
        ({"targets": {"names": ["sh*"]}}, True),
        ({"targets": {"labels": {"env": "prod"}}}, False),
        ({"databases": ["shop"]}, True),
        ({"databases": ["other"]}, False),
        ({"context": {"sources": ["127.0.0.0/8"]}}, True),
        ({"context": {"sources": ["10.0.0.0/8"]}}, False),
        ({"context": {"countries": ["DE", "AT"]}}, True),
        ({"context": {"countries": ["AT", "unknown"]}}, False),
        ({"context": {"hours": "08:00-20:00"}}, True),
        ({"context": {"days": ["sat", "sun"]}}, False),
    ],
)
def test_access_rule(rule: dict[str, object], given: bool) -> None:
    answer = reach(policy_of(EVERYTHING, access=(access_rule(name="a", **rule),)))
    assert isinstance(answer, policy.AccessGiven) is given


def test_the_longest_of_several_access_rules_counts_in_any_order() -> None:
    rules = (
        access_rule(name="short", max_session=60.0),
        access_rule(name="long", max_session=3600.0),
        access_rule(name="other", subjects={"names": ["bob"]}),
    )
    expected = policy.AccessGiven("long", 3600.0, write=False)
    assert reach(policy_of(CONNECT, access=rules)) == expected
    assert reach(policy_of(CONNECT, access=rules[::-1])) == expected


def test_a_source_that_is_no_address_reaches_nothing() -> None:
    rule = access_rule(name="a", context={"sources": ["10.0.0.0/8"]})
    anywhere = access_rule(name="b")
    assert isinstance(reach(policy_of(access=(rule, anywhere)), source="nowhere"), Refused)


# --- documents


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b'{"version": 2}',
        b'{"version": 1, "more": 1}',
        b'{"version": 1, "rules": [{"name": "x"}]}',
        b'{"version": 1, "rules": [{"name": "x", "effect": "grant"}]}',
        b'{"version": 1, "rules": [{"name": "x", "effect": "allow", "when": "op."}]}',
        b'{"version": 1, "rules": [{"name": "x", "effect": "allow", "when": "1"}]}',
        b'{"version": 1, "rules": [{"name": "x", "effect": "allow", "unless": {}}]}',
        b'{"version": 1, "rules": [{"name": "x", "effect": "hold"}]}',
        b'{"version": 1, "rules": [{"name": "x", "effect": "allow", "record": "full"}]}',
        b'{"version": 1, "rules": [{"name": "x", "effect": "allow"}, {"name": "x", "effect": "deny"}]}',
        b'{"version": 1, "rules": [{"name": "x", "effect": "allow", "operations": {"verbs": ["{a"]}}]}',
        b'{"version": 1, "rules": [{"name": "x", "effect": "allow", "context": {"hours": "9-5"}}]}',
        b'{"version": 1, "rules": [{"name": "x", "effect": "allow", "context": {"timezone": "../x"}}]}',
        b'{"version": 1, "rules": [{"name": "x", "effect": "allow", "context": {"days": ["x"]}}]}',
        b'{"version": 1, "access": [{"name": "x", "subjects": {}}]}',
        b'{"version": 1, "access": [{"name": "x", "subjects": {}, "logins": ["{"]}]}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_document_that_cannot_be_used_is_a_policy_error(raw: bytes) -> None:
    with pytest.raises(policy.PolicyError):
        policy.compile(raw)


def test_the_revision_is_the_policys_own() -> None:
    one, two = policy_of(EVERYTHING), policy_of(CONNECT)
    assert one.revision == policy_of(EVERYTHING).revision != two.revision
    again = document.Document(1, rules=rules_of(EVERYTHING))
    assert document.encode(document.decode(document.encode(again))) == one.document


def test_subjects_that_differ_in_claims_alone_are_kept_apart() -> None:
    rule = {"name": "x", "effect": "allow", "subjects": {"claims": {"team": "red"}}}
    compiled = policy_of(CONNECT, rule)
    op = operation("select", {"table public.a": "read"})
    assert decide(compiled, op, who=subject(team="red")).outcome == "allow"
    assert decide(compiled, op, who=subject(team="blue")).outcome == "deny"
    assert decide(compiled, op, who=subject()).outcome == "deny"


def test_many_subjects_and_verbs_cost_a_bounded_number_of_entries() -> None:
    compiled = policy_of(EVERYTHING)
    for number in range(5000):
        decide(compiled, operation(f"verb-{number}"), who=subject(f"s-{number}"))
    assert len(compiled._known) <= 4096
    candidates = compiled.candidates(subject(), target())
    assert len(candidates._selected) <= 512


def test_circumstances_are_values() -> None:
    with pytest.raises(AttributeError):
        context().now = 1.0  # type: ignore[misc]
