"""The errors that cross a package's edge.

    SallyportError
    +-- ProtocolViolation    a peer broke its protocol; the session ends
    +-- TargetUnavailable    the target cannot be reached, or refuses the gateway
    +-- RecorderLost         nothing can be recorded, so nothing may happen
    +-- ControlLost          control does not answer, so nothing new is decided
    +-- MaskingFailed        a result cannot be masked, so it ends here
    +-- ConfigError          with file and line

A denial is a value (`Deny`, `Refused`), not an exception.
"""

from __future__ import annotations


class SallyportError(Exception):
    """Whatever Sallyport itself raises across a package's edge."""


class ProtocolViolation(SallyportError):
    """A peer broke its protocol. `code` is the wire's own error code (PostgreSQL: SQLSTATE)."""

    def __init__(self, side: str, message: str, code: str = "08P01") -> None:
        super().__init__(f"{side}: {message}")
        self.side = side
        self.code = code
        self.message = message


class TargetUnavailable(SallyportError):
    """The target cannot be reached, or does not take the gateway's credential.

    `message` is safe to show to a client: it never holds what the target said of the credential.
    """

    def __init__(self, target: str, message: str) -> None:
        super().__init__(f"target `{target}`: {message}")
        self.target = target
        self.message = message


class RecorderLost(SallyportError):
    """The journal cannot be written: sessions stop, never the recording."""


class ControlLost(SallyportError):
    """Control does not answer: new operations are refused."""


class MaskingFailed(SallyportError):
    """A masker could not do its work: the result ends, and never a raw cell leaves.

    The message never holds what was to be masked.
    """


class ConfigError(SallyportError):
    """A configuration that cannot be used, with where and what was expected. `line` is 1-based."""

    def __init__(self, message: str, file: str = "", line: int | None = None) -> None:
        where = f"{file}:{line}: " if line is not None else (f"{file}: " if file else "")
        super().__init__(where + message)
        self.file = file
        self.line = line
        self.message = message
