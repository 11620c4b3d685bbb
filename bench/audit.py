"""What the audit trail costs a call: the part that its caller waits for, and the part that the thread of the worker
does.

Both stand beside the whole call, in CPU time of one process, so that what else the machine does matters little.
"""

import json
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from secrets import token_hex
from typing import Any
from uuid import uuid4

import msgspec

from service.app import create_app
from service.audit import AuditTrail, AuditWriter, open_audit
from service.audit.rows import CallRows
from service.settings import Settings

_PATH = "/cds-services/gluteal-hamstring-pain"
_REQUESTS = Path(__file__).parents[1] / "fixtures" / "requests"
_CALLS = 400
# What a worker gathers with ten, and with a hundred calls a second.
_BATCHES = (5, 50)


def measure(calls: int = _CALLS) -> dict[str, float]:
    """Milliseconds of CPU time a call: the whole call, what of it is for the audit trail, and the writing by batch."""
    with tempfile.TemporaryDirectory() as folder:
        audit = open_audit(Settings(audit=Path(folder)))
        assert audit is not None
        kept: list[CallRows] = []
        took: list[float] = []
        app = create_app(Settings(), audit=audit)
        audit_trail: AuditTrail = app.extensions["audit_trail"]
        derive = audit_trail.rows.call

        def timed(*given: Any) -> CallRows:
            start = time.thread_time()
            made = derive(*given)
            took.append(time.thread_time() - start)
            kept.append(made)
            return made

        audit_trail.rows.call = timed  # type: ignore[method-assign, assignment]
        audit.keep = lambda _entry: None  # type: ignore[method-assign, assignment]
        client = app.test_client()
        bodies = [json.loads(file.read_text("utf-8")) for file in sorted(_REQUESTS.glob("*.json"))]
        texts = [
            json.dumps({**body, "hookInstance": str(uuid4())})
            for body in islice(cycle([body for body in bodies if body["hook"] == "patient-view"]), calls)
        ]
        start = time.thread_time()
        for text in texts:
            client.post(_PATH, data=text, content_type="application/json")
        whole = time.thread_time() - start
        figures = {"whole call": whole, "for the audit trail": sum(took)}
        for batch in _BATCHES:
            figures[f"writing, {batch} at a time"] = _writing(audit, kept, batch)
        audit.engine.dispose()
        return {name: seconds / calls * 1000 for name, seconds in figures.items()}


def _writing(audit: AuditWriter, kept: list[CallRows], batch: int) -> float:
    replace = msgspec.structs.replace
    again = [replace(entry, call={**entry.call, "id": token_hex(16)}) for entry in kept]
    again = [replace(each, cards=tuple({**card, "call": each.call["id"]} for card in each.cards)) for each in again]
    start = time.thread_time()
    for first in range(0, len(again), batch):
        audit.write(again[first : first + batch])
    return time.thread_time() - start


def main() -> None:
    """Print the table."""
    figures = measure()
    whole = figures["whole call"]
    for name, milliseconds in figures.items():
        print(f"{name:<26}{milliseconds:8.3f} ms{milliseconds / whole:8.1%}")


if __name__ == "__main__":
    main()
