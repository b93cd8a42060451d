r"""Patterns of secrets and identifiers, as data.

INVARIANT: no pattern looks at what stands around it (no `\b`, `^`, `$`): each one names only the
bytes of its own match, and none of these is a NUL. So a match inside a cell is a match on the wire
too, wherever the cell was cut and whatever length bytes surround it. What must not stand before
or behind a match is asked afterwards, of the cell (detectors.py).

Digits are those of every script (`\p{Nd}`), so full-width and Arabic-Indic numbers are found;
separators are spaces of any width (NBSP, thin, zero-width), hyphens and dashes. Letters of keys and
tokens are ASCII: in another script they would be no key. All are RE2 on UTF-8.
"""

from __future__ import annotations

D = r"\p{Nd}"
_GAPS = (
    r" \x{A0}\x{AD}\x{2000}-\x{200D}\x{2010}-\x{2015}\x{202F}\x{205F}\x{2060}\x{2212}\x{3000}"
    r"\x{FE58}\x{FE63}\x{FEFF}\x{FF0D}"
)
S = f"[{_GAPS}-]"
"""One separator: a space or a dash."""
DOTTED = f"[{_GAPS}./-]"
"""One separator: a space, a dash, a dot or a slash."""
PHONE_GAP = f"[{_GAPS}().\uff08\uff09/-]"

_WORD = r"\pL\pM\p{Nd}"
_DOT = "[.\uff0e\u3002]"

_LOCAL = rf"{_WORD}.!#$%&*+^~\x{{FF0E}}-"
EMAIL = (
    rf"[{_LOCAL}](?:['{_LOCAL}]*[{_LOCAL}])?(?:[@\x{{FF20}}\x{{FE6B}}]|%40|&#64;|&commat;|\\u0040)"
    rf"[{_WORD}-]+(?:{_DOT}[{_WORD}-]+)+"
)
"""Without the characters of a local part that nobody uses and every notation does: `/ = ? { }`."""

PHONE_WORDS = (
    r"(?i:tel|t\x{E9}l|phone|fon|mobil|m\x{F3}vil|cell|fax|handy|gsm|whatsapp|sms|numero|"
    r"num\x{E9}ro|rufnummer|call)"
)
PHONE_NUMBER = f"[+\uff0b(]{{0,2}}{D}(?:{PHONE_GAP}{{0,3}}{D}){{6,14}}"
PHONE = (
    rf"([+\x{{FF0B}}]{PHONE_GAP}?[1-9\x{{FF11}}-\x{{FF19}}](?:{PHONE_GAP}{{0,3}}{D}){{7,14}})",
    rf"((?:\({D}{{3}}\){S}?|{D}{{3}}[{_GAPS}./-]){D}{{3}}[{_GAPS}./-]{D}{{4}})",
    rf"(0[1-9](?:[{_GAPS}./-]{D}{{2}}){{4}})",
    rf"{PHONE_WORDS}[^\p{{Nd}}\x00\n]{{0,24}}?({PHONE_NUMBER})",
)
"""International with a plus, North American, French pairs, and any other after a word for phone."""

SSN = (
    f"({D}{{3}}{S}{{1,3}}{D}{{2}}{S}{{1,3}}{D}{{4}})",
    rf"(?i:ssn|social{S}?security|taxpayer|tin)[^\p{{Nd}}\x00\n]{{0,24}}?({D}{{9}})",
)
DNI = (
    rf"({D}{{8}}{S}?[A-Za-z])",
    rf"({D}{{2}}\.{D}{{3}}\.{D}{{3}}{S}?[A-Za-z])",
    rf"([XYZxyz]{S}?{D}{{7}}{S}?[A-Za-z])",
)
_S3 = f"{S}{{1,3}}"
_NIR_REST = f"{_S3}{D}{{3}}{_S3}{D}{{3}}{_S3}{D}{{2}}"
NIR_CORSICA = (
    f"[1-478]{D}{{4}}2[ABab]{D}{{6}}{S}?{D}{{2}}",
    f"[1-478]{_S3}{D}{{2}}{_S3}{D}{{2}}{_S3}2[ABab]{_NIR_REST}",
)
NIR_CORE = (
    f"{D}(?:{S}{{0,3}}{D}){{12}}",
    f"2[ABab]{D}{{6}}",
    f"2[ABab]{_S3}{D}{{3}}{_S3}{D}{{3}}",
)
"""For the prefilter. The first is the payment card's too: one automaton, fewer states."""
_CF_DIGIT = "[0-9L-NP-VlmnpqrstuvLMNPQRSTUV]"
CODICE_FISCALE = (
    rf"([A-Za-z]{{6}}{_CF_DIGIT}{{2}}[A-EHLMPRSTa-ehlmprst]{_CF_DIGIT}{{2}}"
    rf"[A-Za-z]{_CF_DIGIT}{{3}}[A-Za-z])",
)
JWT = (r"(eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4})",)

