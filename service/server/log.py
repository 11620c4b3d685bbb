"""The log of the running service: one line of JSON for each event, on the error output.

What may stand in it: correlation id, client, CDS service, hook, states of the prefetch keys, notes, times, ids of
rules, numbers. What never does: clinical values, names, ids of patients, tokens, and anything else that a caller has
written. An id that the caller gave, the hookInstance, is there as a keyed hash, by which the lines of one call can be
told to belong together without telling whose call it was. Lines of other packages are written by people who did not
know of this, so only where they come from is kept.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TextIO

import orjson

from cds_hooks import CallRecord, FeedbackRecord
from cds_hooks.text_forms import UUID
from service.pseudonyms import Pseudonyms
from service.release.mode import ALL_LIVE, LIVE
from service.settings import Settings

if TYPE_CHECKING:
    from service.answers.answered import Answered

_LOG = logging.getLogger("sitbone")
_OWN = ("sitbone", "cds_hooks")
_FRAMES = 3
# What gunicorn says of itself; what it says of a request repeats lines, headers and addresses of that request.
_OF_ITSELF = re.compile(r"(?i)(worker|connection (in use|to)|invalid address|can't connect|starting|listening|using)\b")
_OF_REQUESTS = "Invalid request"


class JsonLines(logging.Formatter):
    """A record as one line of JSON; `members` of the record are its members."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
        }
        if record.name.partition(".")[0] in _OWN:
            line["event"] = record.getMessage()
        else:
            line |= {"event": "library", "logger": record.name, "at": f"{record.module}:{record.lineno}"}
            if record.name == "gunicorn.error":
                line |= _said(record)
        if record.exc_info and record.exc_info[1] is not None:
            line |= _fault(record.exc_info[1])
        line |= getattr(record, "members", {})
        return orjson.dumps(line).decode()


def _said(record: logging.LogRecord) -> dict[str, str]:
    if str(record.msg).startswith(_OF_REQUESTS):
        return {"said": _OF_REQUESTS}
    return {"said": record.getMessage()} if _OF_ITSELF.match(str(record.msg)) and not record.exc_info else {}


def _fault(problem: BaseException) -> dict[str, str]:
    """Kind and place of an exception. What it says is left out: it may hold values from the request."""
    frames = traceback.extract_tb(problem.__traceback__)[-_FRAMES:]
    places = (f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return {"fault": type(problem).__name__, "place": " < ".join(places)}


def configure(level: str, stream: TextIO | None = None) -> None:
    """Let every logger of this process write lines of JSON to `stream`, the error output unless told otherwise.

    `level` is that of the service's own lines; others speak from a warning upwards.
    """
    # No line tells of threads and processes.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _OWN:
        logging.getLogger(name).setLevel(level.upper())


class CallLog:
    """Writes down calls and feedback. `known_reasons` are the codes of reasons that cards offer; `mode_of` tells
    of a client by its name whether it is live or silent.
    """

    def __init__(
        self, settings: Settings, known_reasons: Collection[str], mode_of: Callable[[str | None], str] = ALL_LIVE.of
    ) -> None:
        self._pseudonyms, self._mode_of = Pseudonyms(settings), mode_of
        self._known_reasons = frozenset(known_reasons)

    def call(self, call: CallRecord[Answered]) -> None:
        """One line about a call, also about one that was refused or failed."""
        if not _LOG.isEnabledFor(logging.INFO):
            return
        answered = call.answered
        mode = answered.mode if answered else self._mode_of(call.client)
        members: dict[str, Any] = {
            "correlationId": call.correlation_id,
            "client": call.client,
            "service": call.service_id,
            "hook": call.hook,
            "hookInstance": None if call.hook_instance is None else self._pseudonyms.of(call.hook_instance),
            "status": call.status,
            "states": dict(call.states),
            "notes": list(call.notes),
            "milliseconds": {stage: round(1000 * seconds, 3) for stage, seconds in call.seconds.items()},
            "rules": answered.recommendations() if answered else (),
            "cards": len(answered.advised) if answered else 0,
            **({"mode": mode} if mode != LIVE else {}),
            **({"check": True} if call.is_check else {}),
        }
        _write("call", members)

    def feedback(self, record: FeedbackRecord) -> None:
        """One line for each card that feedback came for. Comments and what is no uuid or known code are left out.

        Elements that could not be read are counted on a line of their own.
        """
        if record.refused:
            who = {"correlationId": record.correlation_id, "client": record.client, "service": record.service_id}
            _write("feedback refused", {**who, "elements": record.refused})
        for item in record.feedback:
            _write(
                "feedback",
                {
                    "correlationId": record.correlation_id,
                    "client": record.client,
                    "service": record.service_id,
                    "card": item.card if UUID.fullmatch(item.card) else None,
                    "outcome": item.outcome,
                    "acceptedSuggestions": [text for text in item.accepted_suggestions if UUID.fullmatch(text)],
                    "overrideReasons": [
                        given.reason.code if given.reason.code in self._known_reasons else "other"
                        for given in item.override_reasons
                        if given.reason
                    ],
                },
            )


def _write(event: str, members: Mapping[str, Any]) -> None:
    # Where in the code it is written is told of no line of our own, and so it is not looked for.
    if _LOG.isEnabledFor(logging.INFO):
        record = logging.LogRecord(_LOG.name, logging.INFO, "", 0, event, None, None)
        record.members = members
        _LOG.handle(record)
