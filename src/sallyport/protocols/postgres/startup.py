"""What a client may ask for in its StartupMessage, and how the server's own `options` are read.

Settings of a StartupMessage become the session's defaults, to which RESET and DISCARD ALL return.
So the gateway writes its own towards the target: it passes on the harmless ones that are listed
here, refuses the rest, and puts those that it enforces on top.
"""

from __future__ import annotations

from typing import Final

from sallyport.core.errors import ProtocolViolation
from sallyport.core.subject import MAXIMUM_STATED, Stated
from sallyport.core.visible import visible

SETTINGS: Final[frozenset[str]] = frozenset(
    {
        "application_name",
        "bytea_output",
        "client_connection_check_interval",
        "client_min_messages",
        "cursor_tuple_fraction",
        "datestyle",
        "default_transaction_deferrable",
        "default_transaction_isolation",
        "default_transaction_read_only",
        "extra_float_digits",
        "from_collapse_limit",
        "geqo",
        "idle_in_transaction_session_timeout",
        "idle_session_timeout",
        "intervalstyle",
        "jit",
        "join_collapse_limit",
        "lock_timeout",
        "plan_cache_mode",
        "search_path",
        "statement_timeout",
        "tcp_keepalives_count",
        "tcp_keepalives_idle",
        "tcp_keepalives_interval",
        "tcp_user_timeout",
        "timezone",
        "transaction_timeout",
        "work_mem",
    }
)
"""The settings that a client may bring. None of them changes how a statement is read."""

STATED: Final = frozenset({"sallyport.task", "sallyport.purpose"})
"""What a client may say of itself to the gateway; the target never hears it."""
MAXIMUM_VALUE: Final = 4096
"""Bytes of one value."""
MAXIMUM_PARAMETERS: Final = 64
"""Parameters of one StartupMessage."""
NAME_LENGTH: Final = 63
"""Bytes of an identifier, as the server truncates them."""


def refuse(message: str, code: str) -> ProtocolViolation:
    """Return what ends a login for `message`."""
    return ProtocolViolation("client", message, code)


def settings_of(parameters: dict[str, str]) -> dict[str, str]:
    """Return the settings asked for, by lower-case name: `options` first, then direct ones.

    `parameters` are those of a StartupMessage without user, database and replication.
    Raises: ProtocolViolation for a setting that is not in `SETTINGS`, one that is given twice, an
    option that is none, and an encoding that is not UTF-8.
    """
    settings: dict[str, str] = {}
    for name, text in split_options(parameters.get("options", "")):
        settings[_allowed(name)] = text
    direct: set[str] = set()
    for name, text in parameters.items():
        if name == "options":
            continue
        lower = _allowed(name)
        if lower in direct:
            raise refuse(f"parameter `{shown(name)}` is given twice", "08P01")
        direct.add(lower)
        settings[lower] = text
    check_encoding(settings.pop("client_encoding", None))
    return settings


def _allowed(name: str) -> str:
    """Return `name` in lower case. Raises: ProtocolViolation where it may not be set at login."""
    lower = name.lower()
    if lower == "client_encoding" or lower in SETTINGS or lower in STATED:
        return lower
    raise refuse(
        f"setting `{shown(name)}` may not be given at connection through the gateway", "42501"
    )


def check_encoding(encoding: str | None) -> None:
    """Refuse every client encoding but UTF-8: in others a quote may hide inside a character.

    `SQL_ASCII` asks for no conversion, and gets UTF-8; the server says so in ParameterStatus.
    """
    if encoding is None:
        return
    plain = "".join(char for char in encoding.lower() if char.isalnum())
    if plain not in ("utf8", "unicode", "sqlascii"):
        raise refuse(
            f"client_encoding `{shown(encoding)}` is not supported through the gateway; use UTF8",
            "0A000",
        )


def split_options(options: str) -> list[tuple[str, str]]:
    """Read `options` as the server does: `-c name=value` and `--name=value`, backslash escapes.

    Raises: ProtocolViolation for any other switch of the server's command line.
    """
    words = _words(options)
    settings = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "-c":
            if position >= len(words):
                raise refuse("`-c` in options has no setting", "42601")
            setting = words[position]
            position += 1
        elif word.startswith("-c") or (word.startswith("--") and len(word) > 2):
            setting = word[2:]
        else:
            raise refuse(f"switch `{shown(word)}` in options is refused by the gateway", "42501")
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise refuse(f"`{shown(setting)}` in options needs a value", "42601")
        settings.append((name.replace("-", "_"), text))
    return settings


def _words(options: str) -> list[str]:
    """Split at white space; a backslash takes the next character as it is."""
    words: list[str] = []
    word: list[str] | None = None
    escaped = False
    for char in options:
        if char in " \t\n\r\v\f" and not escaped:
            if word is not None:
                words.append("".join(word))
            word = None
            continue
        if word is None:
            word = []
        if char == "\\" and not escaped:
            escaped = True
            continue
        word.append(char)
        escaped = False
    if word is not None:
        words.append("".join(word))
    return words


def shown(text: str) -> str:
    """Return `text` short and without control characters, for an error or a log."""
    clean = "".join(char if char.isprintable() else "?" for char in text[:NAME_LENGTH])
    return clean + ("..." if len(text) > NAME_LENGTH else "")


def stated_in(settings: dict[str, str]) -> Stated:
    """Take out of the settings what the client says of its task and purpose."""
    task, purpose = (
        visible(settings.pop(name, "")[:MAXIMUM_STATED]).replace("\n", " ")
        for name in ("sallyport.task", "sallyport.purpose")
    )
    return Stated(task, purpose)


def application_of(settings: dict[str, str]) -> str:
    """Return the application's name as the server keeps it: printable ASCII, 63 bytes."""
    name = settings.get("application_name", "")[:NAME_LENGTH]
    return "".join(char if " " <= char <= "~" else "?" for char in name)


def clean_startup(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Make a mapping of a StartupMessage's pairs. Raises: ProtocolViolation."""
    if len(pairs) > MAXIMUM_PARAMETERS:
        raise refuse(f"more than {MAXIMUM_PARAMETERS} startup parameters", "08P01")
    parameters: dict[str, str] = {}
    for name, text in pairs:
        if name in parameters:
            raise refuse(f"parameter `{shown(name)}` is given twice", "08P01")
        if len(name.encode()) > NAME_LENGTH or len(text.encode()) > MAXIMUM_VALUE:
            raise refuse(f"parameter `{shown(name)}` is too long", "08P01")
        parameters[name] = text
    return parameters
