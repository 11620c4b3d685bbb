"""What the user did with a card, as the CDS client reports it.

Reads the two spellings that are in use: `overrideReason` of the specification, `overrideReasons` with an array of them.
Specification: Feedback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from cds_hooks.check_mark import is_marked
from cds_hooks.errors import BadRequest, BodyTooLarge, operation_outcome
from cds_hooks.json_text import UNREADABLE, decode, read_members
from cds_hooks.response import Coding
from cds_hooks.schemas import refusal


@dataclass(frozen=True, slots=True)
class OverrideReason:
    """Why a card was overridden: a reason from the card's list, the user's own words, or neither."""

    reason: Coding | None = None
    user_comment: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Feedback:
    """The outcome of one card; `card` and `accepted_suggestions` are uuids, `outcome_timestamp` is in UTC."""

    card: str
    outcome: Literal["accepted", "overridden"]
    accepted_suggestions: tuple[str, ...]
    override_reasons: tuple[OverrideReason, ...]
    outcome_timestamp: datetime


@dataclass(frozen=True, slots=True)
class FeedbackRecord:
    """What one call of the feedback endpoint reported, with the name of the CDS client where one is known.

    `refused` is how many elements of the batch could not be read and are not in `feedback`; `is_check` is the mark of
    check_mark.py.
    """

    correlation_id: str
    service_id: str
    client: str | None
    feedback: tuple[Feedback, ...]
    refused: int = 0
    is_check: bool = False


@dataclass(frozen=True, slots=True)
class FeedbackBatch:
    """The sound elements of a batch, one at least, and for each of the others what is wrong with it.

    `is_check` tells whether the batch is marked as one of a check of the service.
    """

    feedback: tuple[Feedback, ...]
    refused: tuple[BadRequest, ...] = ()
    is_check: bool = False

    def answer(self, correlation_id: str) -> dict[str, Any]:
        """The body of the answer, whose status is 200: empty where all was read, else an OperationOutcome.

        The severity is `warning`: the batch is taken, and a client that would send it again on an error would do so
        for ever.
        """
        if not self.refused:
            return {}
        return operation_outcome(self.refused, correlation_id, "warning", _LEFT_OUT)


_LEFT_OUT = "This element of the feedback was not taken; the others were"
FeedbackSink: TypeAlias = Callable[[FeedbackRecord], None]


# A user acts on a few cards at a time: of each element a line is logged, and a row is kept.
MOST_ELEMENTS = 200
MOST_BYTES = 500_000
_MOST_LISTED = 50


def _instant(value: object) -> datetime:
    """A date and time with an offset, in any of the forms of ISO 8601, as one in UTC."""
    if not isinstance(value, str):
        raise ValidationError("not a string")
    try:
        instant = datetime.fromisoformat(value.strip().upper())
    except ValueError:
        raise ValidationError("not a date and time") from None
    if instant.tzinfo is None:
        raise ValidationError("no offset")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        # By its offset it lies before the first year or after the last.
        return datetime.min.replace(tzinfo=UTC) if instant.year == 1 else datetime.max.replace(tzinfo=UTC)


def _uuid(owner: str) -> fields.String:
    return fields.String(
        required=True,
        validate=validate.Length(min=1),
        metadata={"expected": f"a string, the uuid of the {owner}", "description": f"The uuid of the {owner}."},
    )


_CODING = Schema.from_dict(
    {
        "code": fields.String(
            required=True, validate=validate.Length(min=1), metadata={"expected": "a string, the code of the reason"}
        ),
        "system": fields.String(allow_none=True),
        "display": fields.String(allow_none=True),
    },
    name="ReasonCoding",
)(unknown=EXCLUDE)
_REASON = Schema.from_dict(
    {
        "reason": fields.Nested(_CODING, allow_none=True),
        "userComment": fields.String(allow_none=True, metadata={"description": "Read and not kept in the log."}),
    },
    name="OverrideReason",
)(unknown=EXCLUDE)
_SUGGESTION = Schema.from_dict({"id": _uuid("suggestion")}, name="AcceptedSuggestion")(unknown=EXCLUDE)
FEEDBACK = Schema.from_dict(
    {
        "card": _uuid("card"),
        "outcome": fields.String(
            required=True,
            validate=validate.OneOf(("accepted", "overridden")),
            metadata={"expected": "a string, accepted or overridden"},
        ),
        "acceptedSuggestions": fields.List(
            fields.Nested(_SUGGESTION),
            allow_none=True,
            validate=validate.Length(max=_MOST_LISTED),
            metadata={"expected": f"an array with at most {_MOST_LISTED} elements"},
        ),
        "overrideReason": fields.Nested(_REASON, allow_none=True),
        "overrideReasons": fields.List(
            fields.Nested(_REASON),
            allow_none=True,
            validate=validate.Length(max=_MOST_LISTED),
            metadata={"expected": f"an array with at most {_MOST_LISTED} elements"},
        ),
        "outcomeTimestamp": fields.Function(
            deserialize=_instant,
            required=True,
            metadata={
                "expected": "a string, a date and time with an offset such as 1985-04-12T23:20:50Z",
                "type": "string",
                "format": "date-time",
                "description": "With an offset from UTC.",
            },
        ),
    },
    name="Feedback",
)(unknown=EXCLUDE)
BATCH = Schema.from_dict(
    {
        "feedback": fields.List(
            fields.Raw(),
            required=True,
            validate=validate.Length(1, MOST_ELEMENTS),
            metadata={"expected": f"an array with 1 to {MOST_ELEMENTS} elements"},
        )
    },
    name="FeedbackRequest",
)(unknown=EXCLUDE)


def read_feedback(body: bytes) -> FeedbackBatch:
    """The feedback that a body holds, element by element.

    Raises BodyTooLarge beyond MOST_BYTES, and BadRequest where the body is no batch, or no element of it is sound; it
    then tells of all of them.
    """
    if len(body) > MOST_BYTES:
        raise BodyTooLarge(f"body: expected at most {MOST_BYTES} bytes of feedback, received more. Send it in parts.")
    try:
        members = read_members(body, arrays=True)
    except ValueError as problem:
        raise BadRequest(f"body: {problem}") from None
    try:
        batch = BATCH.load(members)["feedback"]
    except ValidationError as problem:
        raise refusal(problem, BATCH, members) from None
    kept: list[Feedback] = []
    refused: list[BadRequest] = []
    for place, raw in enumerate(batch):
        try:
            kept.append(_feedback(raw, f"feedback[{place}]"))
        except BadRequest as problem:
            refused.append(problem)
    if not kept:
        first, *others = refused
        first.others = tuple(others)
        raise first
    extension = members.get("extension")
    is_check = isinstance(extension, dict) and is_marked(None, extension)
    return FeedbackBatch(tuple(kept), tuple(refused), is_check)


def _listed(element: Any) -> Any:
    """One EHR sends its plural `overrideReasons` as a single object."""
    reasons = element.get("overrideReasons") if isinstance(element, dict) else None
    return {**element, "overrideReasons": [reasons]} if isinstance(reasons, dict) else element


def _feedback(raw: Any, at: str) -> Feedback:
    try:
        data = _listed(decode(raw))
    except UNREADABLE:
        raise BadRequest(f"{at}: expected values that can be read, received others.", expression=at) from None
    try:
        element: Mapping[str, Any] = FEEDBACK.load(data)
    except ValidationError as problem:
        raise refusal(problem, FEEDBACK, data, at) from None
    accepted = element.get("acceptedSuggestions") or ()
    if element["outcome"] == "accepted" and not accepted:
        raise BadRequest(
            f"{at}.acceptedSuggestions: expected an array with at least one suggestion, received nothing. "
            "An accepted card names the suggestions that were taken.",
            expression=f"{at}.acceptedSuggestions",
            code="required",
        )
    reasons = [element.get("overrideReason"), *(element.get("overrideReasons") or ())]
    return Feedback(
        card=element["card"],
        outcome=element["outcome"],
        accepted_suggestions=tuple(suggestion["id"] for suggestion in accepted),
        override_reasons=tuple(_reason(reason) for reason in reasons if reason is not None),
        outcome_timestamp=element["outcomeTimestamp"],
    )


def _reason(members: Mapping[str, Any]) -> OverrideReason:
    coding = members.get("reason")
    return OverrideReason(
        reason=Coding(coding["code"], coding.get("system"), coding.get("display")) if coding else None,
        user_comment=members.get("userComment"),
    )
