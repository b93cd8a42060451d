"""Cross-checks: what each part says of the others, and what no schema can say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from sallyport.config.detectors import check_detectors
from sallyport.config.development import check_development
from sallyport.config.document import guardrail_rules, rules_in_force
from sallyport.config.issuer_checks import check_issuers, is_origin, is_safe_url
from sallyport.config.models import Certificate, Config, Listener, TargetSettings
from sallyport.config.problems import Problem, meant, shown
from sallyport.config.rule_checks import RuleChecker, classes, waivers
from sallyport.config.rules import Context
from sallyport.config.types import Address, SecretReference
from sallyport.config.vocabulary import Vocabularies, Vocabulary
from sallyport.config.yaml import Key
from sallyport.core.stating import problem_of
from sallyport.policy.document import PolicyError
from sallyport.policy.policy import Policy


def check(config: Config, vocabularies: Vocabularies) -> list[Problem]:
    """Return everything that is wrong with `config` beyond its shape."""
    return [
        *_unique(("listeners",), (listener.name for listener in config.listeners)),
        *_unique(("targets",), (target.name for target in config.targets)),
        *_unique(("issuers",), (issuer.name for issuer in config.issuers)),
        *_unique(("issuers",), (issuer.issuer for issuer in config.issuers), "issuer"),
        *_unique(("access",), (rule.name for rule in config.access)),
        *_listeners(config, vocabularies),
        *_api(config),
        *_targets(config, vocabularies),
        *_secrets(config),
        *check_issuers(config.issuers),
        *check_development(config),
        *_oauth(config),
        *_stated(config),
        *_rules(config, vocabularies),
    ]


def _unique(path: Key, names: Iterable[str], key: str = "name") -> Iterator[Problem]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            article = "an" if key[0] in "aeiou" else "a"
            yield (*path, index, key), f"expected {article} {key} of its own, `{name}` is taken"
        seen.add(name)


def _listeners(config: Config, vocabularies: Vocabularies) -> Iterator[Problem]:
    known = ", ".join(sorted(vocabularies.protocols))
    addresses = [str(listener.address) for listener in config.listeners]
    yield from _unique(("listeners",), (a for a in addresses if not a.endswith(":0")), "address")
    for index, listener in enumerate(config.listeners):
        path = ("listeners", index)
        if listener.protocol not in vocabularies.protocols:
            problem = f"unknown protocol {shown(listener.protocol)}, expected one of {known}"
            yield (*path, "protocol"), problem
        if not listener.address.is_local and (listener.tls is None or not listener.tls.required):
            where = (*path, "tls", "required") if listener.tls else (*path, "address")
            yield where, f"`{listener.address}` is off loopback: expected `tls`, and it required"
        yield from _no_folder((*path, "address"), listener.address)
        if listener.public is not None and (listener.public.path or not listener.public.port):
            yield (*path, "public"), "expected `host:port`"
        yield from _mechanism(path, listener, vocabularies)
        yield from _listener_oauth(path, listener, config)


def _api(config: Config) -> Iterator[Problem]:
    api = config.api
    if not api.address.is_local and api.tls is None:
        yield ("api", "address"), f"`{api.address}` is off loopback: expected `tls`"
    yield from _no_folder(("api", "address"), api.address)
    if api.url is not None and (not is_safe_url(api.url) or not is_origin(api.url)):
        problem = f"expected `https://HOST` or `https://HOST:PORT`, not {shown(api.url)}"
        yield ("api", "url"), problem
    if any(issuer.web is not None for issuer in config.issuers) and not is_origin(api.origin):
        yield ("api",), f"expected a `url` that browsers call it by, for `{api.address}` is none"


def _mechanism(path: Key, listener: Listener, vocabularies: Vocabularies) -> Iterator[Problem]:
    """A listener's mechanism is one that its protocol speaks, and has the TLS that it needs."""
    words, wanted, tls = (
        vocabularies.protocols.get(listener.protocol),
        listener.authentication,
        listener.tls,
    )
    if words is not None and wanted not in words.mechanisms:
        spoken = ", ".join(sorted(words.mechanisms))
        problem = f"protocol `{listener.protocol}` does not speak `{wanted}`: expected {spoken}"
        yield (*path, "authentication"), problem
    if wanted == "certificate":
        if tls is None:
            yield (
                (*path, "authentication"),
                "`certificate` needs `tls` with `client_ca`: who signs client certificates",
            )
        elif tls.client_ca is None:
            yield (
                (*path, "tls", "client_ca"),
                "expected who signs client certificates, for `authentication: certificate`",
            )
        elif not tls.required:
            yield (*path, "tls", "required"), "`certificate` needs TLS: expected `true`"
    elif tls is not None and (tls.client_ca is not None or tls.client_groups):
        key = "client_ca" if tls.client_ca is not None else "client_groups"
        yield (
            (*path, "tls", key),
            f"only for `authentication: certificate`, and this listener takes `{wanted}`",
        )