PEM_BEGIN = r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,4}PRIVATE KEY(?: BLOCK)?-----"
PEM_END = r"-----END (?:[A-Z0-9]{1,16} ){0,4}PRIVATE KEY(?: BLOCK)?-----"
PUTTY_BEGIN = r"PuTTY-User-Key-File-[0-9]"
PUTTY_END = r"Private-(?:MAC|Hash):"
PRIVATE_KEY_LINES = (r"(AGE-SECRET-KEY-1[0-9A-Z]{20,})",)

_URLSAFE = "[A-Za-z0-9_-]"
_BASE64 = "[A-Za-z0-9+/]"

KEYS: dict[str, tuple[str, ...]] = {
    "aws-key": (
        r"((?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA|AGPA|ANPA|AIPA)[A-Z2-7]{16})",
        rf"(?i:aws|secret)[^\x00\n]{{0,40}}?[=:\"' >]({_BASE64}{{40}})",
    ),
    "gcp-key": (
        rf"(AIza{_URLSAFE}{{35}})",
        rf"(ya29\.{_URLSAFE}{{20,}})",
        rf"(GOCSPX-{_URLSAFE}{{20,}})",
    ),
    "azure-key": (
        rf"(?i:AccountKey|SharedAccessKey|SharedSecret)=({_BASE64}{{43,88}}={{0,2}})",
        r"(?i:[?&;]sig)=([A-Za-z0-9+/%_-]{30,}={0,2})",
        r"([A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34})",
    ),
    "github-token": (r"(gh[pousr]_[A-Za-z0-9]{20,})", r"(github_pat_[A-Za-z0-9_]{22,})"),
    "gitlab-token": (
        r"(gl(?:pat|ptt|dt|rt|rtr|cbt|oas|ft|soat|agent|imt|ffct|wt)-[A-Za-z0-9_.-]{16,})",
    ),
    "slack-token": (
        r"(xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{10,})",
        r"(xapp-[0-9]-[A-Za-z0-9-]{10,})",
        r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9/]{20,})",
    ),
    "stripe-key": (
        r"((?:sk|rk|pk)_(?:live|test)_[0-9A-Za-z]{10,})",
        r"(whsec_[A-Za-z0-9+/=]{20,})",
    ),
    "ai-key": (
        rf"(sk-(?:[a-z0-9]{{2,12}}-){{0,2}}{_URLSAFE}{{20,}})",
        r"(hf_[A-Za-z0-9]{30,})",
        r"(gsk_[A-Za-z0-9]{40,})",
        r"(xai-[A-Za-z0-9]{40,})",
        r"(pplx-[A-Za-z0-9]{40,})",
        r"(r8_[A-Za-z0-9]{35,})",
    ),
    "npm-token": (r"(npm_[A-Za-z0-9]{30,})",),
    "pypi-token": (rf"(pypi-{_URLSAFE}{{16,}})",),
    "service-key": (
        rf"(SG\.{_URLSAFE}{{16,}}\.{_URLSAFE}{{16,}})",
        r"((?:AC|SK)[0-9a-f]{32})",
        r"(do[opr]_v1_[0-9a-f]{40,})",
        r"(shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32})",
        rf"(dckr_(?:pat|oat)_{_URLSAFE}{{20,}})",
        r"(dapi[0-9a-f]{32})",
        rf"(hv[sbr]\.{_URLSAFE}{{24,}})",
        r"(lin_api_[A-Za-z0-9]{32,})",
        r"(dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9._-]{20,})",
        r"(gl(?:c|sa)_[A-Za-z0-9_=+/]{24,})",
        rf"([0-9]{{8,10}}:AA{_URLSAFE}{{33}})",
        r"(key-[0-9a-f]{32})",
        rf"(sq0(?:atp|csp|idp)-{_URLSAFE}{{22,}})",
        r"(AT[AC]TT3[A-Za-z0-9_=.-]{40,})",
        r"(PMAK-[0-9a-f]{24}-[0-9a-f]{34})",
        r"(NRAK-[A-Z0-9]{27})",
        r"(rubygems_[0-9a-f]{48})",
        r"(nfp_[A-Za-z0-9]{36,})",
        r"(ntn_[A-Za-z0-9]{40,})",
        r"(sntry[su]_[A-Za-z0-9_=+/]{40,})",
    ),
}
"""Keys and tokens that carry their maker's mark. The group is the secret itself."""

_USER = r"""[A-Za-z][A-Za-z0-9+.-]*://[^\s\x00:/?#@"'<>]*:"""
URL_PASSWORD = (
    _USER + r"""([^\s\x00/@"'<>]+)@""",
    _USER + r"""([0-9]*[^0-9\s\x00/@"'<>][^\s\x00"'<>]*)@""",
    r"""(?i:password|passwd|passwort|pwd|pgpassword) ?= ?["']?([^\s\x00;&"'<>]+)""",
)
"""The second: a password with a slash or an at sign in it; digits and a slash are a port."""
