"""Who vouches for an issuer: certificates alone are told, and within bounds taken."""

from __future__ import annotations

import ssl

import pytest

from sallyport.identity.authorities import (
    MAXIMUM_AUTHORITIES,
    taken_authorities,
    told_authorities,
)
from tests.support.authority import Authority

ONE, OTHER = Authority("one"), Authority("other")
NONSENSE = (
    " ",
    "garbage",
    "\u00e4",
    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ONE.key.decode(),
)


def test_what_is_told_holds_certificates_alone() -> None:
    text = b"# ours\n" + ONE.key + ONE.certificate + b"password: x\n" + OTHER.certificate
    assert told_authorities(text.decode()) == (ONE.certificate + OTHER.certificate).decode()
    assert told_authorities(None) == ""


def test_what_is_taken_is_believed_and_nobody_else() -> None:
    context = taken_authorities((ONE.certificate + OTHER.certificate).decode())
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
    assert len(context.get_ca_certs()) == 2, "and none of the system's"
    assert taken_authorities("") is None


@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_is_refused_on_both_sides(text: str) -> None:
    with pytest.raises(ValueError, match="PEM"):
        taken_authorities(text)
    with pytest.raises(ValueError, match="PEM"):
        told_authorities(text)


def test_there_is_a_bound_on_both_sides() -> None:
    many = ONE.certificate.decode() * (MAXIMUM_AUTHORITIES // len(ONE.certificate) + 1)
    for take in (taken_authorities, told_authorities):
        with pytest.raises(ValueError, match=str(MAXIMUM_AUTHORITIES)):
            take(many)