def _listener_oauth(path: Key, listener: Listener, config: Config) -> Iterator[Problem]:
    """Where clients are sent for a token is said, where it is asked, and is an issuer of ours."""
    if listener.authentication != "oauth":
        if listener.oauth is not None:
            yield (*path, "oauth"), "only for `authentication: oauth`"
        return
    if listener.oauth is None:
        yield (
            (*path, "authentication"),
            "`oauth` needs `oauth: {issuer: NAME}`, one of `issuers`: clients are sent there",
        )
        return
    names = [issuer.name for issuer in config.issuers]
    if listener.oauth.issuer not in names:
        known = ", ".join(f"`{name}`" for name in sorted(names)) or "none is there"
        problem = f"no issuer is named {shown(listener.oauth.issuer)}: expected one of `issuers`"
        yield (*path, "oauth", "issuer"), f"{problem} ({known})"


def _stated(config: Config) -> Iterator[Problem]:
    for index, pattern in enumerate(config.stated.applications):
        if wrong := problem_of(pattern):
            yield ("stated", "applications", index), wrong


def _oauth(config: Config) -> Iterator[Problem]:
    settings = config.oauth
    if settings.endpoint is not None and not is_safe_url(settings.endpoint):
        yield ("oauth", "endpoint"), f"expected an https URL, not {shown(settings.endpoint)}"
    if not 1.0 <= settings.lifetime <= config.sessions.max_session:
        yield ("oauth", "lifetime"), "expected at least 1s, and at most `sessions.max_session`"


def _no_folder(path: Key, address: Address) -> Iterator[Problem]:
    if address.path is not None and address.port:
        yield path, f"expected the path of a socket, not `{address}`"


def _targets(config: Config, vocabularies: Vocabularies) -> Iterator[Problem]:
    known = ", ".join(sorted(vocabularies.protocols))
    for index, target in enumerate(config.targets):
        path = ("targets", index)
        if target.protocol not in vocabularies.protocols:
            problem = f"unknown protocol {shown(target.protocol)}, expected one of {known}"
            yield (*path, "protocol"), problem
        if target.login not in target.logins:
            there = ", ".join(map(shown, sorted(target.logins))) or "none"
            problem = f"expected one of `logins`, not {shown(target.login)}: there is {there}"
            yield (*path, "login"), problem
        yield from _own(path, target, vocabularies.protocols.get(target.protocol))
        yield from classes((*path, "classify"), target)
        yield from waivers((*path, "masks", "waive"), target)
        if target.address.port == 0:
            yield (*path, "address"), "expected a port: `host:port` or `/folder:port`"
        if target.tls.mode in ("disable", "require") and target.tls.ca is not None:
            yield (*path, "tls", "ca"), f"mode {target.tls.mode} verifies nothing: expected no `ca`"
    for name in config.recording.retention.targets:
        if all(target.name != name for target in config.targets):
            yield ("recording", "retention", "targets", name), f"no target is named {shown(name)}"


def _own(path: Key, target: TargetSettings, words: Vocabulary | None) -> Iterator[Problem]:
    """What a target says is what its protocol has a use for."""
    if words is None:
        return
    if "database" in words.kinds and not target.database:
        yield (*path, "database"), "expected the database to reach"
    if words.settings is not None:
        try:
            msgspec.convert(target.settings, words.settings)
        except (msgspec.ValidationError, ValueError) as error:
            text, _, where = str(error).partition(" - at `$")
            yield (*path, "settings", *_within(where.rstrip("`"))), text


