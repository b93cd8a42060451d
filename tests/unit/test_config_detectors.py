"""Detectors of an operator's own in the configuration, and in the document that workers get."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sallyport.app.configuration import vocabularies
from sallyport.config import Config, load_bytes
from sallyport.control.mask_checks import detectors_at, masks_at, revision_at
from sallyport.core.decision import Mask
from sallyport.core.detector import CustomDetector
from sallyport.core.errors import ConfigError
from sallyport.core.grant import Target, TargetAddress
from sallyport.masking.plan import mask_text
from sallyport.policy import Policy, PolicyError, document
from tests.unit.test_config import GOOD

DETECTORS = """\
detectors:
  - name: employee-id
    description: our staff numbers
    patterns: ['EMP-[0-9]{6}']
    left: word
    right: word
    column_hint: "(^|_)emp(loyee)?_?id"
    context: [personnel, badge]
    checksum: luhn
  - name: project-names
    words: [Bluebird, Nightjar]
    ignore_case: true
"""
TEXT = GOOD.replace("detectors: [email]", "detectors: [employee-id, project-names, email]")
TEXT = TEXT + DETECTORS
LINES = {line.strip(): number for number, line in enumerate(TEXT.splitlines(), 1)}
TARGET = Target("shop", "postgres", TargetAddress("127.0.0.1", 5432), "shop", {})


def read(text: str) -> Config:
    return load_bytes(
        text.encode(), file="s.yaml", folder=Path("/etc/s"), vocabularies=vocabularies()
    )


def wrong(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return str(caught.value)


def test_detectors_stand_in_the_policy_and_in_the_masks_that_name_them() -> None:
    config = read(TEXT)
    staff = CustomDetector(
        "employee-id",
        ("EMP-[0-9]{6}",),
        left="word",
        right="word",
        hint="(^|_)emp(loyee)?_?id",
        context=("personnel", "badge"),
        checksum="luhn",
    )
    names = CustomDetector(
        "project-names", words="Bluebird\nNightjar", ignore_case=True, left="word", right="word"
    )
    assert document.decode(config.policy_document()).detectors == (staff, names)
    assert detectors_at(config.policy_document()) == (staff, names)
    masks = masks_at(config.policy_document(), TARGET, ())
    used = ("employee-id", "project-names", "email")
    assert masks == (Mask("mask-pii", "redact", ("*.email",), used, custom=(staff, names)),)


def test_a_mask_has_the_definitions_that_it_names_and_no_others() -> None:
    text = TEXT.replace("[employee-id, project-names, email]", "[project-names, all]")
    (mask,) = masks_at(read(text).policy_document(), TARGET, ())
    assert [detector.name for detector in mask.custom] == ["project-names"]
    text = TEXT.replace("[employee-id, project-names, email]", "[all]")
    (mask,) = masks_at(read(text).policy_document(), TARGET, ())
    assert mask.custom == ()


def test_a_change_of_a_definition_is_another_policy_and_other_masks() -> None:
    before, after = read(TEXT), read(TEXT.replace("Nightjar", "Nightingale"))
    assert before.revision != after.revision
    one, other = before.policy_document(), after.policy_document()
    assert revision_at(one, TARGET) != revision_at(other, TARGET)
    described = read(TEXT.replace("our staff numbers", "theirs")).policy_document()
    assert described == one


def test_words_may_be_a_text_with_a_word_a_line() -> None:
    text = TEXT.replace("[Bluebird, Nightjar]", "|\n      Bluebird\n\n      Night jar\n")
    assert read(text).detectors[1].words == ("Bluebird", "Night jar")


def test_the_detectors_that_the_page_shows_are_good() -> None:
    page = (Path(__file__).parents[2] / "docs" / "masking.md").read_text()
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    config = read(GOOD[: GOOD.index("policy:")] + shown)
    (mask,) = masks_at(config.policy_document(), TARGET, ())
    assert [one.name for one in mask.custom] == [one.name for one in config.detectors]
    text = "emp T1234567, badge 12345; C0000-0000-92 and c0000-0000-99, NIGHT JAR"
    assert mask_text(text, (mask,), b"") == (
        "emp [redacted:employee-id], badge [redacted:badge]; [redacted:contract]"
        " and c0000-0000-99, [redacted:project-names]"
    )


@pytest.mark.parametrize(
    ("old", "new", "at", "message"),
    [
        ("name: employee-id", "name: email", "name: employee-id", "`email` is built in"),
        ("name: employee-id", "name: all", "name: employee-id", "`all` is built in"),
        ("name: employee-id", "name: Staff", "name: employee-id", "expected a name of `a-z`"),
        ("name: project-names", "name: employee-id", "name: project-names", "is taken"),
        ("patterns: ['EMP-", "patterns: ['^EMP-", "patterns", "use `left` and `right`"),
        ("patterns: ['EMP-[0-9]{6}'", "patterns: ['E*'", "patterns", "an empty text"),
        ("patterns: ['EMP-[0-9]{6}'", "patterns: ['[0-9'", "patterns", "`[` is not closed"),
        ("patterns: ['EMP-[0-9]{6}'", "patterns: ['E', '(?=x)'", "patterns", "nothing else"),
        ("patterns: ['EMP-[0-9]{6}']", "patterns: []", "name: employee-id", "or `words`"),
        ("words: [Bluebird, Nightjar]", "words: []", "name: project-names", "or `words`"),
        ("words: [Bluebird, Nightjar]", "words: [a, ' b']", "words", "without blanks"),
        ("words: [Bluebird, Nightjar]", 'words: [a, "b\\tc"]', "words", "a control character"),
        ("words: [Bluebird, Nightjar]", 'words: [a, "b\\nc"]', "words", "a line end"),
        ("words: [Bluebird, Nightjar]", 'words: ["", a]', "words", "expected a word"),
        ("ignore_case: true", "patterns: [x]", "name: project-names", "and not both"),
        ("ignore_case: true", "checksum: luhn", "ignore_case: true", "is about patterns"),
        ("checksum: luhn", "ignore_case: true", "checksum: luhn", "write `(?i)`"),
        ("checksum: luhn", "checksum: crc", "checksum: luhn", "not `crc`"),
        ("left: word", "left: letter", "left: word", "not `letter`"),
        ("left: word", "lef: word", "left: word", "did you mean `left`"),
        ('"(^|_)emp', '"(^|_emp', "column_hint", "`(` is not closed"),
        ("[personnel, badge]", "[personnel, '']", "context", "expected a word"),
        ("[employee-id, project", "[employee-ids, project", "mask: {", "unknown detector"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(old: str, new: str, at: str, message: str) -> None:
    assert old in TEXT
    said = wrong(TEXT.replace(old, new))
    line = next(number for text, number in LINES.items() if at in text)
    if at == "words":
        line = LINES["words: [Bluebird, Nightjar]"]
    assert message in said and f"s.yaml:{line}: " in said, said


@pytest.mark.parametrize(
    ("detectors", "message"),
    [
        ("words: [" + ", ".join(f"w{n}" for n in range(10_001)) + "]", "10000 words at most"),
        ("words: [" + "w" * 201 + "]", "200 bytes at most"),
        ("patterns: [" + ", ".join(f"w{n}" for n in range(33)) + "]", "32 patterns at most"),
        ("patterns: ['" + "x" * 501 + "']", "500 characters at most"),
        (r"patterns: ['\pL{200}']", "too large"),
        ("patterns: [x]\n    context: [" + "w, " * 17 + "]", "16 words at most"),
        ("patterns: [x]\n    context: [" + "w" * 33 + "]", "32 bytes at most"),
    ],
)
def test_bounds(detectors: str, message: str) -> None:
    assert message in wrong(f"{GOOD}detectors:\n  - name: large\n    {detectors}\n")


def test_bounds_of_all_together() -> None:
    many = "".join(f"  - {{name: d{n}, words: [x]}}\n" for n in range(65))
    assert "64 detectors at most" in wrong(f"{GOOD}detectors:\n{many}")
    words = ", ".join(f"w{n}" for n in range(5001))
    many = "".join(f"  - {{name: d{n}, words: [{words}]}}\n" for n in range(2))
    assert "in all detectors together" in wrong(f"{GOOD}detectors:\n{many}")
    many = "".join(f"  - {{name: d{n}, patterns: ['\\pL{{14}}']}}\n" for n in range(5))
    assert "together are too large" in wrong(f"{GOOD}detectors:\n{many}")


@pytest.mark.parametrize(
    "detectors",
    [
        b'[{"name":"x","patterns":["^x"]}]',
        b'[{"name":"x","patterns":["x*"]}]',
        b'[{"name":"x","patterns":["x"],"words":"y"}]',
        b'[{"name":"x"}]',
        b'[{"name":"X","patterns":["x"]}]',
        b'[{"name":"x","words":"a\\n\\nb"}]',
        b'[{"name":"x","patterns":["x"],"left":"letter"}]',
        b'[{"name":"x","patterns":["x"],"checksum":"crc"}]',
        b'[{"name":"x","patterns":["x"],"hint":"("}]',
        b'[{"name":"x","patterns":["x"],"more":1}]',
        b'[{"name":"x","patterns":["x"]},{"name":"x","patterns":["y"]}]',
        b"[" + b",".join(b'{"name":"x%d","patterns":["x"]}' % n for n in range(65)) + b"]",
    ],
)
def test_a_worker_refuses_a_document_with_a_detector_that_is_none(detectors: bytes) -> None:
    good = read(TEXT).policy_document()
    assert Policy(good)
    start = good.index(b'"detectors":[{') + len(b'"detectors":')
    end = good.index(b',"rules"')
    with pytest.raises(PolicyError):
        Policy(good[:start] + detectors + good[end:])
    assert Policy(good[:start] + b'[{"name":"x","patterns":["x"]}]' + good[end:])
