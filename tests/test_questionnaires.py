"""Forms: which finding an item asks for, on which side, and what is said where that cannot be read."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from service.app import create_app
from service.chart.case import Case
from service.chart.fhir_time import When
from tests.charts import ANOTHER, CLOCK, LOCAL, PATIENT, SERVICE, Json, packaged, sentence
from tests.test_case_reading import SCT, call, form, held, observation, read

YES: Json = {"valueBoolean": True}
NO: Json = {"valueBoolean": False}
LEFT, RIGHT, BOTH = ({"system": SCT, "code": code} for code in ("7771000", "24028007", "51440002"))


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app(clock=lambda: CLOCK).test_client()


def item(link: str, *answers: Json, **members: Any) -> Json:
    return {"linkId": link, **({"answer": list(answers)} if answers else {}), **members}


def group(link: str, *items: Json, **members: Any) -> Json:
    return {"linkId": link, "item": list(items), **members}


def sides_of(case: Case, finding: str = "slump") -> list[str]:
    """The side of each assertion; "?" where it could not be read."""
    found = case.assertions.get(finding, ())
    return ["?" if "sideUnreadable" in one.remarks else one.side for one in found]


PLAIN: dict[str, tuple[Json, str]] = {
    "no side at all": (item("slump", YES), ""),
    "prefix with a slash": (item("right/slump", YES), "right"),
    "prefix of a longer path": (item("exam/right/slump", YES), "right"),
    "prefix with a dot": (item("left.slump", YES), "left"),
    "prefix with a hyphen": (item("left-slump", YES), "left"),
    "prefix with an underscore": (item("rt_slump", YES), "right"),
    "suffix with a hyphen": (item("slump-right", YES), "right"),
    "suffix with a slash": (item("slump/left", YES), "left"),
    "suffix in camel case": (item("slumpRight", YES), "right"),
    "bilateral": (item("bilateral/slump", YES), "bilateral"),
    "definition": (item("7", YES, definition="https://example.org/form#left-slump"), "left"),
    "group by its linkId": (group("right", item("slump", YES)), "right"),
    "group by its title": (group("2", item("slump", YES), text="Right"), "right"),
    "group with a longer title": (group("2", item("slump", YES), text="Left side"), "left"),
    "group of a limb": (group("2", item("slump", YES), text="Examination of the right leg"), "right"),
    "group by its code": (group("2", item("slump", YES), code=[RIGHT]), "right"),
    "group above a group": (group("2", group("3", item("slump", YES)), text="Right"), "right"),
    "title of the item": (item("slump", YES, text="Slump test (left)"), "left"),
    "title that ends with the side": (item("slump", YES, text="Slump test, right"), "right"),
    "right now is no side": (item("slump", YES, text="Is it positive right now?"), ""),
    "all right is no part of a name": (item("slump", YES, text="Left or right?"), ""),
    "letter beside a plain title": (group("R", item("slump", YES), text="Right"), "right"),
    "side within a group of both sides": (group("both", item("left/slump", YES)), "left"),
    "answer that is a side": (item("slump", {"valueCoding": LEFT}), "left"),
    "answer that is a word": (item("slump", {"valueString": "Right"}), "right"),
    "side below the item": (item("slump", YES, item=[item("s", {"valueString": "left"}, text="Which side?")]), "left"),
    "side below the answer": (
        item("slump", {**YES, "item": [item("slump-side", {"valueCoding": RIGHT})]}),
        "right",
    ),
    "rows of a table": (group("slump", item("left", YES)), "left"),
    "rows of a table by their titles": (group("slump", item("1.1", YES, text="Right")), "right"),
    "item as one object": ({"linkId": "g", "text": "Right", "item": item("slump", YES)}, "right"),
    "answer as one object": ({"linkId": "right/slump", "answer": YES}, "right"),
}


@pytest.mark.parametrize(("given", "side"), PLAIN.values(), ids=PLAIN)
def test_a_side_that_is_plain_is_the_side_of_the_answer(given: Json, side: str) -> None:
    case = read(form(given))
    assert held(case, "slump") is True
    assert sides_of(case) == [side]


def test_an_item_that_asks_for_the_side_tells_it_for_its_group() -> None:
    asked = item("side", {"valueCoding": RIGHT}, text="Affected side")
    case = read(form(asked, item("slump", YES), group("more", item("palpable-gap", YES))))
    assert (sides_of(case), sides_of(case, "palpable-gap")) == (["right"], ["right"])


@pytest.mark.parametrize("answer", ["Right", "right side", "R", "On the right", "Right buttock"])
def test_a_side_may_be_answered_in_words(answer: str) -> None:
    assert sides_of(read(form(item("side", {"valueString": answer}), item("slump", YES)))) == ["right"]


def test_a_side_item_counts_for_its_own_group_alone() -> None:
    case = read(
        form(
            group("1", item("a", {"valueCoding": LEFT}, text="Side"), item("slump", YES)),
            group("2", item("b", {"valueCoding": RIGHT}, text="Side"), item("slump", NO)),
        )
    )
    assert sides_of(case) == ["left", "right"]


def test_a_group_that_names_its_side_outweighs_the_side_of_the_whole_form() -> None:
    case = read(form(item("side", {"valueCoding": LEFT}), group("2", item("slump", NO), text="Right leg")))
    assert sides_of(case) == ["right"]


@pytest.mark.parametrize("text", ["Dominant leg", "Which leg do you kick with?", "Side of the earlier surgery"])
def test_the_side_of_something_else_is_not_the_side_of_the_answers(text: str) -> None:
    assert sides_of(read(form(item("5", {"valueCoding": RIGHT}, text=text), item("slump", YES)))) == [""]


UNREADABLE: dict[str, list[Json]] = {
    "a letter before the name": [item("r/slump", YES)],
    "a letter behind the name": [item("slump_l", YES)],
    "a group named by a letter": [group("L", item("slump", YES))],
    "a letter that contradicts the title": [group("L", item("slump", YES), text="Right")],
    "a name with both": [item("right/left-slump", YES)],
    "a group that contradicts the item": [group("2", item("left/slump", YES), text="Right")],
    "a side item that contradicts the group": [group("right", item("side", {"valueCoding": LEFT}), item("slump", YES))],
    "two side items that differ": [
        item("side-1", {"valueCoding": LEFT}),
        item("side-2", {"valueCoding": RIGHT}),
        item("slump", YES),
    ],
    "a side as the answer to what is not known": [item("q7", {"valueCoding": RIGHT}), item("slump", YES)],
    "a side in other words": [item("side", {"valueString": "rechts"}), item("slump", YES)],
    "a side by a code that is not known": [
        item("side", {"valueCoding": {"system": "urn:example:sides", "code": "2"}}),
        item("slump", YES),
    ],
    "one finding asked twice without a side": [group("rechts", item("slump", YES)), group("links", item("slump"))],
    "an answer for the other side than its group": [group("right", item("slump", {"valueCoding": LEFT}))],
}


@pytest.mark.parametrize("items", UNREADABLE.values(), ids=UNREADABLE)
def test_a_side_that_is_a_guess_makes_the_answer_count_without_one(items: list[Json]) -> None:
    case = read(form(*items))
    assert held(case, "slump") is True
    assert sides_of(case) == ["?"]
    assert {one.side for one in case.assertions["slump"]} == {""}


def test_what_has_no_side_by_its_nature_is_never_told_to_lack_one() -> None:
    assert sides_of(read(form(item("r/saddle-numbness", YES))), "saddle-numbness") == [""]


# ---------------------------------------------------------------------------------------------------------------------
# What an item asks for

SCIATICA = {"system": SCT, "code": "23056005"}


def contained(*items: Json, **members: Any) -> Json:
    questionnaire = {"resourceType": "Questionnaire", "id": "form", "status": "active", "item": list(items)}
    return {"contained": [questionnaire], "questionnaire": "#form", **members}


@pytest.mark.parametrize(
    ("asked", "definition"),
    [
        (item("1", YES, code=[SCIATICA]), []),
        (item("1", YES, extension=[{"url": "https://example.org/item-code", "valueCoding": SCIATICA}]), []),
        (item("1", YES), [{"linkId": "1", "type": "boolean", "code": [SCIATICA]}]),
        (item("1", YES), [{"linkId": "1", "type": "boolean", "definition": "https://example.org/f#sciatica"}]),
        (item("1", YES), [{"linkId": "0", "item": [{"linkId": "2", "item": [{"linkId": "1", "code": SCIATICA}]}]}]),
        (item("1", {"valueCoding": SCIATICA}), [{"linkId": "1", "text": "Where does it hurt?"}]),
        (item("1", {"valueCoding": SCIATICA}), [{"linkId": "1", "code": [{"system": SCT, "code": "23056005"}]}]),
    ],
    ids=["own code", "extension", "contained", "definition", "nested", "contained text", "question is the finding"],
)
def test_an_item_asks_by_its_codes_and_by_those_of_the_questionnaire_within(
    asked: Json, definition: list[Json]
) -> None:
    assert held(read(form(asked, **contained(*definition))), "sciatica") is True


def test_the_questionnaire_within_is_found_by_its_url_too() -> None:
    within = contained({"linkId": "1", "code": [SCIATICA]}, questionnaire="https://example.org/form|2")
    within["contained"][0]["url"] = "https://example.org/form"
    assert held(read(form(item("1", NO), **within)), "sciatica") is False


def test_another_questionnaire_within_tells_nothing() -> None:
    within = contained({"linkId": "1", "code": [SCIATICA]}, questionnaire="#another")
    assert held(read(form(item("1", YES), **within)), "sciatica") is None


def test_a_group_of_the_questionnaire_within_tells_the_side() -> None:
    within = contained({"linkId": "g", "text": "Right", "item": [{"linkId": "1", "code": [SCIATICA]}]})
    assert sides_of(read(form(group("g", item("1", YES)), **within)), "sciatica") == ["right"]


def test_what_a_group_asks_of_the_family_is_not_the_patients() -> None:
    asked = group("g", item("1", YES, code=[SCIATICA]), item("2", {"valueCoding": SCIATICA}), text="Family history")
    assert held(read(form(asked)), "sciatica") is None


# ---------------------------------------------------------------------------------------------------------------------
# Answers


@pytest.mark.parametrize(
    ("finding", "answer"),
    [
        ("onset-date", YES),
        ("onset-date", {"valueString": "yes"}),
        ("slump", {"valueDate": "2026-11-01"}),
        ("slump", {"valueBoolean": "true"}),
        ("slump", {"valueQuantity": {"value": 3}}),
        ("slump", {"valueString": "perhaps"}),
        ("pain-severity", YES),
    ],
)
def test_an_answer_of_the_wrong_type_is_recorded_and_not_readable(finding: str, answer: Json) -> None:
    case = read(form(item(finding, answer)))
    assert [(one.finding, one.unreadable) for one in case.assertions[finding]] == [(finding, "value")]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"valueBoolean": None},
        {"_valueBoolean": {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason"}]}},
        {"valueString": "unknown"},
    ],
)
def test_an_answer_that_is_absent_is_unknown(answer: Json) -> None:
    case = read(form(item("slump", answer)))
    assert held(case, "slump") is None
    assert not list(case.not_readable())


def test_what_changes_the_meaning_of_an_item_is_said_of_all_within_it() -> None:
    changed = group("g", item("slump", YES), modifierExtension=[{"url": "https://example.org/negated"}])
    assert [one.unreadable for one in read(form(changed)).not_readable()] == ["modifierExtension"]


def test_a_wrong_type_is_said_on_the_card_and_not_called_undocumented(client: FlaskClient) -> None:
    asked = form(item("onset-date", YES), item("buttock-pain", YES))
    answer = client.post(SERVICE, json=call([asked])).get_json()
    details = "\n".join(card["detail"] for card in answer["cards"])
    assert sentence("recorded_not_readable", finding=packaged().title_of("onset-date"), date="Nov 22") in details
    undocumented = [card["extension"]["org.sitbone.basis"]["notDocumented"] for card in answer["cards"]]
    assert not any("onset-date" in names for names in undocumented)


@pytest.mark.parametrize(
    ("status", "expected", "remarks"),
    [
        ("completed", True, ()),
        ("Completed", True, ()),
        ("amended", True, ()),
        ("IN-PROGRESS", True, ("provisional",)),
        ("Stopped", None, None),
        ("entered-in-error", None, None),
        ("Entered-In-Error", None, None),
    ],
)
def test_the_status_of_a_form_decides_in_any_case(status: str, expected: Any, remarks: Any) -> None:
    case = read(form(item("slump", YES), status=status))
    assert held(case, "slump") is expected
    assert [one.remarks for one in case.assertions.get("slump", ())] == ([] if remarks is None else [remarks])


@pytest.mark.parametrize(
    ("members", "counted"),
    [
        ({"subject": {"reference": f"Patient/{ANOTHER}"}}, False),
        ({"subject": None, "source": {"reference": f"Patient/{ANOTHER}"}}, False),
        ({"subject": None, "source": {"reference": f"Patient/{PATIENT}"}}, True),
        ({"subject": None, "source": {"reference": "Practitioner/7"}}, True),
        ({"source": {"reference": f"Patient/{ANOTHER}"}}, True),
    ],
    ids=[
        "another",
        "filled in by another, no subject",
        "filled in by the patient",
        "by a clinician",
        "for the patient",
    ],
)
def test_a_form_is_whose_it_is_about(members: Json, counted: bool) -> None:
    case = read(form(item("slump", YES), **members), observation("psis-tenderness"))
    assert (held(case, "slump"), case.left_out.other_patient) == ((True, 0) if counted else (None, 1))


def test_a_date_is_read_from_an_item_of_one_side() -> None:
    (found,) = read(form(item("left/onset-date", {"valueDate": "2026-10-01"}))).assertions["onset-date"]
    assert isinstance(found.value, When)
    assert found.side == "left"


# ---------------------------------------------------------------------------------------------------------------------
# What follows from it: one chart with pain in the left buttock and the signs of a tear in a form

TEAR = ("pop-at-injury", "significant-bruising", "palpable-gap", "knee-flexion-weakness")
LEFT_PAIN = observation("buttock-pain", valueBoolean=True, bodySite={"coding": [LEFT]}, id="p")
_DEFINED = [{"linkId": str(n), "code": [{"system": LOCAL, "code": name}]} for n, name in enumerate(TEAR)]
FORMS = {
    "by linkId": form(*(item(f"right/{name}", YES) for name in TEAR)),
    "by group": form(group("2", *(item(name, YES) for name in TEAR), text="Right")),
    "by side item": form(item("side", {"valueCoding": RIGHT}), *(item(name, YES) for name in TEAR)),
    "contained": form(
        group("g", *(item(str(n), YES) for n in range(len(TEAR))), text="Right leg"), **contained(*_DEFINED)
    ),
    "unreadable": form(*(item(f"r/{name}", YES) for name in TEAR)),
}


def _mri(client: FlaskClient, response: Json) -> Json:
    answer = client.post(SERVICE, json=call([LEFT_PAIN, response])).get_json()
    orders: list[Json] = [
        action["resource"]
        for card in answer["cards"]
        for suggestion in card.get("suggestions", ())
        for action in suggestion.get("actions", ())
        if action["resource"]["code"]["text"].startswith("MRI")
    ]
    assert orders, [card["summary"] for card in answer["cards"]]
    return {"order": orders[0], "detail": answer["cards"][0]["detail"], "answer": answer}


@pytest.mark.parametrize("name", ["by linkId", "by group", "by side item", "contained"])
def test_a_tear_on_the_right_in_a_form_is_imaged_on_the_right(client: FlaskClient, name: str) -> None:
    found = _mri(client, FORMS[name])
    assert found["order"]["code"]["text"].endswith(", right")
    assert found["answer"]["cards"][0]["indicator"] == "critical"


def test_where_the_side_cannot_be_read_the_order_has_none_and_the_card_says_so(client: FlaskClient) -> None:
    found = _mri(client, FORMS["unreadable"])
    text = found["order"]["code"]["text"]
    assert "left" not in text
    assert "right" not in text
    assert sentence("sideUnreadable") in found["detail"]
    basis = found["answer"]["cards"][0]["extension"]["org.sitbone.basis"]["findings"]
    assert {one["id"] for one in basis if one.get("sideUnreadable")} == set(TEAR) & {one["id"] for one in basis}


def test_a_form_without_sides_counts_for_the_only_side_that_is_documented(client: FlaskClient) -> None:
    assert _mri(client, form(*(item(name, YES) for name in TEAR)))["order"]["code"]["text"].endswith(", left")