def _within(where: str) -> Key:
    """Return the key that msgspec's path (`.inject.as`, `[0].effect`) means."""
    found = re.findall(r"\.([^.\[]+)|\[(\d+)\]", where)
    return tuple(name if name else int(index) for name, index in found)


def _secrets(config: Config) -> Iterator[Problem]:
    key = config.vault.key
    if key.scheme == "vault":
        yield ("vault", "key"), "expected `env:NAME` or `file:PATH`: the vault cannot hold its key"
    if config.vault.generate and key.scheme != "file":
        yield ("vault", "generate"), "expected `key` to be a file, so that it can be made"
    for path, reference in _certificates(config):
        if reference is not None and reference.scheme == "vault":
            yield path, "expected `env:NAME` or `file:PATH`: the vault holds credentials of targets"


def _certificates(config: Config) -> Iterator[tuple[Key, SecretReference | None]]:
    """Yield what is read by processes that have no vault, and where it stands."""
    served: list[tuple[Key, Certificate | None]] = [(("api",), config.api.tls)]
    served += [(("listeners", at), each.tls) for at, each in enumerate(config.listeners)]
    for place, tls in served:
        if tls is not None:
            yield (*place, "tls", "certificate"), tls.certificate
            yield (*place, "tls", "key"), tls.key
    for at, each in enumerate(config.listeners):
        if each.tls is not None:
            yield ("listeners", at, "tls", "client_ca"), each.tls.client_ca
    for at, target in enumerate(config.targets):
        yield ("targets", at, "tls", "ca"), target.tls.ca
    for at, issuer in enumerate(config.issuers):
        yield ("issuers", at, "ca"), issuer.ca
        if issuer.web is not None:
            yield ("issuers", at, "web", "client_secret"), issuer.web.client_secret


def _rules(config: Config, vocabularies: Vocabularies) -> Iterator[Problem]:
    own = frozenset(detector.name for detector in config.detectors)
    checker = RuleChecker(vocabularies, config.targets, config.approvals, own)
    shipped = {rule.name for rule in guardrail_rules()}
    for index, name in enumerate(config.policy.guardrails.except_):
        if name not in shipped:
            path: Key = ("policy", "guardrails", "except", index)
            yield path, f"no guardrail is named {shown(name)}{meant(name, shipped)}"
    taken = {rule.name for rule, guardrail in rules_in_force(config.policy) if guardrail}
    problems: list[Problem] = list(check_detectors(config.detectors, vocabularies.detectors))
    for index, rule in enumerate(config.policy.rules):
        path = ("policy", "rules", index)
        if rule.name in taken:
            problems.append(
                ((*path, "name"), f"expected a name of its own, `{rule.name}` is taken")
            )
        taken.add(rule.name)
        problems.extend(checker.rule(path, rule))
    for index, access in enumerate(config.access):
        problems.extend(checker.access(("access", index), access))
    problems.extend(_origin(config))
    yield from problems
    if not problems:
        yield from _whole(config)


def _origin(config: Config) -> Iterator[Problem]:
    """FAILS CLOSED: countries that nobody can tell are no condition, but a mistake."""
    if config.origin.countries is not None:
        return
    named: list[tuple[Key, Context | None]] = []
    for index, access in enumerate(config.access):
        named.append((("access", index, "context"), access.context))
    for index, rule in enumerate(config.policy.rules):
        path: Key = ("policy", "rules", index)
        named.append(((*path, "context"), rule.context))
        excepted = None if rule.unless is None else rule.unless.context
        named.append(((*path, "unless", "context"), excepted))
    for where, context in named:
        if context is not None and context.countries:
            yield (*where, "countries"), "expected `origin.countries`, which tells them"


def _whole(config: Config) -> Iterator[Problem]:
    """The document is compiled as workers will, so that what is handed out is known to load."""
    try:
        Policy(config.policy_document())
    except PolicyError as error:
        yield ("policy",), str(error)
