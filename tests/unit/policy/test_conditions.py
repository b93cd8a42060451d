"""What is said of a condition before it is asked."""

import pytest

from sallyport.policy.conditions import FIELDS, add_volatile, unknown_field, variables_of
from tests.unit.policy.requests import context, operation, subject, target


def test_the_fields_that_are_known_are_those_that_conditions_read() -> None:
    variables = variables_of(subject(), target(), context(), operation())
    add_volatile(variables, context(), operation())
    assert {name: frozenset(fields) for name, fields in variables.items()} == FIELDS


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("subject.nam == 'x'", ("subject", "nam")),
        ("has(context.tine)", ("context", "tine")),
        ("op . verb == 'a' && op . verv == 'b'", ("op", "verv")),
        ("subject.claims.level > 2", None),
        ("op.parameters.size() < 100", None),
        ("op.resources.exists(r, r.anything == 'x')", None),
        ("op.text == 'target.nothing'", None),
        (r"op.text == 'it\'s target.nothing'", None),
        ("op.text == '''a ' target.nothing'''", None),
        ('op.text == """a " target.nothing"""', None),
        ("true // subject.nothing", None),
        ("subject.groups.exists(target, target.nothing == 'x')", None),
        ("subject.claims.op.nothing == 'x'", None),
        (r"op.text.matches(r'\') && true", None),
        ("context.now.getHours('UTC') == 12", None),
    ],
)
def test_a_field_that_no_operation_has_is_found(source: str, found: tuple[str, str] | None) -> None:
    assert unknown_field(source) == found
