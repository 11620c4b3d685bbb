import json
from datetime import UTC, datetime
from typing import Any

import pytest

from cds_hooks import BadRequest, Coding, Feedback, FeedbackBatch, OverrideReason, read_feedback
from cds_hooks.errors import BodyTooLarge
from cds_hooks.feedback import MOST_BYTES, MOST_ELEMENTS

WHEN = datetime(2021, 12, 11, 10, 5, 31, tzinfo=UTC)
ACCEPTED = {
    "card": "c1",
    "outcome": "accepted",
    "acceptedSuggestions": [{"id": "s1"}],
    "outcomeTimestamp": "2021-12-11T10:05:31Z",
}
OVERRIDDEN = {"card": "c1", "outcome": "overridden", "outcomeTimestamp": "2021-12-11T10:05:31Z"}
REASON = {"reason": {"code": "r1", "system": "http://r"}, "userComment": "no"}


def read_all(*elements: Any) -> FeedbackBatch:
    return read_feedback(json.dumps({"feedback": elements}).encode())


def read(*elements: Any) -> tuple[Feedback, ...]:
    batch = read_all(*elements)
    assert batch.answer("c") == {}
    return batch.feedback


@pytest.mark.parametrize(
    ("element", "suggestions", "reasons"),
    [
        (ACCEPTED, ("s1",), ()),
        ({**ACCEPTED, "acceptedSuggestions": [{"id": "s1"}, {"id": "s2", "extension": {"a": 1}}]}, ("s1", "s2"), ()),
        (OVERRIDDEN, (), ()),
        ({**OVERRIDDEN, "acceptedSuggestions": None, "overrideReason": None, "overrideReasons": None}, (), ()),
        ({**OVERRIDDEN, "overrideReason": REASON}, (), (OverrideReason(Coding("r1", "http://r"), "no"),)),
        ({**OVERRIDDEN, "overrideReason": {"userComment": "no"}}, (), (OverrideReason(None, "no"),)),
        (
            {**OVERRIDDEN, "overrideReasons": [REASON, {"reason": {"code": "r2", "display": "D"}}]},
            (),
            (OverrideReason(Coding("r1", "http://r"), "no"), OverrideReason(Coding("r2", None, "D"))),
        ),
        ({**OVERRIDDEN, "overrideReasons": [{"extension": {"a": 1}}]}, (), (OverrideReason(),)),
        (
            {**OVERRIDDEN, "overrideReasons": {"userComment": "as one object"}},
            (),
            (OverrideReason(None, "as one object"),),
        ),
        (
            {**OVERRIDDEN, "overrideReason": {"reason": {"code": "r1", "extension": {}}}},
            (),
            (OverrideReason(Coding("r1")),),
        ),
        ({**OVERRIDDEN, "extension": {"com.example.x": [1]}, "more": 1}, (), ()),
    ],
)
def test_each_shape_of_feedback_is_read(
    element: dict[str, Any], suggestions: tuple[str, ...], reasons: tuple[OverrideReason, ...]
) -> None:
    assert read(element) == (Feedback("c1", element["outcome"], suggestions, reasons, WHEN),)


def test_a_batch_keeps_its_order() -> None:
    batch = read(ACCEPTED, {**OVERRIDDEN, "card": "c2"}, {**OVERRIDDEN, "card": "c1"})
    assert [(one.card, one.outcome) for one in batch] == [
        ("c1", "accepted"),
        ("c2", "overridden"),
        ("c1", "overridden"),
    ]


def test_the_comment_of_the_user_is_in_no_repr() -> None:
    assert "very private" not in repr(read({**OVERRIDDEN, "overrideReason": {"userComment": "very private"}}))


@pytest.mark.parametrize(
    "when",
    [
        "2021-12-11T10:05:31Z",
        "2021-12-11t10:05:31z",
        "2021-12-11T10:05:31.000000000Z",
        "2021-12-11T12:05:31+02:00",
        "2021-12-11T12:05:31+0200",
        "2021-12-11 10:05:31Z",
        " 20211211T100531Z",
    ],
)
def test_a_time_may_be_written_in_any_iso_form_with_an_offset(when: str) -> None:
    assert read({**ACCEPTED, "outcomeTimestamp": when})[0].outcome_timestamp == WHEN


