"""The configuration: what it makes of a good file, and of every kind of bad one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport import policy
from sallyport.config import (
    Address,
    Config,
    ConfigErrors,
    SecretReference,
    Vocabularies,
    Vocabulary,
    load,
    load_bytes,
)
from sallyport.config.document import guardrail_rules
from sallyport.config.types import parse_duration, parse_size
from sallyport.config.yaml import MAXIMUM_BYTES, read_yaml
from sallyport.core.errors import ConfigError
from sallyport.policy import document

WORDS = Vocabularies(
    {
        "postgres": Vocabulary(
            verbs=frozenset({"select", "insert", "update", "drop-table"}),
            facts=frozenset({"no-where", "catalog"}),
            kinds=frozenset({"table", "view", "database"}),
            qualified=frozenset({"table", "view"}),
        )
    },
    frozenset({"email", "card"}),
)

GOOD = """\
version: 1
state: ./state
api: {address: 127.0.0.1:8642}
listeners:
  - {name: main, protocol: postgres, address: 127.0.0.1:6432}
vault: {key: file:./state/master.key, generate: true}
targets:
  - name: shop
    protocol: postgres
    labels: {env: demo}
    address: 127.0.0.1:5432
    database: shop
    login: app
    logins:
      app: {credential: vault:shop-app}
