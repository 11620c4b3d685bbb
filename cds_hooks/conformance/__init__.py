"""Is the CDS service at an address one as the specification has it? Asked from outside, of anybody's service.

First everything is sent that has to be (`observe`), then the answers are held to a table of named checks (`judge`).
Sent is only what changes nothing: calls about a patient that does not exist, requests that are to be refused, and
feedback on the cards that came back; it is marked as check_mark.py says. Specification: CDS Hooks 2.0.1 and the 3.0.0
ballot.
"""

from cds_hooks.conformance.checks import CHECKS, Check, Level, Result, Status, judge
from cds_hooks.conformance.observing import (
    Answer,
    Exchange,
    NoAnswer,
    NoneSent,
    Observations,
    Unreachable,
    observe,
    over_http,
    reason_of,
)
from cds_hooks.conformance.report import as_json, as_junit, as_text, is_conformant

__all__ = [
    "CHECKS",
    "Answer",
    "Check",
    "Exchange",
    "Level",
    "NoAnswer",
    "NoneSent",
    "Observations",
    "Result",
    "Status",
    "Unreachable",
    "as_json",
    "as_junit",
    "as_text",
    "is_conformant",
    "judge",
    "observe",
    "over_http",
    "reason_of",
]
