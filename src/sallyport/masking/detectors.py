"""Detectors: those that come with Sallyport, by name, and the groups that a policy may name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sallyport.core.decision import Mask
from sallyport.masking import checks, patterns
from sallyport.masking.custom import made
from sallyport.masking.digits import DigitsDetector, IbanDetector, SeveralDetector
from sallyport.masking.finders import BlockDetector, Check, Detector, PatternDetector, plain


def _text(check: Callable[[str], bool]) -> Check:
    return lambda data: check(plain(data))


def _phone(data: bytes) -> bool:
    return 7 <= len(plain(data)) <= 15


_PHONE_HINT = r"phone|mobil|(^|_)(tel|cell|fax|gsm|sms|whatsapp|msisdn)|telefon|handy"

_BUILTIN: tuple[Detector, ...] = (
    PatternDetector("email", (patterns.EMAIL,)),
    PatternDetector(
        "phone",
        patterns.PHONE,
        check=_phone,
        left="digit",
        right="digit",
        hint=_PHONE_HINT,
        hinted_core=(f"({patterns.PHONE_NUMBER})",),
    ),
    DigitsDetector("card", (13, 19), checks.card),
    IbanDetector(),
    PatternDetector(
        "ssn",
        patterns.SSN,
        check=_text(checks.ssn),
        left="digit",
        right="digit",
        hint=r"(^|_)(ssn|social|tin|tax_?id|taxpayer)",
        hinted_core=(f"({patterns.D}{{9}})",),
    ),
    DigitsDetector(
        "bsn",
        (9, 9),
        checks.bsn,
        shapes=((9,), (3, 3, 3), (4, 2, 3), (4, 3, 2), (2, 3, 4)),
        separator=patterns.DOTTED,
        hint="bsn|burgerservice|sofi",
        numbers=False,
    ),
    PatternDetector("dni", patterns.DNI, check=_text(checks.dni), left="word", right="word"),
    SeveralDetector(
        DigitsDetector(
            "nir",
            (15, 15),
            checks.nir,
            shapes=((15,), (13, 2), (1, 2, 2, 2, 3, 3, 2)),
            core=patterns.NIR_CORE,
        ),
        PatternDetector(
            "nir",
            patterns.NIR_CORSICA,
            check=_text(checks.nir),
            left="digit",
            right="digit",
        ),
    ),
    PatternDetector(
        "codice-fiscale",
        patterns.CODICE_FISCALE,
        check=_text(checks.codice_fiscale),
        left="word",
        right="word",
    ),
    DigitsDetector("pesel", (11, 11), checks.pesel, shapes=((11,),), hint="pesel"),
    DigitsDetector(
        "nrn",
        (11, 11),
        checks.nrn,
        shapes=((11,), (2, 2, 2, 3, 2), (6, 3, 2), (6, 5), (9, 2)),
        hint="rijksregister|registre_?national|niss|insz|(^|_)nrn",
        separator=patterns.DOTTED,
    ),
    DigitsDetector(
        "steuer-id",
        (11, 11),
        checks.steuer_id,
        shapes=((11,), (2, 3, 3, 3), (3, 3, 3, 2), (2, 3, 6)),
    ),
    PatternDetector("jwt", patterns.JWT, left="word"),
    BlockDetector(
        "private-key",
        (
            (patterns.PEM_BEGIN, patterns.PEM_END),
            (patterns.PUTTY_BEGIN, patterns.PUTTY_END),
        ),
        patterns.PRIVATE_KEY_LINES,
    ),
    *(PatternDetector(name, cores, left="word") for name, cores in patterns.KEYS.items()),
    PatternDetector("url-password", patterns.URL_PASSWORD),
)

BUILTIN: dict[str, Detector] = {detector.name: detector for detector in _BUILTIN}
"""The detectors that come with Sallyport, by name."""

NATIONAL_IDS = ("ssn", "bsn", "dni", "nir", "codice-fiscale", "pesel", "nrn", "steuer-id")
PII = ("email", "phone", "card", "iban", *NATIONAL_IDS)
SECRETS = ("jwt", "private-key", *patterns.KEYS, "url-password")
GROUPS: dict[str, tuple[str, ...]] = {
    "national-id": NATIONAL_IDS,
    "pii": PII,
    "api-key": tuple(patterns.KEYS),
    "secret": SECRETS,
    "all": PII + SECRETS,
}
"""Names that stand for several detectors."""

NAMES = frozenset(BUILTIN) | frozenset(GROUPS)
"""Every name that a policy may use without defining it."""


def expand(names: Sequence[str], known: dict[str, Detector] = BUILTIN) -> tuple[Detector, ...]:
    """Return the detectors that `names` stand for, each once.

    FAILS CLOSED: an unknown name is an error, never a detector less. Raises: ValueError.
    """
    out: dict[str, Detector] = {}
    for name in names:
        for single in GROUPS.get(name, (name,)):
            if single not in known:
                raise ValueError(f"no detector is called `{single}`")
            out[single] = known[single]
    return tuple(out.values())


def detectors_of(mask: Mask) -> tuple[Detector, ...]:
    """Return the detectors of a mask, each once.

    FAILS CLOSED: as `expand`, and where a definition takes the name of what is built in. Raises:
    ValueError.
    """
    if not mask.custom:
        return expand(mask.detectors)
    known = dict(BUILTIN)
    for definition in mask.custom:
        if definition.name in known or definition.name in GROUPS:
            raise ValueError(f"detector `{definition.name}` is defined twice")
        known[definition.name] = made(definition)
    return expand(mask.detectors, known)
