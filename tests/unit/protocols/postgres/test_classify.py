"""The caches in front of the classification."""

from __future__ import annotations

import threading

import pytest

from sallyport.core.operation import Effect
from sallyport.protocols.postgres import classify
from sallyport.protocols.postgres.classify import VERBS, Classifier
from sallyport.sql.catalogue import Catalogue, CatalogueSnapshot, Column, Function, Relation
from sallyport.sql.session import SessionState
from sallyport.sql.verbs import VERBS as ALL_VERBS

STATE = SessionState.start("shop", "app", None, 18)


def catalogue(epoch: str, *columns: str) -> CatalogueSnapshot:
    """A catalogue with one table, `public.things`."""
    known = tuple(Column(name, number + 1, "text") for number, name in enumerate(columns))
    return CatalogueSnapshot(
        Catalogue(
            version=18,
            epoch=epoch,
            relations=(Relation(20000, "public", "things", "table", known),),
            functions=(Function("pg_catalog", "lower", "i", "f", True, True),),
            schemas=frozenset({"public", "pg_catalog"}),
        )
    )


ONE = catalogue("1", "a", "b")
TWO = catalogue("2", "a", "b", "c")


def test_the_verbs_are_all_verbs() -> None:
    assert VERBS is ALL_VERBS


def test_the_same_text_is_classified_once() -> None:
    classifier = Classifier()
    first = classifier.classify("select a from things", STATE, ONE)
    assert classifier.classify("select a from things", STATE, ONE) is first


def test_another_epoch_is_another_answer() -> None:
    classifier = Classifier()
    assert classifier.classify("select * from things", STATE, ONE).statements[0].resources[
        1
    ].columns == ("a", "b")
    assert classifier.classify("select * from things", STATE, TWO).statements[0].resources[
        1
    ].columns == ("a", "b", "c")


def test_another_state_is_another_answer() -> None:
    classifier = Classifier()
    assert classifier.classify("select a from things", STATE, ONE).needs == ""
    other = SessionState.start("shop", "app", "elsewhere", 18)
    assert classifier.classify("select a from things", other, ONE).needs == "catalogue"


def test_what_needs_something_is_not_remembered() -> None:
    classifier = Classifier()
    assert classifier.classify("select c from things", STATE, ONE).needs == "catalogue"
    assert classifier.classify("select c from things", STATE, TWO).needs == ""


def test_each_statement_sees_what_its_predecessors_leave() -> None:
    found = Classifier().classify("set search_path = x; select a from things", STATE, ONE)
    assert [statement.effect for statement in found.statements] == [Effect.READ, Effect.UNKNOWN]
    assert all("multi-statement" in statement.facts for statement in found.statements)


def test_large_texts_wait_for_their_parse() -> None:
    classifier = Classifier()
    text = "select a from things where a in (" + ", ".join(["'x'"] * 2000) + ")"
    waiting = classifier.classify(text, STATE, ONE)
    assert waiting.needs == "parse"
    assert waiting.statements[0].effect is Effect.UNKNOWN
    worker = threading.Thread(target=classifier.prepare, args=(text,))
    worker.start()
    worker.join()
    found = classifier.classify(text, STATE, ONE)
    assert found.needs == ""
    assert found.statements[0].effect is Effect.READ
    assert found.statements[0].fingerprint
    assert classifier.classify(text, STATE, ONE) is found


def test_a_large_text_that_does_not_parse_waits_once() -> None:
    classifier = Classifier()
    text = "select " + "x" * 5000 + " from where"
    assert classifier.classify(text, STATE, ONE).needs == "parse"
    classifier.prepare(text)
    found = classifier.classify(text, STATE, ONE)
    assert found.needs == ""
    assert "syntax error" in found.error


def test_a_large_text_is_parsed_once_though_it_waits_for_the_catalogue_too() -> None:
    classifier = Classifier()
    text = "select a from things where a in (" + ", ".join(map(str, range(2000))) + ")"
    assert classifier.classify(text, STATE, None).needs == "parse"
    classifier.prepare(text)
    assert classifier.classify(text, STATE, None).needs == "catalogue"
    found = classifier.classify(text, STATE, ONE)
    assert found.needs == ""
    assert found.statements[0].effect is Effect.READ
    assert not classifier._prepared


def test_the_caches_stay_within_their_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classify, "_TEXTS", 2000)
    monkeypatch.setattr(classify, "_TREES", 1000)
    monkeypatch.setattr(classify, "_PREPARED", 3000)
    classifier = Classifier()
    for number in range(300):
        text = f"select a, {number} from things"
        classifier.classify(text, STATE, ONE)
        classifier.prepare(text + " " * 500)
    assert 0 < classifier._known_size <= 2000
    assert classifier._known_size == sum(len(key[0]) for key in classifier._known)
    assert 0 < classifier._tree_size <= 1000
    assert classifier._tree_size == sum(len(text) for text in classifier._trees)
    assert 0 < classifier._prepared_size <= 3000
    assert classifier._prepared_size == sum(len(text) for text in classifier._prepared)


def test_a_failure_names_itself_and_its_database() -> None:
    found = Classifier().classify("selec", STATE, ONE)
    assert found.error == 'syntax error at or near "selec"'
    (statement,) = found.statements
    assert statement.text == "selec"
    assert (statement.resources[0].kind, statement.resources[0].name) == ("database", "shop")
