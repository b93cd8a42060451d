"""What is on record: the journals and sealed sessions of a state folder, read without the gateway."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from sallyport.core.event import OperationDecided, RecordedEvent, ResultRows
from sallyport.recording.encoding import decode
from sallyport.recording.sealed import SealedReader
from sallyport.recording.torn import journals
from tests.support.recordings import read_journal


def recorded(state: Path, key: bytes | None = None) -> list[RecordedEvent]:
    """Return all events of all journals, and of sessions whose journals are gone."""
    events: list[RecordedEvent] = []
    for _, _, path in journals(state / "recording" / "journals"):
        found, _ = read_journal(path, key)
        events += found
    known = {(type(event), event.session, event.at) for event in events}
    for path in (state / "recording").rglob("*.sprec"):
        for payload in SealedReader(path, key).payloads():
            event = decode(payload)
            if (type(event), event.session, event.at) not in known:
                events.append(event)
    return events


def journal_events(path: Path, key: bytes | None = None) -> list[RecordedEvent]:
    """Return the whole records of one journal."""
    return read_journal(path, key)[0]


def statements(events: list[RecordedEvent]) -> str:
    """Return all statements that were allowed, with their parameters, as one text."""
    return allowed([one for one in events if isinstance(one, OperationDecided)])


def allowed(events: list[RecordedEvent]) -> str:
    """Return all that was allowed as one text: statements, parameters, and rows copied in."""
    parts: list[str] = []
    for event in events:
        if isinstance(event, OperationDecided) and event.decision == "allow":
            parts.append(event.text)
            parts += [one.value.decode("utf-8", "replace") for one in event.parameters if one.value]
        elif isinstance(event, ResultRows) and event.direction == "in":
            parts.append(event.data.decode("utf-8", "replace"))
    return "\n".join(parts)


def verify(state: Path) -> dict[str, Any]:
    """Return what `sallyport verify` says of the recordings in `state`."""
    done = subprocess.run(
        [sys.executable, "-m", "sallyport.cli", "verify", "--json", str(state / "recording")],
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["ok"] == (done.returncode == 0)
    return dict(report)
