"""The processes' own log: structured, on standard error, never with a secret or a statement.

INVARIANT: one event is one JSON object on one line, or lines of which only the first begins at the
margin; what stands in an error was perhaps written by a client, so it can forge neither.
What libraries log takes the same form.
"""

from __future__ import annotations

import logging
import sys

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
    first: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*first, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*first, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def show(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Make what an event holds visible, and set its further lines in."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = visible(value).replace("\n", f"\n{_INSET}")
    return event