@pytest.mark.parametrize(
    ("when", "read_as"),
    [
        ("0001-01-01T00:00:00+10:00", datetime.min.replace(tzinfo=UTC)),
        ("9999-12-31T23:59:59-00:01", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_a_time_that_lies_beyond_all_years_is_the_first_or_the_last_of_them(when: str, read_as: datetime) -> None:
    assert read({**ACCEPTED, "outcomeTimestamp": when})[0].outcome_timestamp == read_as


@pytest.mark.parametrize("when", ["2021-12-11", "2021-12-11T10:05:31", "yesterday", "", 1639217131, None])
def test_a_time_that_is_not_clear_is_refused(when: Any) -> None:
    with pytest.raises(BadRequest) as refused:
        read({**ACCEPTED, "outcomeTimestamp": when})
    assert refused.value.expression == "feedback[0].outcomeTimestamp"


@pytest.mark.parametrize(
    ("element", "path"),
    [
        ({**ACCEPTED, "card": ...}, "feedback[1].card"),
        ({**ACCEPTED, "card": ""}, "feedback[1].card"),
        ({**ACCEPTED, "card": 5}, "feedback[1].card"),
        ({**ACCEPTED, "outcome": ...}, "feedback[1].outcome"),
        ({**ACCEPTED, "outcome": "ignored"}, "feedback[1].outcome"),
        ({**ACCEPTED, "acceptedSuggestions": ...}, "feedback[1].acceptedSuggestions"),
        ({**ACCEPTED, "acceptedSuggestions": []}, "feedback[1].acceptedSuggestions"),
        ({**ACCEPTED, "acceptedSuggestions": ["s1"]}, "feedback[1].acceptedSuggestions[0]"),
        ({**ACCEPTED, "acceptedSuggestions": [{"id": "s"}, {}]}, "feedback[1].acceptedSuggestions[1].id"),
        ({**ACCEPTED, "outcomeTimestamp": ...}, "feedback[1].outcomeTimestamp"),
        ({**OVERRIDDEN, "overrideReason": []}, "feedback[1].overrideReason"),
        ({**OVERRIDDEN, "overrideReason": {"reason": "r1"}}, "feedback[1].overrideReason.reason"),
        ({**OVERRIDDEN, "overrideReason": {"reason": {"system": "x"}}}, "feedback[1].overrideReason.reason.code"),
        ({**OVERRIDDEN, "overrideReasons": "no"}, "feedback[1].overrideReasons"),
        ({**OVERRIDDEN, "overrideReasons": [{"userComment": 5}]}, "feedback[1].overrideReasons[0].userComment"),
        ("text", "feedback[1]"),
    ],
)
def test_an_element_that_is_not_sound_is_named_and_the_others_are_taken(element: Any, path: str) -> None:
    if isinstance(element, dict):
        element = {name: value for name, value in element.items() if value is not ...}
    batch = read_all(OVERRIDDEN, element, ACCEPTED)
    assert [one.outcome for one in batch.feedback] == ["overridden", "accepted"]
    [issue] = batch.answer("c")["issue"]
    assert (issue["severity"], issue["expression"]) == ("warning", [path])
    assert issue["diagnostics"].startswith(f"{path}: expected")

    with pytest.raises(BadRequest) as refused:
        read_all(element)
    assert refused.value.expression == path.replace("[1]", "[0]", 1)


def test_where_no_element_is_sound_all_are_named() -> None:
    with pytest.raises(BadRequest) as refused:
        read_all("text", {**OVERRIDDEN, "card": 5}, {**OVERRIDDEN, "outcome": "ignored"})
    issues = refused.value.operation_outcome("a_b")["issue"]
    assert [issue["expression"] for issue in issues] == [["feedback[0]"], ["feedback[1].card"], ["feedback[2].outcome"]]
    assert {issue["severity"] for issue in issues} == {"error"}
    assert issues[0]["diagnostics"].endswith("(correlation id a_b)")


def test_an_element_that_cannot_be_decoded_leaves_the_others() -> None:
    sound = json.dumps(OVERRIDDEN).encode()
    batch = read_feedback(b'{"feedback":[' + sound + b',{"card":' + b"9" * 5_000 + b"}]}")
    assert len(batch.feedback) == 1
    assert [problem.expression for problem in batch.refused] == ["feedback[1]"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "truncated"),
        (b"[]", "JSON object"),
        (b"{}", "feedback: expected an array with 1 to 200 elements, received nothing"),
        (b'{"feedback":[]}', "feedback: expected an array with 1 to 200 elements, received array"),
        (b'{"feedback":{}}', "received object"),
        (b'{"feedback":null}', "received null"),
        (b'{"feedback":[' + b"9" * 5_000 + b"]}", "can be read"),
        (b'{"feedback":[\xff]}', "UTF-8"),
    ],
)
def test_a_body_that_holds_no_feedback_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_feedback(body)
    assert said in refused.value.diagnostics


def test_more_elements_than_a_user_can_act_on_are_refused() -> None:
    assert len(read(*[OVERRIDDEN] * MOST_ELEMENTS)) == MOST_ELEMENTS
    with pytest.raises(BadRequest, match=r"feedback: expected an array with 1 to 200 elements"):
        read(*[OVERRIDDEN] * (MOST_ELEMENTS + 1))


@pytest.mark.parametrize("member", ["acceptedSuggestions", "overrideReasons"])
def test_an_element_with_a_list_without_end_is_refused(member: str) -> None:
    with pytest.raises(BadRequest, match=f"{member}: expected an array with at most 50 elements"):
        read({**OVERRIDDEN, member: [{"id": "a"}] * 51})


def test_a_body_of_feedback_may_not_be_as_large_as_one_with_a_chart() -> None:
    with pytest.raises(BodyTooLarge):
        read_feedback(b'{"feedback": ["' + b" " * MOST_BYTES + b'"]}')