issuers:
  - {name: corp, issuer: https://login.example.com, audience: [sallyport]}
access:
  - name: agents-shop
    subjects: {groups: [agents]}
    logins: [app]
policy:
  guardrails: {enabled: true, except: []}
  rules:
    - name: agents-read
      effect: allow
      operations: {verbs: [select], effects: [read], resources: {table: ["public.*"]}}
    - name: updates-wait
      effect: hold
      operations: {verbs: [update]}
      hold: {approvers: [dba], timeout: 90s}
    - name: mask-pii
      effect: mask
      mask: {columns: ["*.email"], detectors: [email]}
"""


def read(text: str) -> Config:
    return load_bytes(text.encode(), file="s.yaml", folder=Path("/etc/s"), vocabularies=WORDS)


def wrong(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return caught.value


# --- good files


def test_a_good_file_is_read_into_typed_values() -> None:
    config = read(GOOD)
    assert config.state == Path("/etc/s/state")
    assert config.listeners[0].address == Address("127.0.0.1", 6432)
    assert config.vault.key == SecretReference("file", "/etc/s/state/master.key")
    assert config.targets[0].logins["app"].credential == SecretReference("vault", "shop-app")
    assert config.targets[0].tls.mode == "disable"
    assert config.policy.rules[1].hold is not None
    assert config.policy.rules[1].hold.timeout == 90.0
    assert config.approvals.timeout == 300.0
    assert config.recording.result_bytes == 1024**2
    assert config.sessions.idle is None


def test_a_target_off_loopback_is_verified_unless_it_says_otherwise() -> None:
    text = GOOD.replace("address: 127.0.0.1:5432", "address: db.example.com:5432")
    assert read(text).targets[0].tls.mode == "verify-full"
    text = text.replace("    login: app\n", "    login: app\n    tls: {mode: require}\n")
    assert read(text).targets[0].tls.mode == "require"


@pytest.mark.parametrize(
    ("address", "expected", "local"),
    [
        ("127.0.0.1:1", Address("127.0.0.1", 1), True),
        ("localhost:5432", Address("localhost", 5432), True),
        ('"[::1]:5432"', Address("::1", 5432), True),
        ('"[2001:db8::1]:5432"', Address("2001:db8::1", 5432), False),
        ("db.example.com:5432", Address("db.example.com", 5432), False),
        ("localhost.example.com:5432", Address("localhost.example.com", 5432), False),
        ("/run/postgresql:5432", Address("", 5432, Path("/run/postgresql")), True),
        ("./run:5432", Address("", 5432, Path("/etc/s/run")), True),
    ],
)
def test_address(address: str, expected: Address, local: bool) -> None:
    given = read(GOOD.replace("127.0.0.1:5432", address)).targets[0].address
    assert given == expected
    assert given.is_local is local


def test_the_policy_document_is_what_workers_can_compile() -> None:
    config = read(GOOD)
    compiled = policy.compile(config.policy_document())
    assert compiled.revision == config.revision
    decoded = document.decode(config.policy_document())
    assert [rule.name for rule in decoded.access] == ["agents-shop"]
    names = [rule.name for rule in decoded.rules]
    assert names[-3:] == ["agents-read", "updates-wait", "mask-pii"]
    assert "session-basics" in names
    assert all(rule.guardrail for rule in decoded.rules[:-3])
    assert not any(rule.guardrail for rule in decoded.rules[-3:])


def test_the_revision_changes_with_the_policy_and_with_nothing_else() -> None:
    one = read(GOOD).revision
    assert read(GOOD + "logging: {level: debug}\n").revision == one
    assert read(GOOD.replace("timeout: 90s", "timeout: 91s")).revision != one
    assert read(GOOD.replace("except: []", "except: [no-two-phase]")).revision != one
    assert read(GOOD.replace("[agents]", "[people]")).revision != one


def test_guardrails_can_be_left_out_one_by_one_or_all() -> None:
    def names(text: str) -> set[str]:
        return {rule.name for rule in document.decode(read(text).policy_document()).rules}

    shipped = {rule.name for rule in guardrail_rules()}
    assert shipped <= names(GOOD)
    without = names(GOOD.replace("except: []", "except: [no-two-phase]"))
    assert names(GOOD) - without == {"no-two-phase"}
    assert not shipped & names(GOOD.replace("enabled: true", "enabled: false"))


def test_approvals_give_holds_their_defaults() -> None:
    text = GOOD.replace(", timeout: 90s", "") + "approvals: {timeout: 7m, ticket_window: 3m}\n"
    rules = {rule.name: rule for rule in document.decode(read(text).policy_document()).rules}
    hold = rules["updates-wait"].hold
    assert hold is not None
    assert (hold.timeout, hold.window) == (420.0, 180.0)


def test_a_transform_of_null_is_a_word() -> None:
    text = GOOD.replace("detectors: [email]", "detectors: [email], transform: null")
    mask = read(text).policy.rules[2].mask
    assert mask is not None
    assert mask.transform == "null"


# --- bad files: the line that is wrong ends in `# here`

BAD: list[tuple[str, str, str]] = [
    ("version: 1", "version: 2  # here", "expected 1, not `2`"),
    ("version: 1\n", "", "`version` is missing"),
    ("version: 1", "version: 1\nstat: x  # here", "unknown key `stat` (did you mean `state`?)"),
    ("state: ./state", "state: ./state\nversion: 1  # here", "duplicate key `version`, first on line 1"),
    ("state: ./state", "state: [x]  # here", "expected a path, not a list"),
    ("except: []", "except_: []", "unknown key `except_`"),
    ("except: []", "exept: []", "unknown key `exept` (did you mean `except`?)"),
    ("name: shop\n", "name: a/b  # here\n", "expected a name like `orders`, not `a/b`"),
    ("    protocol: postgres\n", "    protocol: mysql  # here\n", "unknown protocol `mysql`"),
    ("address: 127.0.0.1:5432", "address: 127.0.0.1  # here", "expected `host:port`"),
    ("address: 127.0.0.1:5432", "address: 127.0.0.1:70000  # here", "expected `host:port`"),
    ("address: 127.0.0.1:5432", "address: 300.0.0.1:5432  # here", "expected `host:port`"),
    ("address: 127.0.0.1:5432", "address: 5432  # here", "expected `host:port`"),
    ("address: 127.0.0.1:5432", "address: /run/postgresql  # here", "expected a port"),
    ("    login: app\n", "    login: root  # here\n", "expected one of `logins`, not `root`: there is `app`"),
    ("{credential: vault:shop-app}", "{credential: hunter2}  # here", "expected a reference to a secret"),
    ("{credential: vault:shop-app}", "{password: hunter2}  # here", "unknown key `password`"),
    ("    database: shop\n", "    database: 5  # here\n", "expected text, not `5`"),
    ("{env: demo}", "{env: 1}  # here", "expected text, not `1`"),
    ("127.0.0.1:8642}", "0.0.0.0:8642}  # here", "is off loopback: expected `tls`"),
    ("address: 127.0.0.1:6432}", "address: 0.0.0.0:6432}  # here", "is off loopback: expected `tls`"),
    (
        "address: 127.0.0.1:6432}",
        "address: 0.0.0.0:6432, tls: {certificate: file:c, key: file:k, required: false}}  # here",
        "is off loopback: expected `tls`, and it required",
    ),
    ("protocol: postgres, address", "protocol: postgre, address", "unknown protocol `postgre`"),
    ("key: file:./state/master.key", "key: vault:x", "the vault cannot hold its key"),
    (
        "address: 127.0.0.1:6432}",
        "address: 0.0.0.0:6432, tls: {certificate: vault:c, key: file:k}}  # here",
        "expected `env:NAME` or `file:PATH`: the vault holds credentials of targets",
    ),
    ("key: file:./state/master.key", "key: env:KEY", "expected `key` to be a file"),
    ("https://login.example.com", "http://login.example.com", "expected an https URL"),
    ("https://login.example.com", "https://u:p@login.example.com", "expected an https URL"),
    ("audience: [sallyport]", "audience: [sallyport], algorithms: [HS256]", "not `HS256`"),
    ("audience: [sallyport]", "audience: [sallyport], algorithms: [none]", "not `none`"),
    ("audience: [sallyport]", "audience: []", "expected at least one entry"),
    ("subjects: {groups: [agents]}", "subjects: {}  # here", "expected `names`, `groups` or `claims`"),
    ("subjects: {groups: [agents]}", "subjects: {groups: []}  # here", "expected at least one entry"),
    ("    subjects: {groups: [agents]}\n", "", "`subjects` is missing"),
    ("subjects: {groups: [agents]}", "subjects: {groups: agents}  # here", "expected a list, not `agents`"),
    ("    logins: [app]", "    logins: [root]  # here", "no target has a login `root`"),
    ("    logins: [app]", "    targets: {names: [shp]}  # here\n    logins: [app]", "no target is named `shp`"),
    (
        "    logins: [app]",
        "    targets: {labels: {env: prod}}  # here\n    logins: [app]",
        "no target has label `env` `prod`",
    ),
    ("    logins: [app]", "    sources: [10.0.0.1/8]  # here\n    logins: [app]", "expected a network"),
    ("    logins: [app]", "    max_session: 60  # here\n    logins: [app]", "expected a duration such as"),
    ("except: []", "except: [no-such]", "no guardrail is named `no-such`"),
    ("name: agents-read", "name: Agents Read  # here", "expected a name like `agents-read`"),
    ("name: agents-read", "name: default-deny  # here", "name `default-deny` is the gateway's own"),
    ("name: agents-read", "name: updates-wait\n      # other", "`updates-wait` is taken"),
    ("name: agents-read", "name: session-basics  # here", "`session-basics` is taken"),
    ("effect: allow", "effect: permit  # here", "expected one of `allow`, `deny`"),
    ("verbs: [select]", "verbs: [selct]", "unknown verb `selct`"),
    ("verbs: [select]", "verbs: [drop_*]", "unknown verb `drop_*`"),
    ("verbs: [select]", "verbs: []", "expected at least one entry"),
    ("effects: [read]", "effects: [reads]", "expected one of `read`, `write`"),
    ("effects: [read]", "effects: [read], facts: [nowhere]", "unknown fact `nowhere`"),
    ('{table: ["public.*"]}', '{tabel: ["public.*"]}', "unknown resource kind `tabel`"),
    ('{table: ["public.*"]}', "{table: [customers]}", "expected `schema.name`, not `customers`"),
    ('{table: ["public.*"]}', '{table: ["public.{a"]}', "in glob `public.{a`"),
    ("hold: {approvers: [dba], timeout: 90s}", "reason: wait", "`hold` is missing: effect hold needs it"),
    ("approvers: [dba]", "approvers: []", "expected at least one entry"),
    ("approvers: [dba], timeout: 90s", "people: 2", "`approvers` is missing"),
    ("approvers: [dba]", "people: 0, approvers: [dba]", "expected greater than or equal to 1, not `0`"),
    ("timeout: 90s", "timeout: 90", "expected a duration such as `30s`"),
    ("timeout: 90s", "timeout: 1h30m", "expected a duration such as `30s`"),
    ("      effect: allow", "      effect: allow\n      mask: {detectors: [email]}  # here", "`mask` belongs to rules with effect mask"),
    ("detectors: [email]", "detectors: [mail]", "unknown detector `mail`"),
    ('columns: ["*.email"]', "columns: [customers.email]", "expected `schema.table.column`"),
    ('columns: ["*.email"], detectors: [email]', "transform: hash", "expected `columns`, `tags` or `detectors`, or `json`"),
    ("detectors: [email]", "transform: constant", "`value` is missing: transform constant needs it"),
    ("detectors: [email]", "value: x", "`value` belongs to transform constant, and only there"),
    ("detectors: [email]", "transform: hash, keep_end: 4", "`keep_end` belongs to transform partial"),
    ("detectors: [email]", "transform: partial, keep_start: 101", "`keep_start` is between 0 and 100"),
    ("detectors: [email]", "transform: partial, keep_start: -1", "`keep_start` is between 0 and 100"),
    ("detectors: [email]", "transform: redact, bucket: 10", "`bucket` belongs to transform generalise"),
    ("detectors: [email]", "transform: generalise, bucket: 0", "`bucket` is above 0"),
    ("detectors: [email]", "transform: generalise, bucket: -0.5", "`bucket` is above 0"),
    ("detectors: [email]", "transform: generalise, bucket: .nan", "expected a number"),
    ("detectors: [email]", "transform: generalise, bucket: wide", "expected a number"),
    ("detectors: [email]", "transform: generalise, bucket: true", "expected a number"),
    ("detectors: [email]", "keys: [a..b]", "a path in `keys` is 1 to 8 names"),
    ("detectors: [email]", "detectors: [email], keys: [a]", "`keys` is about columns: expected no `detectors`"),
    ("detectors: [email]", "detectors: [email], transform: generalise", "generalise is about columns"),
    ("detectors: [email]", "detectors: [email], transform: constant, value: x", "`value` is about columns"),
    ('columns: ["*.email"], detectors: [email]', "detectors: [email], predicates: refuse", "is about columns: expected `columns`"),
    ('columns: ["*.email"], detectors: [email]', "json: [$.a], predicates: refuse", "is about columns: expected `columns`"),
    ('columns: ["*.email"], detectors: [email]', "json: [$.a], keys: [a]", "is about columns: expected `columns`"),
    ('columns: ["*.email"], detectors: [email]', 'headers: [x-a], unless_columns: ["*.a.b"]', "is about columns: expected `columns`"),
    ('      mask: {columns: ["*.email"], detectors: [email]}', "      mask:\n        json:\n          - $.a\n          - $.users[0:3]  # here", "expected `]` (one name or index; no slices, filters, unions) at character 10 of path `$.users[0:3]`"),
    ("detectors: [email]", "json: [user.email]", "expected a path such as `$.user.email`, not `user.email`"),
    ("detectors: [email]", "headers: [content-type]", "`content-type` says how a body is to be read"),
    ("detectors: [email]", "headers: [Set-Cookie]", "expected `cookies` with their names"),
    ("detectors: [email]", 'headers: ["x user"]', "expected the name of a header, or a glob, not `x user`"),
    ("detectors: [email]", 'headers: ["x-{a"]', "in glob `x-{a`"),
    ("detectors: [email]", 'cookies: ["a=b"]', "expected the name of a cookie, or a glob, not `a=b`"),
    ("detectors: [email]", "cookies: [" + ", ".join(f"c{number}" for number in range(65)) + "]", "`cookies` are 64 at most"),
    ("detectors: [email]", "detectors: [email], transform: blur", "expected one of `redact`"),
    ("      effect: allow", "      effect: allow\n      when: op.verb ==  # here", "not a condition"),
    ("      effect: allow", "      effect: allow\n      when: user == 'x'  # here", "undeclared reference to 'user'"),
    ("      effect: allow", "      effect: allow\n      when: op.verb.size()  # here", "expected a condition that is true or false"),
    ("      effect: allow", "      effect: allow\n      when: subject.nam == 'x'  # here", "unknown field `subject.nam` (did you mean `name`?)"),
    ("      effect: allow", "      effect: allow\n      unless: {when: has(target.label)}  # here", "unknown field `target.label` (did you mean `labels`?)"),
    ("      effect: allow", "      effect: allow\n      unless: {}  # here", "this excepts everything"),
    ("      effect: allow", "      effect: allow\n      unless: {operations: {}}  # here", "this excepts everything"),
    ("      effect: allow", "      effect: allow\n      unless: {when: 'op.'}  # here", "not a condition"),
    ("      effect: allow", "      effect: allow\n      context: {hours: 9-17}  # here", "expected hours such as"),
    ("      effect: allow", "      effect: allow\n      context: {days: [monday]}  # here", "expected one of `mon`"),
    ("      effect: allow", "      effect: allow\n      context: {timezone: CEST/X}  # here", "expected a time zone such as"),
    ("      effect: allow", "      effect: allow\n      context: {sources: [home]}  # here", "expected a network such as"),
    ("      effect: allow", "      effect: allow\n      context: {countries: [Germany]}  # here", "expected a country such as `DE`, or `unknown`, not `Germany`"),
    ("      effect: allow", "      effect: allow\n      context: {countries: [DE]}  # here", "expected `origin.countries`, which tells them"),
    ("      effect: allow", "      effect: allow\n      unless: {context: {countries: [unknown]}}  # here", "expected `origin.countries`"),
    ("    logins: [app]", "    context: {countries: [DE]}  # here\n    logins: [app]", "expected `origin.countries`"),
    ("      effect: allow", "      effect: allow\n      mode: audit  # here", "expected one of `enforce`, `observe`"),
    ("      effect: allow", "      effect: allow\n      reason: \"a\\eb\"  # here", "one line of printable text"),
    ("      effect: allow", "      effect: allow\n      subjects: {claims: {team: 1.5}}  # here", "expected text, a whole number, true or false"),
    (
        "      effect: mask\n      mask: {columns: [\"*.email\"], detectors: [email]}",
        "      effect: limit\n      operations: {verbs: [select]}\n      limit: {rows_per_hour: 5}  # here",
        "`rows_per_hour` counts all that a subject does",
    ),
    (
        "      effect: mask\n      mask: {columns: [\"*.email\"], detectors: [email]}",
        "      effect: limit\n      limit: {}  # here",
        "expected at least one limit",
    ),
    ("policy:", "recording: {result_bytes: 5}  # here\npolicy:", "expected a size such as"),
    ("policy:", "recording: {retention: {targets: {shp: {age: 1d}}}}  # here\npolicy:", "no target is named `shp`"),
    ("policy:", "sessions: {maximum: 0}  # here\npolicy:", "expected greater than or equal to 1"),
    ("policy:", "logging: {level: loud}  # here\npolicy:", "expected one of `debug`"),
    ("policy:", "roles: {root: [x]}  # here\npolicy:", "unknown key `root`"),
    ("policy:", "vault: {}  # here\npolicy:", "duplicate key `vault`"),
    ("policy:", "x: !!python/object:os.system {}  # here\npolicy:", "expected a plain value, not a tag"),
    ("policy:", "x: *nobody  # here\npolicy:", "unknown anchor `nobody`"),
    ("policy:", "<<: {version: 1}  # here\npolicy:", "merge keys"),
    ("policy:", "? [a]  # here\n: b\npolicy:", "expected a plain key"),
    ("policy:", "x: a: b  # here\npolicy:", "not YAML"),
    ("policy:", "...\n---  # here\npolicy:", "expected one document"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), BAD)
def test_a_mistake_is_told_with_its_line(old: str, new: str, message: str) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    error = wrong(text)
    told = str(error)
    assert message in told
    if "# here" in new:
        line = next(n for n, t in enumerate(text.splitlines(), 1) if "# here" in t)
        assert f"s.yaml:{line}: " in told
    else:
        assert "s.yaml:" in told
    assert "hunter2" not in told
    assert all(name not in told for name in ("pydantic", "Traceback", "model_"))


def test_all_mistakes_are_told_at_once_by_line() -> None:
    text = GOOD.replace("verbs: [select]", "verbs: [selct]")
    text = text.replace("detectors: [email]", "detectors: [mail]").replace("[app]", "[root]")
    error = wrong(text)
    assert isinstance(error, ConfigErrors)
    assert [e.message.split(",")[0] for e in error.errors] == [
        "no target has a login `root`",
        "unknown verb `selct` (did you mean `select`?)",
        "unknown detector `mail` (did you mean `email`?)",
    ]
    assert [e.line for e in error.errors] == sorted(e.line or 0 for e in error.errors)
    assert len(str(error).splitlines()) == 3


@pytest.mark.parametrize("text", ["", "- a", "5", "null", "text"])
def test_what_is_no_mapping_is_no_configuration(text: str) -> None:
    assert isinstance(wrong(text), ConfigError)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: no such file"):
        load(tmp_path / "none.yaml", vocabularies=WORDS)
    with pytest.raises(ConfigError, match="cannot be read: is a directory"):
        load(tmp_path, vocabularies=WORDS)
    (tmp_path / "s.yaml").write_text(GOOD)
    assert load(tmp_path / "s.yaml", vocabularies=WORDS).state == tmp_path / "state"


def test_two_targets_or_listeners_of_one_name_or_address() -> None:
    block = GOOD[GOOD.index("  - name: shop") : GOOD.index("issuers:")]
    assert "`shop` is taken" in str(wrong(GOOD.replace(block, block + block)))
    listener = "  - {name: main, protocol: postgres, address: 127.0.0.1:6432}\n"
    error = str(wrong(GOOD.replace(listener, listener + listener)))
    assert "`main` is taken" in error
    assert "`127.0.0.1:6432` is taken" in error


# --- YAML that attacks


def refused(raw: bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        read_yaml(raw, "s.yaml")
    return str(caught.value)


def test_aliases_that_unfold_to_billions_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert "aliases unfolded" in refused("\n".join(lines).encode())


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100_000,
        b"{a: " * 10_000,
        b"- " * 10_000,
        b"x" * (MAXIMUM_BYTES + 1),
        b"\xff\xfe",
        b"a: \xc3",
        b"a: \x00",
        b"a: \x1b[31m",
        b"a: &a [*a]",
        b"a: 'x",
        b'a: "\\x"',
        b'a: "\\ud83d"',
        b'"\\ude00": a',
        b'a: "\\ude00\\ud83d"',
        b"\t- a",
        b"%YAML 9.9\n---\na: 1",
    ],
)
def test_hostile_yaml_is_a_config_error(raw: bytes) -> None:
    assert refused(raw).startswith("s.yaml")


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"#%@`,? \n\t0"), max_size=60))
def test_any_text_is_a_tree_or_a_config_error(text: str) -> None:
    try:
        tree = read_yaml(text.encode(), "s.yaml")
    except ConfigError:
        return
    assert msgspec.json.encode(tree.value) is not None
    assert all(line <= text.count("\n") + 1 for line in tree.lines.values())


def test_words_are_those_of_yaml_1_2() -> None:
    text = b"{a: yes, b: on, c: 0o17, d: 0x1f, e: 1.5, f: ~, g: 2020-01-01, h: '1', i: 1_0, j: 010}"
    assert read_yaml(text, "s").value == {
        "a": "yes", "b": "on", "c": 15, "d": 31, "e": 1.5, "f": None, "g": "2020-01-01",
        "h": "1", "i": "1_0", "j": 10,
    }  # fmt: skip


def test_two_escapes_may_be_one_character_as_in_json() -> None:
    text = b'{"\\ud83d\\ude00": "x \\ud83d\\ude00 \\u00e9"}'
    assert read_yaml(text, "s").value == json.loads(text)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_config_error_or_a_tree(raw: bytes) -> None:
    try:
        read_yaml(raw, "s.yaml")
    except ConfigError as error:
        assert error.file == "s.yaml"


# --- scalars


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("0s", 0.0),
        ("30s", 30.0),
        ("5m", 300.0),
        ("8h", 28800.0),
        ("90d", 7776000.0),
    ],
)
def test_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("value", [5, 5.0, "5", "-5s", "5 s", "s", "", "5S", None, True, "\u0665s"])
def test_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("text", "size"), [("0B", 0), ("1KiB", 1024), ("1kB", 1000), ("50MiB", 52428800)]
)
def test_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("value", [5, "5", "5K", "-1B", "1 MiB", "1mib", None])
def test_no_size(value: object) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(value)


@pytest.mark.parametrize(
    "value",
    ["hunter2", "file:", "env:", "env:A-B", "vault:../x", "vault:", "https:x", "postgres://u:pw@h"],
)
def test_a_secret_in_place_of_its_reference_is_never_repeated(value: str) -> None:
    error = str(wrong(GOOD.replace("vault:shop-app", f'"{value}"')))
    assert "expected a reference to a secret" in error
    assert value not in error.replace("`file:PATH`", "").replace("`env:NAME`", "").replace(
        "`vault:NAME`", ""
    )


def test_the_environment_is_not_read_by_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    config = read(GOOD.replace("vault:shop-app", "env:NOT_THERE"))
    assert config.targets[0].logins["app"].credential == SecretReference("env", "NOT_THERE")
    assert "NOT_THERE" not in os.environ


def test_a_mask_may_name_parts_of_http_responses() -> None:
    masks = 'columns: ["*.email"], detectors: [email]'
    named = (
        "json: [$..email, \"$['a b'][0]\"], headers: [X-User, x-*], cookies: [sid], transform: hash"
    )
    rule = msgspec.json.decode(read(GOOD.replace(masks, named)).policy_document())["rules"][-1]
    assert rule["mask"] == {
        "json": ["$..email", "$['a b'][0]"], "headers": ["X-User", "x-*"], "cookies": ["sid"],
        "transform": "hash",
    }  # fmt: skip
