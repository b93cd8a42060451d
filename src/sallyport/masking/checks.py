"""Checksums and number plans: what tells an identifier from digits that look like one.

Every function takes the bare characters (ASCII digits, upper case letters) and returns whether
they can be what its name says.
"""

from __future__ import annotations

_ODD_DIGITS = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21)
_ODD_LETTERS = (*_ODD_DIGITS, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_ODD_VALUES = dict(
    zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (*_ODD_DIGITS, *_ODD_LETTERS), strict=True)
)
_OMOCODIA = dict(zip("LMNPQRSTUV", "0123456789", strict=True))
_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"

IBAN_LENGTHS = {
    "AD": 24,
    "AE": 23,
    "AL": 28,
    "AT": 20,
    "AZ": 28,
    "BA": 20,
    "BE": 16,
    "BG": 22,
    "BH": 22,
    "BI": 27,
    "BR": 29,
    "BY": 28,
    "CH": 21,
    "CR": 22,
    "CY": 28,
    "CZ": 24,
    "DE": 22,
    "DJ": 27,
    "DK": 18,
    "DO": 28,
    "EE": 20,
    "EG": 29,
    "ES": 24,
    "FI": 18,
    "FK": 18,
    "FO": 18,
    "FR": 27,
    "GB": 22,
    "GE": 22,
    "GI": 23,
    "GL": 18,
    "GR": 27,
    "GT": 28,
    "HN": 28,
    "HR": 21,
    "HU": 28,
    "IE": 22,
    "IL": 23,
    "IQ": 23,
    "IS": 26,
    "IT": 27,
    "JO": 30,
    "KW": 30,
    "KZ": 20,
    "LB": 28,
    "LC": 32,
    "LI": 21,
    "LT": 20,
    "LU": 20,
    "LV": 21,
    "LY": 25,
    "MC": 27,
    "MD": 24,
    "ME": 22,
    "MK": 19,
    "MN": 20,
    "MR": 27,
    "MT": 31,
    "MU": 30,
    "NI": 28,
    "NL": 18,
    "NO": 15,
    "OM": 23,
    "PK": 24,
    "PL": 28,
    "PS": 29,
    "PT": 25,
    "QA": 29,
    "RO": 24,
    "RS": 22,
    "RU": 33,
    "SA": 24,
    "SC": 31,
    "SD": 18,
    "SE": 24,
    "SI": 19,
    "SK": 24,
    "SM": 27,
    "SO": 23,
    "ST": 25,
    "SV": 28,
    "TL": 23,
    "TN": 24,
    "TR": 26,
    "UA": 29,
    "VA": 22,
    "VG": 24,
    "XK": 20,
    "YE": 30,
}
"""Length of a whole IBAN by country, as in the registry of SWIFT (ISO 13616)."""


def luhn(digits: str) -> bool:
    """Whether the last digit is right by Luhn's formula (ISO/IEC 7812-1)."""
    total = 0
    for place, char in enumerate(reversed(digits)):
        value = ord(char) - 48
        if place & 1:
            value *= 2
            if value > 9:
                value -= 9
        total += value
    return total % 10 == 0


def card(digits: str) -> bool:
    """Whether this is a payment card: an issuer's known range, its length, and Luhn."""
    return _issued(digits) and luhn(digits)


def _issued(digits: str) -> bool:
    size = len(digits)
    if digits[0] in "017":
        return False
    two, three, four = int(digits[:2]), int(digits[:3]), int(digits[:4])
    if digits[0] == "4":
        return size in (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720 or 2200 <= four <= 2204:
        return 16 <= size <= (19 if four <= 2204 else 16)
    if two in (34, 37):
        return size == 15
    if two in (36, 38, 39) or 300 <= three <= 305 or four == 3095:
        return 14 <= size <= 19
    if 3528 <= four <= 3589 or two in (62, 81, 82, 60, 64, 65):
        return 16 <= size <= 19
    if three == 508 or 5060 <= four <= 5061 or four == 9792:
        return size in (16, 18, 19)
    return (two == 50 or 56 <= two <= 58 or digits[0] == "6") and 13 <= size <= 19


def iban(text: str) -> bool:
    """Whether this is an IBAN: its country's length, and remainder 1 modulo 97 (ISO 13616)."""
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    moved = text[4:] + text[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % 97 == 1


def mod97(text: str) -> bool:
    """Whether digits and letters have remainder 1 modulo 97 as they stand (ISO/IEC 7064)."""
    return int("".join(str(int(char, 36)) for char in text)) % 97 == 1


def ssn(digits: str) -> bool:
    """Whether the Social Security Administration could have issued this number."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return len(digits) == 9 and (
        area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"
    )


def bsn(digits: str) -> bool:
    """Whether this is a Dutch BSN: nine digits that pass the eleven test."""
    weights = (9, 8, 7, 6, 5, 4, 3, 2, -1)
    total = sum(weight * int(digit) for weight, digit in zip(weights, digits, strict=True))
    return total % 11 == 0 and digits.strip("0") != ""


def dni(text: str) -> bool:
    """Whether this is a Spanish DNI or NIE: the letter follows from the number."""
    number = text[:-1]
    if number[0] in "XYZ":
        number = str("XYZ".index(number[0])) + number[1:]
    return number.isdecimal() and _DNI_LETTERS[int(number) % 23] == text[-1]


def nir(text: str) -> bool:
    """Whether this is a French NIR with its key (97 minus the remainder; 2A, 2B are Corsica)."""
    body, key = text[:13], text[13:]
    if body[5:7] in ("2A", "2B"):
        body = body[:5] + ("19" if body[6] == "A" else "18") + body[7:]
    if not (body.isdecimal() and key.isdecimal() and body[0] in "123478"):
        return False
    return 97 - int(body) % 97 == int(key)


def codice_fiscale(text: str) -> bool:
    """Whether this is an Italian codice fiscale: its check letter, with omocodia."""
    plain = "".join(
        _OMOCODIA.get(char, char) if place in (6, 7, 9, 10, 12, 13, 14) else char
        for place, char in enumerate(text)
    )
    if not 1 <= int(plain[9:11]) % 40 <= 31:
        return False
    total = 0
    for place, char in enumerate(text[:15]):
        total += _ODD_VALUES[char] if place % 2 == 0 else int(char, 36) - (10 if char > "9" else 0)
    return chr(65 + total % 26) == text[15]


def pesel(digits: str) -> bool:
    """Whether this is a Polish PESEL: a possible date of birth and the check digit."""
    weights = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)
    month, day = int(digits[2:4]) % 20, int(digits[4:6])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return False
    return sum(w * int(d) for w, d in zip(weights, digits, strict=True)) % 10 == 0


def nrn(digits: str) -> bool:
    """Whether this is a Belgian national number: a date, and 97 minus the remainder.

    Births since 2000 count with a 2 in front.
    """
    month, day = int(digits[2:4]) % 20, int(digits[4:6])
    if month > 12 or day > 31:
        return False
    key = int(digits[9:])
    return key in (97 - int(digits[:9]) % 97, 97 - int("2" + digits[:9]) % 97)


def steuer_id(digits: str) -> bool:
    """Whether this is a German tax id: ISO 7064 mod 11,10, and its rule of repeated digits."""
    if digits[0] == "0":
        return False
    counts = sorted((digits[:10].count(digit) for digit in set(digits[:10])), reverse=True)
    if counts[0] not in (2, 3) or counts[1] != 1:
        return False
    product = 10
    for digit in digits[:10]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(digits[10])
