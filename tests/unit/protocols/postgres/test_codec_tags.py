"""What an operation says of its target's columns: the comments of that moment."""

from __future__ import annotations

from msgspec import structs

from sallyport.core.operation import UNKNOWN_TAGS
from sallyport.protocols.base import OperationIssued, Side
from sallyport.sql.catalogue import CatalogueSnapshot
from tests.unit.protocols.postgres.script import Session, query, snapshot

SAID = (("pii", ("public.customers.email",)),)


def commented(epoch: str) -> CatalogueSnapshot:
    return CatalogueSnapshot(structs.replace(snapshot().raw, tags=SAID, epoch=epoch))


def issued(session: Session) -> OperationIssued:
    events = session.codec.receive(Side.CLIENT, query("SELECT * FROM customers"))
    (found,) = (event for event in events if isinstance(event, OperationIssued))
    return found


def test_tags_are_those_of_the_catalogue_and_one_object_for_each() -> None:
    session = Session(real=True)
    assert issued(session).tags == ()
    session = Session(real=True)
    session.catalogue = commented("2")
    assert issued(session).tags is session.catalogue.tags == SAID


def test_without_a_catalogue_every_column_may_have_every_tag() -> None:
    session = Session()
    session.catalogue = None
    assert issued(session).tags is UNKNOWN_TAGS


def test_a_held_operation_does_not_stand_when_comments_have_changed() -> None:
    session = Session(real=True)
    held = issued(session)
    session.catalogue = CatalogueSnapshot(structs.replace(snapshot().raw, epoch="2"))
    assert session.codec.stands(held.operation)
    session.catalogue = commented("3")
    assert not session.codec.stands(held.operation)
