"""The processes' own log: structured, on standard error, never with a secret or a statement.

INVARIANT: one event is one JSON object on one line, or lines of which only the first begins at the
margin; what stands in an error was perhaps written by a client, so it can forge neither
(ATTACKS.md 61). What libraries log takes the same form.
"""

from __future__ import annotations

import logging
import sys
import time

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from sallyport.config.models import LoggingSettings
from sallyport.core.visible import visible

_INSET = "    "


def configure(settings: LoggingSettings, process: str) -> None:
    """Log as `settings` say, each line naming its process."""
    level = getattr(logging, settings.level.upper())

    def name_process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    last: list[Processor] = [name_process, structlog.processors.format_exc_info]
    if settings.format == "text":
        last += [show, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    else:
        last.append(structlog.processors.JSONRenderer())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Foreign(last))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def show(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Make what an event holds visible, and set its further lines in."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = visible(value).replace("\n", f"\n{_INSET}")
    return event


class _Foreign(logging.Formatter):
    """What a library logs, in the same form as our own events."""

    def __init__(self, processors: list[Processor]) -> None:
        super().__init__()
        self._processors = processors

    def format(self, record: logging.LogRecord) -> str:
        """Return the event's lines."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        event: EventDict = {
            "event": record.getMessage(),
            "logger": record.name,
            "level": record.levelname.lower(),
            "timestamp": at,
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        shown: object = event
        for process in self._processors:
            shown = process(None, record.levelname.lower(), shown)  # type: ignore[arg-type]
        return str(shown)
