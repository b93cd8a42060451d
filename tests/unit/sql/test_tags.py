"""Tags in the comments of columns."""

from __future__ import annotations

import pytest

from sallyport.core.globs import Globs, glob_of
from sallyport.sql.tags import tags_in, tags_of


@pytest.mark.parametrize(
    ("comment", "tags"),
    [
        ("pii.email", ("pii.email",)),
        ("PII", ("pii",)),
        ("of a person (GDPR.birth-date), kept", ("gdpr.birth-date",)),
        ("pci.card, pii.name; Secret", ("pci.card", "pii.name", "secret")),
        ("pii.", ("pii",)),
        ("sensitive.", ("sensitive",)),
        ("secretive secrets non-secret my_pii api pii_x x.pii gdpr-like", ()),
        ("sallyport: internal.pay", ("internal.pay",)),
        ("A month's. SALLYPORT:hr , Internal.Pay.gross,pii\nand more, too", ("pii", "hr", "internal.pay.gross")),
        ("sallyport:\nhr", ("hr",)),
        ("sallyport: , hr", ("hr",)),
        ("sallyport : x,\n hr", ("x", "hr")),
        ("sallyport: x,,hr; pay.net", ("x", "hr", "pay.net")),
        ("sallyport: hr. And so on", ("hr",)),
        ("x" * 3999 + " pii.email-address", ()),
        ("x" * 3990 + " pii.email-address", ("pii.email-address",)),
        ("mysallyport: hr", ()),
        ("\u017fecret P\u0130\u0130", ()),
        ("", ()),
    ],
)  # fmt: skip
def test_tags_are_words_of_a_comment(comment: str, tags: tuple[str, ...]) -> None:
    assert tags_in(comment) == tags


def test_columns_are_gathered_by_tag_under_globs_that_mean_them_alone() -> None:
    found = tags_of(
        [
            (("public", "b", "x"), "pii.email"),
            (("public", "a", "x"), "pii.email, secret"),
            (("s.*", "{t,u}", "a\\?"), "secret"),
            (("public", "a", "y"), "nothing"),
        ]
    )
    odd = glob_of("s.*", "{t,u}", "a\\?")
    assert found == (("pii.email", ("public.a.x", "public.b.x")), ("secret", ("public.a.x", odd)))
    globs = Globs((odd,))
    assert globs.matches("s.*.{t,u}.a\\?")
    assert not any(map(globs.matches, ("s.b.t.a\\?", "s.*.t.a\\?", "s.*.{t,u}.a\\b")))


def test_no_tags_are_one_object() -> None:
    assert tags_of([]) is tags_of([(("a", "b", "c"), "none")])
