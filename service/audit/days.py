"""What is counted of the calls of a day, by client: no call and no patient is in it.

By these counts a site sees that something has stopped to arrive, is no longer read, or fires more or less often than it
did. A row is a day, a client, a mode, and one thing: that there was a call, one with the complaint; that a
recommendation fired on such a chart; that a finding was stated, whatever its value; that something could not be read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from service.answers.answered import Answered
from service.audit.schema import DAY
from service.chart.assertions import UNIT, Assertion
from service.service_ids import ABOUT_CHARTS

# The kinds of things that are counted, and the names of those that are no ids of the knowledge.
CALL, FIRED, FINDING, UNREAD = "call", "fired", "finding", "unread"
ALL, COMPLAINT = "all", "complaint"
UNREADABLE, OTHER_PATIENT, NO_AGE, UNKNOWN_UNIT = "unreadable", "other-patient", "no-age", "unknown-unit"


def signs(answered: Answered, service: str) -> tuple[tuple[str, str], ...]:
    """What is counted of a call, as kind and name; of draft orders and the like nothing, as their charts come again."""
    assessment = answered.assessment
    case = assessment.case
    if service not in ABOUT_CHARTS or case is None:
        return ()
    found = [(CALL, ALL)]
    if assessment.complaint == "present":
        found.append((CALL, COMPLAINT))
        found += [(FIRED, id_) for id_ in answered.recommendations()]
    found += [(FINDING, name) for name in case.assertions]
    left_out, unread = case.left_out, assessment.not_readable
    if left_out.unreadable or unread:
        found.append((UNREAD, UNREADABLE))
    if left_out.other_patient:
        found.append((UNREAD, OTHER_PATIENT))
    if case.patient.age is None:
        found.append((UNREAD, NO_AGE))
    if unread and any(isinstance(each, Assertion) and each.unreadable == UNIT for each in unread):
        found.append((UNREAD, UNKNOWN_UNIT))
    return tuple(found)


def counted(calls: Iterable[tuple[dict[str, Any], Iterable[tuple[str, str]]]]) -> list[dict[str, Any]]:
    """The rows of these rows of audit_calls and what is counted of each; in one order, so that no two writers wait for
    each other."""
    numbers = Counter(
        (call["at"] // DAY * DAY, call["client"], call["mode"], *sign)
        for call, of_call in calls
        if not call["is_check"]
        for sign in of_call
    )
    names = ("at", "client", "mode", "kind", "name")
    return [{**dict(zip(names, key, strict=True)), "calls": numbers[key]} for key in sorted(numbers)]
