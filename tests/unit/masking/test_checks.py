"""Checksums know real numbers from near ones."""

from collections.abc import Callable

import pytest

from sallyport.masking import checks

VALID: list[tuple[Callable[[str], bool], list[str]]] = [
    (
        checks.card,
        "4111111111111111 4222222222222 5500000000000004 5105105105105100 2223003122003222 "
        "340000000000009 378282246310005 30569309025904 38520000023237 6011000000000004 "
        "6011111111111117 3530111333300000 6200000000000005 6304000000000000 2200000000000004".split(),
    ),
    (
        checks.iban,
        "DE89370400440532013000 GB82WEST12345698765432 NL91ABNA0417164300 NO9386011117947 "
        "FR1420041010050500013M02606 IT60X0542811101000000123456 ES9121000418450200051332 "
        "BE68539007547034 CH9300762011623852957 MT84MALT011000012345MTLCAST001S "
        "PL61109010140000071219812874 SE4550000000058398257466".split(),
    ),
    (checks.ssn, ["123456789", "078051120", "899999999"]),
    (checks.bsn, ["111222333", "123456782"]),
    (checks.dni, ["12345678Z", "X1234567L", "Z1234567R", "00000000T"]),
    (checks.nir, ["255081416802538", "180126955222380"]),
    (checks.codice_fiscale, ["RSSMRA85T10A562S", "MRTMTT91D08F205J", "RSSMRA85T10A56NH"]),
    (checks.pesel, ["44051401359", "02070803628"]),
    (checks.nrn, ["85073003328", "17073003384"]),
    (checks.steuer_id, ["86095742719", "47036892816", "65929970489"]),
]


@pytest.mark.parametrize(
    ("check", "number"), [(check, number) for check, numbers in VALID for number in numbers]
)
def test_valid_number(check: Callable[[str], bool], number: str) -> None:
    assert check(number)


@pytest.mark.parametrize(
    ("check", "number"),
    [(check, number) for check, numbers in VALID for number in numbers if check is not checks.ssn],
)
def test_one_wrong_digit_at_the_end_is_noticed(check: Callable[[str], bool], number: str) -> None:
    last = number[-1]
    other = chr((ord(last) - 47) % 10 + 48) if last.isdigit() else ("B" if last == "A" else "A")
    assert not check(number[:-1] + other)


@pytest.mark.parametrize(
    "number",
    ["000456789", "666456789", "900456789", "999456789", "123006789", "123450000", "12345678"],
)
def test_numbers_that_were_never_issued(number: str) -> None:
    assert not checks.ssn(number)


@pytest.mark.parametrize("number", ["1111111111111117", "7111111111111111", "0000000000000000"])
def test_luhn_outside_the_known_ranges_is_no_card(number: str) -> None:
    assert not checks.card(number)
