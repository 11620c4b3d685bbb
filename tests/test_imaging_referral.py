"""The service that judges imaging orders, where a case cannot say it: ids, annotations, drafts that are odd."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask.testing import FlaskClient

from cds_hooks.response import RESPONSE_SCHEMA
from cds_hooks.trust.signing import claims_for, key_set, new_key, sign
from fixtures.build import PREFERENCE_LIST
from service.app import create_app
from service.fhir_validation import violations
from service.knowledge_model.model import capital
from service.service_ids import DIAGNOSIS
from service.settings import Settings
from tests.charts import CLOCK, Json, assessment_of, build_request, named_cases, packaged, sentence

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

SERVICE = "imaging-referral-sign"
SELECTING = "imaging-referral"
TEAR = {
    "age": 45,
    "side": "left",
    "present": ["buttock-pain", "sudden-onset", "sharp-pain", "pop-at-injury"],
    "service": SERVICE,
}
LUMBAR = {"id": "o1", "order": "loinc|30679-5"}
PELVIS = {"id": "o2", "order": "loinc|30673-8"}
SITE = {"id": "o3", "order": "site|RAD-7"}
# Of the leg veins: recognised, and not judged.
VEINS = {"id": "o5", "order": "loinc|46363-8"}
IN_WORDS = {"id": "o6", "order": "MRI of the pelvis"}
PAMA = "http://fhir.org/argonaut/Extension/pama-rating"
PAMA_SYSTEM = "http://fhir.org/argonaut/CodeSystem/pama-rating"


def service(**settings: Any) -> FlaskClient:
    return create_app(Settings(**settings), clock=lambda: CLOCK).test_client()


@pytest.fixture(scope="module")
def plain() -> FlaskClient:
    return service()


@pytest.fixture(scope="module")
def annotating() -> FlaskClient:
    return service(pama_rating="on")


def ask(client: FlaskClient, request: Json, id_: str = SERVICE) -> Json:
    answer: Json = json.loads(post(client, json.dumps(request), id_).get_data())
    RESPONSE_SCHEMA.load(answer)
    return answer


def post(client: FlaskClient, body: str, id_: str = SERVICE) -> TestResponse:
    response = client.post(f"/cds-services/{id_}", data=body, content_type="application/json")
    assert response.status_code == 200, response.get_data(as_text=True)
    return response


def orders(answer: Json) -> list[Json]:
    found: list[Json] = answer["extension"]["org.sitbone.assessment"].get("orders", [])
    return found


def assessment(answer: Json) -> Json:
    return assessment_of(answer)


def labels(answer: Json) -> list[str]:
    return [suggestion["label"] for card in answer["cards"] for suggestion in card.get("suggestions", ())]


def call(*drafts: Json, name: str = "case", **chart: Any) -> Json:
    return build_request({**TEAR, **chart, "drafts": list(drafts)}, name)


def test_the_same_draft_has_the_same_card_on_both_hooks_so_that_stale_advice_is_updated(plain: FlaskClient) -> None:
    selecting = call(LUMBAR, service=SELECTING, selections=["o1"])
    selected, signed = ask(plain, selecting, SELECTING), ask(plain, call(LUMBAR))
    cards = [[(card["uuid"], card["source"]["topic"]) for card in answer["cards"]] for answer in (selected, signed)]
    assert cards[0] == cards[1]
    assert len({uuid for uuid, _topic in cards[0]}) == len(cards[0]) == 2


def test_two_drafts_have_cards_of_their_own(plain: FlaskClient) -> None:
    answer = ask(plain, call(LUMBAR, {**LUMBAR, "id": "o9"}))
    assert len({card["uuid"] for card in answer["cards"]}) == 3


def test_a_replacement_deletes_the_draft_and_creates_a_valid_order(plain: FlaskClient) -> None:
    card = ask(plain, call(LUMBAR))["cards"][1]
    create, delete = card["suggestions"][0]["actions"]
    assert (delete["type"], delete["resourceId"]) == ("delete", "ServiceRequest/o1")
    assert create["type"] == "create"
    assert violations(create["resource"]) == ""
    assert create["resource"]["intent"] == "proposal"


def test_what_a_red_flag_lacks_can_be_taken_together(plain: FlaskClient) -> None:
    card = ask(plain, call(VEINS))["cards"][0]
    assert card["selectionBehavior"] == "any"
    created = [action["resource"] for suggestion in card["suggestions"] for action in suggestion["actions"]]
    assert [violations(resource) for resource in created] == ["", ""]


def test_an_order_that_was_accepted_is_appropriate_and_asks_for_nothing_more(plain: FlaskClient) -> None:
    suggestions = ask(plain, call(VEINS))["cards"][0]["suggestions"]
    request = call()
    request["context"]["draftOrders"]["entry"] = [
        {"resource": {**suggestion["actions"][0]["resource"], "id": f"a{number}"}}
        for number, suggestion in enumerate(suggestions)
    ]
    answer = ask(plain, request)
    assert answer["cards"] == []
    assert [order["rating"] for order in orders(answer)] == ["appropriate"]


def test_an_accepted_suggestion_silences_the_card_that_made_it_on_the_next_call(plain: FlaskClient) -> None:
    chart = {**TEAR, "service": DIAGNOSIS}
    first = ask(plain, build_request(chart), DIAGNOSIS)
    (card,) = first["cards"]
    request = build_request(chart)
    request["prefetch"]["orders"] = {
        "resourceType": "Bundle",
        "type": "searchset",
        "entry": [
            {"resource": {**suggestion["actions"][0]["resource"], "id": f"a{number}", "status": "active"}}
            for number, suggestion in enumerate(card["suggestions"])
        ],
    }
    second = ask(plain, request, DIAGNOSIS)
    assert second["cards"] == []
    assert second["extension"]["org.sitbone.assessment"]["silenced"] == [
        {"topic": "immediate-evaluation", "orders": ["ServiceRequest/a0", "ServiceRequest/a1"]}
    ]


# ---------------------------------------------------------------------------------------------------------------------
# The Argonaut annotation


@pytest.mark.parametrize("draft", [IN_WORDS, {"id": "o1", "order": "sct|308447003"}])
def test_an_order_that_only_a_red_flag_would_speak_of_is_refused_where_a_chart_may_hold_one(
    draft: Json, plain: FlaskClient
) -> None:
    request = build_request({"age": 45, "service": SERVICE, "withheld": ["observations"], "drafts": [draft]})
    refused = plain.post(f"/cds-services/{SERVICE}", json=request)
    assert refused.status_code == 412
    assert refused.get_json()["issue"][0]["expression"] == ["prefetch.observations"]


def test_without_the_setting_no_order_is_annotated(plain: FlaskClient) -> None:
    assert "systemActions" not in ask(plain, call(LUMBAR))


def test_order_select_never_annotates(annotating: FlaskClient) -> None:
    selecting = call(LUMBAR, service=SELECTING, selections=["o1"])
    assert "systemActions" not in ask(annotating, selecting, SELECTING)


def test_an_annotated_order_is_the_draft_with_the_rating_and_nothing_else(annotating: FlaskClient) -> None:
    request = call({**PELVIS, "side": "left"})
    (entry,) = request["context"]["draftOrders"]["entry"]
    entry["resource"] |= {"extension": [{"url": "urn:example:own", "valueString": "kept"}], "note": [{"text": "as is"}]}
    (action,) = ask(annotating, request)["systemActions"]
    assert action["type"] == "update"
    own, rating, consult = action["resource"].pop("extension")
    assert own == {"url": "urn:example:own", "valueString": "kept"}
    assert rating["url"] == PAMA
    assert rating["valueCodeableConcept"]["coding"][0]["system"] == PAMA_SYSTEM
    assert consult["url"] == f"{PAMA}-consult-id"
    assert consult["valueUri"].startswith("urn:uuid:")
    assert json.dumps(action["resource"]) == json.dumps(
        {name: value for name, value in entry["resource"].items() if name != "extension"}
    )


# Read as numbers and written again, most of these would be others: 1.5, 0.1, 0, 1000.0.
DECIMALS = ("1.50", "0.1000000000000000055511151231257827", "-0", "1.0E3", "7", "-2.0", "12345678901234567890123456789")


def test_an_annotated_order_has_every_number_as_it_was_written(annotating: FlaskClient) -> None:
    request = call(PELVIS)
    (entry,) = request["context"]["draftOrders"]["entry"]
    entry["resource"]["extension"] = [{"url": "urn:example:own", "valueDecimal": "@0"}]
    entry["resource"]["quantityQuantity"] = {"value": "@1", "unit": "1.50"}
    entry["resource"]["contained"] = [{"resourceType": "Basic", "n": [f"@{n}" for n in range(2, len(DECIMALS))]}]
    text = json.dumps(request)
    for number, decimal in enumerate(DECIMALS):
        text = text.replace(f'"@{number}"', decimal)
    answered = post(annotating, text)
    resource = json.loads(answered.data, parse_int=str, parse_float=str)["systemActions"][0]["resource"]
    assert resource["extension"][0]["valueDecimal"] == DECIMALS[0]
    assert resource["quantityQuantity"] == {"value": DECIMALS[1], "unit": "1.50"}
    assert resource["contained"][0]["n"] == list(DECIMALS[2:])
    assert b'"value":0.1000000000000000055511151231257827,' in answered.data


def test_a_null_beside_a_number_keeps_the_order_from_being_sent_back(annotating: FlaskClient) -> None:
    request = call(PELVIS)
    request["context"]["draftOrders"]["entry"][0]["resource"]["quantityQuantity"] = {"value": 1.25, "unit": None}
    assert "systemActions" not in ask(annotating, request)


def test_an_order_nested_too_deeply_to_be_sent_back_is_no_fault(annotating: FlaskClient) -> None:
    request = call(PELVIS)
    request["context"]["draftOrders"]["entry"][0]["resource"]["note"] = "@"
    text = json.dumps(request)
    # The writer stops at about 250 levels, the reader at the depth of the interpreter, by its version some 1,000 or
    # 10,000: beyond that the call is refused.
    seen = {}
    around = (*range(235, 265), *range(900, 1010, 2), *range(970, 990), *range(9_950, 10_010, 5))
    for deep in (200, *around, 50_000):
        body = text.replace('"@"', "[" * deep + "1.0" + "]" * deep)
        answer = annotating.post(f"/cds-services/{SERVICE}", data=body, content_type="application/json")
        seen[deep] = answer.status_code, "systemActions" in answer.get_json()
    assert set(seen.values()) == {(200, True), (200, False), (400, False)}
    assert (seen[200], seen[264], seen[50_000]) == ((200, True), (200, False), (400, False))


@pytest.mark.parametrize(
    ("chart", "draft", "code"),
    [
        ({"present": ["buttock-pain", "low-back-pain", "slump", "cough-sneeze-pain"]}, LUMBAR, "not-appropriate"),
        ({"present": ["buttock-pain", "saddle-numbness"]}, LUMBAR, "appropriate"),
        ({}, LUMBAR, "no-criteria-apply"),
    ],
)
def test_the_annotation_has_one_of_the_three_codes_of_its_own_value_set(
    chart: Json, draft: Json, code: str, annotating: FlaskClient
) -> None:
    (action,) = ask(annotating, call(draft, **chart))["systemActions"]
    concept = action["resource"]["extension"][0]["valueCodeableConcept"]
    assert {"system": PAMA_SYSTEM, "code": code} in concept["coding"]


def test_the_annotation_stands_on_published_criteria_where_any_hold_also_beside_a_better_judgement_of_our_own(
    annotating: FlaskClient,
) -> None:
    answer = ask(annotating, call(PELVIS))
    assert [order["rating"] for order in orders(answer)] == ["appropriate"]
    (action,) = answer["systemActions"]
    codes = [coding["code"] for coding in action["resource"]["extension"][0]["valueCodeableConcept"]["coding"]]
    # Without a radiograph the criteria for acute pain rate the MRI; after it those for a tear do.
    assert codes == ["not-appropriate", "usually-not"]
    after = ["buttock-pain", "sudden-onset", "sharp-pain", "pop-at-injury", "radiograph-normal"]
    (action,) = ask(annotating, call(PELVIS, present=after))["systemActions"]
    codes = [coding["code"] for coding in action["resource"]["extension"][0]["valueCodeableConcept"]["coding"]]
    assert codes == ["appropriate", "appropriate"]


def test_a_call_that_several_recommendations_share_is_missing_where_one_of_them_is_critical(plain: FlaskClient) -> None:
    # The warning of an infection comes before the tear and calls for the same MRI.
    present = ["buttock-pain", "sudden-onset", "sharp-pain", "pop-at-injury", "warm-red-swelling", "radiograph-normal"]
    answer = ask(plain, call(VEINS, present=present))
    assert "Order: MRI of the pelvis without contrast, left (urgent)" in labels(answer)


@pytest.mark.parametrize(
    ("chart", "draft"),
    [
        ({"present": ["buttock-pain"]}, PELVIS),
        ({"present": []}, PELVIS),
        ({}, {"id": "o4", "order": "loinc|37622-8"}),
    ],
    ids=["cannot be rated", "another complaint", "a radiograph"],
)
def test_what_cannot_be_rated_or_is_no_advanced_imaging_is_not_annotated(
    chart: Json, draft: Json, annotating: FlaskClient
) -> None:
    assert "systemActions" not in ask(annotating, call(draft, **chart))


def test_an_earlier_annotation_is_replaced(annotating: FlaskClient) -> None:
    request = call(PELVIS)
    (first,) = ask(annotating, request)["systemActions"]
    request["context"]["draftOrders"]["entry"] = [{"resource": first["resource"]}]
    (second,) = ask(annotating, request)["systemActions"]
    assert second == first


def test_a_draft_with_a_null_is_rated_and_not_sent_back(annotating: FlaskClient) -> None:
    request = call(PELVIS)
    request["context"]["draftOrders"]["entry"][0]["resource"]["priority"] = None
    answer = ask(annotating, request)
    assert [order["rating"] for order in orders(answer)] == ["appropriate"]
    assert "systemActions" not in answer


# ---------------------------------------------------------------------------------------------------------------------
# Odd drafts


def test_a_draft_without_an_id_is_rated_and_never_deleted(plain: FlaskClient) -> None:
    request = call(LUMBAR)
    del request["context"]["draftOrders"]["entry"][0]["resource"]["id"]
    answer = ask(plain, request)
    assert [order["reference"] for order in orders(answer)] == ["ServiceRequest"]
    actions = [a for card in answer["cards"] for s in card.get("suggestions", ()) for a in s.get("actions", ())]
    assert [action["type"] for action in actions] == ["create", "create"]


def test_two_drafts_without_an_id_have_cards_and_suggestions_of_their_own(plain: FlaskClient) -> None:
    request = call(LUMBAR, {**LUMBAR, "order": "loinc|24972-2"})
    for entry in request["context"]["draftOrders"]["entry"]:
        del entry["resource"]["id"]
    cards = ask(plain, request)["cards"]
    assert [card["indicator"] for card in cards] == ["critical", "warning", "warning"]
    assert len({card["uuid"] for card in cards}) == 3
    suggested = [suggestion["uuid"] for card in cards for suggestion in card.get("suggestions", ())]
    assert len(set(suggested)) == len(suggested)
    assert [card["uuid"] for card in ask(plain, request)["cards"]] == [card["uuid"] for card in cards]


@pytest.mark.parametrize(
    ("drafts", "unreadable"),
    [
        ({"resourceType": "Bundle", "entry": 7}, 1),
        ({"resourceType": "Bundle", "entry": {"resource": {"resourceType": "ServiceRequest"}}}, 1),
        ({"resourceType": "Bundle", "entry": [7, {}, {"resource": None}]}, 3),
        ({"entry": []}, 1),
        ({}, 1),
        ({"resourceType": "Parameters", "entry": []}, 1),
        ({"resourceType": "Bundle"}, 0),
        ({"resourceType": "Bundle", "entry": []}, 0),
        ({"resourceType": "ServiceRequest", "id": "o1"}, 0),
        *(
            ({"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "ServiceRequest", **changed}}]}, 1)
            for changed in ({"modifierExtension": [{"url": "urn:x:not"}]}, {"implicitRules": "urn:x:rules"})
        ),
    ],
)
def test_draft_orders_that_are_no_bundle_of_drafts_are_counted_as_unreadable(
    drafts: Json, unreadable: int, plain: FlaskClient
) -> None:
    request = call()
    request["context"]["draftOrders"] = drafts
    assert assessment(ask(plain, request))["draftsLeftOut"] == {"otherPatient": 0, "unreadable": unreadable}


@pytest.mark.parametrize(
    "code",
    [
        None,
        {"text": "MRI of the pelvis"},
        {"coding": [{"system": "http://loinc.org", "code": "0000-0"}]},
        {"coding": [{"system": "http://loinc.org"}]},
    ],
    ids=["missing", "words", "unknown", "no code"],
)
def test_a_draft_that_cannot_be_recognised_is_counted_and_a_red_flag_is_still_heard(
    code: Json | None, plain: FlaskClient
) -> None:
    request = call(IN_WORDS)
    (entry,) = request["context"]["draftOrders"]["entry"]
    entry["resource"].pop("code")
    entry["resource"] |= {"code": code} if code else {}
    answer = ask(plain, request)
    assert assessment(answer)["notRecognised"] == 1
    (card,) = answer["cards"]
    recommendations = card["extension"]["org.sitbone.basis"]["recommendations"]
    assert (card["indicator"], recommendations[0]["id"]) == ("critical", "io01b-orders-not-recognised")
    assert sentence("not_recognised", count=1) in card["detail"]


def test_drafts_that_are_recognised_are_not_counted_as_unrecognised(plain: FlaskClient) -> None:
    answer = ask(plain, call(LUMBAR, VEINS, {"id": "o7", "order": "sct|308481009"}))
    assert assessment(answer)["notRecognised"] == 0
    assert sentence("not_recognised", count=1)[:30] not in answer["cards"][0]["detail"]


def test_a_draft_in_words_that_is_not_selected_brings_no_card(plain: FlaskClient) -> None:
    answer = ask(plain, call(IN_WORDS, service=SELECTING, selections=[]), SELECTING)
    assert (answer["cards"], assessment(answer)["notRecognised"]) == ([], 1)


@pytest.mark.parametrize(
    ("words", "cards"),
    [
        ("right hip", ["MRI of the hip without contrast: two different sides in one order"]),
        ("left hip", []),
        ("both hips", []),
    ],
)
def test_the_words_of_an_order_may_name_the_other_side_than_its_code(
    words: str, cards: list[str], plain: FlaskClient
) -> None:
    present = ["lateral-hip-pain", "trochanteric-tenderness", "trendelenburg", "single-leg-stance"]
    request = call({"id": "o1", "order": "loinc|36488-5"}, age=52, sex="female", onset_days_ago=60, present=present)
    request["context"]["draftOrders"]["entry"][0]["resource"]["code"]["text"] = f"MRI {words}"
    answer = ask(plain, request)
    assert [card["summary"] for card in answer["cards"]] == cards
    assert [order["side"] for order in orders(answer)] == ["unspecified" if cards else "left"]


def test_a_body_site_under_a_code_of_the_ehr_alone_may_be_any_site(plain: FlaskClient) -> None:
    request = call({"id": "o1", "order": "sct|113091000", "site": "12738006"})
    (site,) = request["context"]["draftOrders"]["entry"][0]["resource"]["bodySite"]
    assert orders(ask(plain, request)) == []
    site["coding"].append({"system": "urn:example:sites", "code": "S-1"})
    assert orders(ask(plain, request)) == []
    site["coding"] = site["coding"][1:]
    assert [order["because"] for order in orders(ask(plain, request))] == ["region-not-known"]


# ---------------------------------------------------------------------------------------------------------------------
# Suggestions that change no order


@pytest.mark.parametrize(
    ("chart", "draft"),
    [
        ({}, LUMBAR),
        ({"orders": [{"order": "loinc|30673-8", "days_ago": 0}]}, PELVIS),
        ({"present": ["buttock-pain"]}, PELVIS),
        ({"present": ["buttock-pain", "sudden-onset", "pop-at-injury", "sharp-pain", "cardiac-device"]}, PELVIS),
    ],
    ids=["another region", "ordered", "too little", "a device"],
)
def test_whoever_keeps_a_draft_can_say_why(chart: Json, draft: Json, plain: FlaskClient) -> None:
    answer = ask(plain, call(draft, {"id": "o7", "order": "sct|308481009"}, **chart))
    about_drafts = [card for card in answer["cards"] if card["indicator"] != "critical"]
    assert about_drafts
    for card in about_drafts:
        assert card["overrideReasons"]
        suggestions = card.get("suggestions", ())
        assert card.get("selectionBehavior") == (None, "any", "at-most-one")[min(len(suggestions), 2)]


JUDGED = [case for case in named_cases() if case.service.startswith("imaging-referral")]


def test_beside_a_red_flag_no_order_is_offered_for_removal_alone(plain: FlaskClient) -> None:
    answers = {case.name: ask(plain, case.request(), case.service) for case in JUDGED}
    flagged = [name for name, answer in answers.items() if assessment_of(answer)["redFlags"]]
    assert flagged
    assert [name for name in flagged if "Remove this order" in labels(answers[name])] == []


# What raises a red flag of an adult, or holds exercise, when it is present; a result of imaging raises a plan.
GRAVE = sorted(
    name
    for name in packaged().definitions["red-flag-contradictory"][1].findings()
    if packaged().findings[name].kind != "result"
)
DRAFTS = [LUMBAR, PELVIS, {"id": "o8", "order": "loinc|24972-2"}, {"id": "o9", "order": "loinc|37622-8"}]


@pytest.mark.parametrize("state", ["present", "unknown"])
def test_no_grave_finding_present_or_unanswered_leaves_an_order_to_be_removed_alone(
    state: str, plain: FlaskClient
) -> None:
    removed = []
    for finding, draft in product(GRAVE, DRAFTS):
        stated: Json = {"present": ["buttock-pain", "low-back-pain"]}
        stated[state] = [*stated.get(state, []), finding]
        answer = ask(plain, call(draft, age=45, side="left", onset_days_ago=20, **stated))
        flagged = assessment_of(answer)["redFlags"]
        if (flagged or state == "unknown") and "Remove this order" in labels(answer):
            removed.append((finding, draft["order"]))
    assert removed == []


def test_keeping_an_order_silences_nothing(plain: FlaskClient) -> None:
    request = call(LUMBAR)
    first = ask(plain, request)
    card = first["cards"][-1]
    feedback = {
        "card": card["uuid"],
        "outcome": "overridden",
        "overrideReason": {"reason": card["overrideReasons"][-1]},
        "outcomeTimestamp": CLOCK.isoformat(),
    }
    received = plain.post(f"/cds-services/{SERVICE}/feedback", json={"feedback": [feedback]})
    assert received.status_code == 200
    assert ask(plain, request)["cards"] == first["cards"]


def test_what_would_tell_stands_in_the_text_and_is_no_suggestion(plain: FlaskClient) -> None:
    answer = ask(plain, call(PELVIS, present=["buttock-pain"]))
    (card,) = answer["cards"]
    assert assessment(answer)["ask"][:2] == ["onset-date", "pop-at-injury"]
    asked = {question.findings[0]: question.short for question in packaged().questions}
    assert f"**Ask:** {capital(asked['onset-date'])}? {capital(asked['pop-at-injury'])}?" in card["detail"]
    assert not {"suggestions", "selectionBehavior"} & card.keys()


def test_an_order_that_itself_lacks_something_still_has_its_work_up(plain: FlaskClient) -> None:
    assert labels(ask(plain, call({"id": "o1", "order": "sct|113091000"}))) == [
        "Order: MRI of the pelvis without contrast, left (urgent)",
        "Order: Referral to orthopedics (urgent)",
    ]


@pytest.mark.parametrize(
    ("ehr", "replacing"),
    [
        ("generic", ["Replace with"]),
        ("oracle-health", ["Replace with"]),
        ("epic", ["1 of 2, to be taken together", "2 of 2, to be taken together"]),
    ],
)
def test_each_dialect_replaces_as_its_ehr_takes_it_and_none_has_a_question_to_take(
    ehr: str, replacing: list[str]
) -> None:
    client = service(ehr=ehr, preference_list=PREFERENCE_LIST if ehr == "epic" else None)
    for draft, present, expected in ((LUMBAR, TEAR["present"], replacing), (PELVIS, ["buttock-pain"], [])):
        card = ask(client, call(draft, present=present))["cards"][-1]
        assert [suggestion["label"].partition(": ")[0] for suggestion in card.get("suggestions", ())] == expected
        assert ("selectionBehavior" in card) == bool(expected)


def test_whoever_takes_all_that_is_suggested_has_one_mri(plain: FlaskClient) -> None:
    answer = ask(plain, call(LUMBAR, {**LUMBAR, "id": "o9"}))
    actions = [a for card in answer["cards"] for s in card.get("suggestions", ()) for a in s["actions"]]
    created = [action["resource"]["code"]["text"] for action in actions if action["type"] == "create"]
    deleted = [action["resourceId"] for action in actions if action["type"] == "delete"]
    assert sorted(created) == ["MRI of the pelvis without contrast, left", "Referral to orthopedics"]
    assert deleted == ["ServiceRequest/o1"]


@pytest.mark.parametrize("member", ["code", "subject", "bodySite", "extension", "priority", "status"])
@pytest.mark.parametrize("value", [None, 7, "text", [], {}, [None], [[]], {"coding": [{"system": 1}]}])
def test_no_member_of_a_draft_can_break_the_answer(member: str, value: object, annotating: FlaskClient) -> None:
    request = call({**PELVIS, "side": "left"})
    request["context"]["draftOrders"]["entry"][0]["resource"][member] = value
    ask(annotating, request)


def test_a_site_code_is_rated_as_what_the_site_says_it_is(tmp_path: Path) -> None:
    file = tmp_path / "codes.csv"
    file.write_text("system,code,modality,region,side\nurn:example:site-codes,RAD-7,mri,lumbar-spine,\n", "utf-8")
    assert [o["rating"] for o in orders(ask(service(order_codes=file), call(SITE)))] == ["usually-not"]


def test_without_a_mapping_a_site_code_is_not_judged(plain: FlaskClient) -> None:
    assert orders(ask(plain, call(SITE))) == []


def test_a_client_gets_the_annotation_when_its_own_entry_says_so(tmp_path: Path) -> None:
    key = new_key()
    (tmp_path / "keys.json").write_text(json.dumps(key_set(key)), "utf-8")
    entry = '[clients.{name}]\nissuers = ["{name}"]\njwks_file = "keys.json"\n{more}\n'
    (tmp_path / "clients.toml").write_text(
        entry.format(name="one", more="pama_rating = true") + entry.format(name="two", more=""), "utf-8"
    )
    (tmp_path / "store").mkdir(mode=0o700)
    settings = Settings(draft="show", clients=tmp_path / "clients.toml", store=tmp_path / "store", pama_rating="on")
    client = create_app(settings, clock=lambda: CLOCK).test_client()
    annotated = {}
    for name in ("one", "two"):
        token = sign(key, claims_for(name, f"http://localhost/cds-services/{SERVICE}", CLOCK.timestamp()))
        headers = {"Authorization": f"Bearer {token}"}
        answer = client.post(f"/cds-services/{SERVICE}", json=call(PELVIS), headers=headers).get_json()
        annotated[name] = "systemActions" in answer
    assert annotated == {"one": True, "two": False}
