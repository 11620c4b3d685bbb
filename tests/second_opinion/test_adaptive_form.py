"""The questions as an adaptive form: any form filler asks them, and ends with the advice that a hook would give."""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.questionnaire import Questionnaire
from fhir.resources.R4B.questionnaireresponse import QuestionnaireResponse
from flask.testing import FlaskClient

from cds_hooks.trust.signing import claims_for, key_set, new_key, sign
from service.app import create_app
from service.settings import Settings
from tests.charts import CLOCK, packaged

Json = dict[str, Any]
BASE = "https://cds.example.org/fhir"
FORM = f"{BASE}/Questionnaire/second-opinion"
OPERATION = "/fhir/Questionnaire/$next-question"
ADAPTIVE = "http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-questionnaireAdaptive"
SCT = "http://snomed.info/sct"
YES, NO, UNKNOWN = "373066001", "373067005", "261665006"
LEFT, RIGHT, BOTH = "7771000", "24028007", "51440002"
# What the history and the examination find; all else that is asked for is absent.
PATIENTS: Mapping[str, frozenset[str]] = {
    "tear": frozenset(
        ("buttock-pain", "sudden-onset", "pop-at-injury", "sharp-pain", "significant-bruising", "palpable-gap")
    ),
    "tendinopathy": frozenset(("buttock-pain", "gradual-onset", "ischial-tenderness", "bent-knee-stretch")),
    "nerve": frozenset(("buttock-pain", "radiating-numbness-or-tingling", "slump", "straight-leg-raise")),
    "nothing": frozenset(("buttock-pain",)),
}


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    settings = Settings(adaptive_form="on", public_base_url="https://cds.example.org")
    return create_app(settings, lambda: CLOCK).test_client()


def begun(**more: Any) -> Json:
    """A form of which nothing is answered."""
    form = {
        "resourceType": "Questionnaire",
        "id": "q",
        "status": "active",
        "title": "a title of the filler's own",
        "derivedFrom": [f"{FORM}|{packaged().version}"],
    }
    return {
        "resourceType": "QuestionnaireResponse",
        "status": "in-progress",
        "questionnaire": "#q",
        "authored": "2026-11-22T12:00:00Z",
        "subject": {"reference": "Patient/p1"},
        "contained": [{**form, **more}],
    }


def copied(form: Json) -> Json:
    """A copy to its depth, in a tenth of the time that deepcopy takes."""
    found: Json = orjson.loads(orjson.dumps(form))
    return found


def post(client: FlaskClient, form: Json, path: str = OPERATION) -> Json:
    answer = client.post(path, json=form)
    assert answer.status_code == 200, answer.text
    found: Json = answer.get_json()
    return found


def questions(form: Json) -> Iterator[tuple[Json, Json]]:
    """The groups of a form that have no answer yet, each with one of its items."""
    answered = {inner["linkId"] for group in form.get("item", ()) for inner in group.get("item", ())}
    for group in form["contained"][0]["item"]:
        for item in group.get("item", ()):
            if item["linkId"] not in answered:
                yield group, item


def given(form: Json, group: Json, item: Json, answer: Json) -> None:
    """The answer in the form, in its group."""
    groups = form.setdefault("item", [])
    of_group = next((each for each in groups if each["linkId"] == group["linkId"]), None)
    if of_group is None:
        of_group = {"linkId": group["linkId"], "item": []}
        groups.append(of_group)
    of_group["item"].append({"linkId": item["linkId"], "answer": [answer]})


def coded(code: str) -> Json:
    return {"valueCoding": {"system": SCT, "code": code}}


def of_truth(present: frozenset[str], side: str = LEFT) -> Callable[[Json], Json]:
    """Answers as this patient would: by the last part of the linkId."""

    def answer(item: Json) -> Json:
        name = item["linkId"].rpartition("/")[2]
        if name == "side":
            return coded(side)
        if item["type"] == "choice":
            return coded(YES if name in present else NO)
        if item["type"] == "date":
            return {"valueDate": "1980" if name == "age" else "2026-11-19"}
        unit = next(
            each["valueCoding"] for each in item["extension"] if each["url"].endswith("questionnaire-unitOption")
        )
        return {"valueQuantity": {"value": 0, "unit": unit["display"], "system": unit["system"], "code": unit["code"]}}

    return answer


def filled(client: FlaskClient, answer: Callable[[Json], Json]) -> list[Json]:
    """Each response until the form is completed, where every question is answered."""
    form, responses = begun(), []
    for _ in range(30):
        form = post(client, form)
        responses.append(copied(form))
        if form["status"] == "completed":
            return responses
        for group, item in list(questions(form)):
            if not item["linkId"].endswith("none-of-these"):
                given(form, group, item, answer(item))
    raise AssertionError("the form has no end")


def advice(form: Json) -> list[str]:
    return [item["text"] for item in form["contained"][0]["item"] if item["linkId"].startswith("advice")]


def by_hook(client: FlaskClient, response: Json, patient: Json) -> Json:
    """The answer of the hook at patient-view to a chart that holds this form and nothing else."""
    chart = {
        "patient": {"resourceType": "Patient", "id": "p1", **patient},
        "questionnaireResponses": {
            "resourceType": "Bundle",
            "type": "searchset",
            "entry": [{"resource": {**response, "status": "completed", "id": "form"}}],
        },
    }
    call = {
        "hook": "patient-view",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {"userId": "Practitioner/7", "patientId": "p1"},
        "prefetch": chart,
    }
    answer = client.post("/cds-services/gluteal-hamstring-pain", json=call)
    assert answer.status_code == 200, answer.text
    found: Json = answer.get_json()
    return found


def plain(card: Json) -> str:
    text = f"{card['summary']}\n{card['detail']}" if card.get("detail") else card["summary"]
    return text.replace("**", "").replace("\\", "")


# -- The sequence -----------------------------------------------------------------------------------------------------


def test_the_first_screen_asks_where_the_pain_is_and_on_which_side(client: FlaskClient) -> None:
    form = post(client, begun())
    (where, *places), enough = [item for group, item in questions(form)], form["contained"][0]["item"][-1]
    assert [where["linkId"], enough["linkId"]] == ["where/side", "enough"]
    assert "where/buttock-pain" in {item["linkId"] for item in places}
    assert form["status"] == "in-progress"


@pytest.mark.parametrize("name", PATIENTS)
def test_a_sequence_ends_within_seven_screens_and_asks_nothing_twice(client: FlaskClient, name: str) -> None:
    responses = filled(client, of_truth(PATIENTS[name]))
    # The first screen asks where the pain is, the last response asks nothing.
    assert len(responses) - 2 <= 7
    asked = [item["linkId"] for group in responses[-1]["item"] for item in group["item"]]
    assert len(asked) == len(set(asked))


def test_what_nobody_knows_is_not_asked_again_and_the_sequence_ends(client: FlaskClient) -> None:
    def answer(item: Json) -> Json:
        known = of_truth(frozenset({"buttock-pain"}))(item)
        return coded(UNKNOWN) if item["type"] == "choice" and not item["linkId"].startswith("where/") else known

    responses = filled(client, answer)
    assert len(responses) - 2 <= 7
    for before, after in pairwise(responses):
        asked = {item["linkId"] for _group, item in questions(before) if item["type"] == "choice"}
        assert not asked & {item["linkId"] for _group, item in questions(after)}


def test_a_tear_is_critical_after_the_first_screen_of_questions(client: FlaskClient) -> None:
    responses = filled(client, of_truth(PATIENTS["tear"]))
    assert "Examine today" in advice(responses[2])[0]


def test_the_form_ends_when_no_answer_changes_urgency_imaging_or_referral(client: FlaskClient) -> None:
    last = filled(client, of_truth(PATIENTS["nothing"]))[-1]
    assert last["status"] == "completed"
    assert not list(questions(last))
    assert advice(last)


def test_enough_ends_the_questions_with_the_advice_as_it_stands(client: FlaskClient) -> None:
    form = located(client)
    before = advice(form)
    form["item"].append({"linkId": "enough", "answer": [{"valueBoolean": True}]})
    form = post(client, form)
    assert (form["status"], advice(form)) == ("completed", before)
    assert post(client, form) == form


def located(client: FlaskClient, side: str = LEFT) -> Json:
    """A form with pain in the buttock of this side."""
    form = post(client, begun())
    for group, item in list(questions(form)):
        if item["linkId"] in ("where/side", "where/buttock-pain"):
            given(form, group, item, coded(side if item["linkId"] == "where/side" else YES))
    return post(client, form)


def test_none_of_these_is_a_no_to_what_the_group_leaves_open(client: FlaskClient) -> None:
    form = located(client)
    group = next(group for group, _item in questions(form) if group["linkId"] == "left/ask-pop-at-injury")
    answers = {"left/sudden-onset": coded(YES), f"{group['linkId']}/none-of-these": {"valueBoolean": True}}
    for item in group["item"]:
        if item["linkId"] in answers:
            given(form, group, item, answers[item["linkId"]])
    kept = next(each for each in post(client, form)["item"] if each["linkId"] == group["linkId"])
    found = {each["linkId"]: each["answer"][0].get("valueCoding", {}).get("code") for each in kept["item"]}
    assert found["left/sudden-onset"] == YES
    assert found["left/pop-at-injury"] == found["left/sharp-pain"] == NO


def test_answered_groups_stay_in_place_and_unanswered_ones_are_dropped(client: FlaskClient) -> None:
    form = located(client)
    offered = {group["linkId"] for group, _item in questions(form)}
    group, item = next((g, i) for g, i in questions(form) if i["linkId"] == "left/pop-at-injury")
    given(form, group, item, coded(YES))
    after = post(client, form)
    kept = [each["linkId"] for each in after["contained"][0]["item"]]
    assert kept[:2] == ["where", "left/ask-pop-at-injury"]
    assert [each["linkId"] for each in after["item"]] == kept[:2]
    open_ = {group["linkId"] for group, _item in questions(after)}
    assert (offered - {"left/ask-pop-at-injury"}) & open_, "what was skipped may be asked again"


def test_pain_on_both_sides_is_asked_about_on_each(client: FlaskClient) -> None:
    asked = {item["linkId"] for _group, item in questions(located(client, BOTH))}
    assert {"left/pop-at-injury", "right/pop-at-injury"} <= asked
    assert "age" in asked, "and what has no side once"


def test_an_answer_about_the_right_changes_nothing_of_the_left(client: FlaskClient) -> None:
    forms = {}
    for side, name in ((LEFT, "left"), (RIGHT, "right")):
        form = located(client, side)
        for group, item in list(questions(form)):
            if item["linkId"].startswith(f"{name}/") and item["type"] == "choice":
                given(form, group, item, coded(YES))
        forms[name] = post(client, form)
    assert advice(forms["left"])[0].startswith("Left:")
    assert advice(forms["right"])[0].startswith("Right:")
    assert "Left" not in json.dumps(advice(forms["right"]))


# -- The same advice as a hook ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_the_advice_is_that_of_the_hook_once_the_form_is_saved(client: FlaskClient, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - drawn answers
    side = chance.choice([LEFT, RIGHT, BOTH])

    def answer(item: Json) -> Json:
        as_asked = of_truth(frozenset({"buttock-pain"}), side)(item)
        choosing = item["type"] == "choice" and not item["linkId"].startswith("where/")
        return coded(chance.choice([YES, NO, NO, UNKNOWN])) if choosing else as_asked

    for form in filled(client, answer)[1:]:
        answered = {inner["linkId"] for group in form["item"] for inner in group.get("item", ())}
        born = {"birthDate": "1980"} if any(each.endswith("age") for each in answered) else {}
        cards = by_hook(client, form, born)["cards"]
        assert advice(form) == [plain(card) for card in cards]


def test_each_advice_names_the_recommendations_that_it_stands_on(client: FlaskClient) -> None:
    form = filled(client, of_truth(PATIENTS["tear"]))[-1]
    first = next(item for item in form["contained"][0]["item"] if item["linkId"] == "advice")
    ids = [each["valueCode"] for each in first["extension"]]
    assert "rs01-sudden-tear" in ids
    assert set(ids) <= {each.id for each in packaged().recommendations}


# -- The profile ------------------------------------------------------------------------------------------------------


def test_every_response_is_valid_and_has_what_the_profiles_of_sdc_ask_for(client: FlaskClient) -> None:
    for name in PATIENTS:
        for form in filled(client, of_truth(PATIENTS[name])):
            QuestionnaireResponse.model_validate(form)
            assert form["authored"]
            questionnaire = form["contained"][0]
            assert form["questionnaire"] == f"#{questionnaire['id']}"
            assert {"resourceType": "Questionnaire", "derivedFrom": [f"{FORM}|{packaged().version}"]}.items() <= (
                questionnaire.items()
            )
            assert [each["valueUrl"] for each in questionnaire["extension"] if each["url"] == ADAPTIVE] == [BASE]
            assert questionnaire["title"]
            assert not {"url", "version"} & questionnaire.keys()
            check_link_ids(form.get("item", ()), questionnaire["item"])


@pytest.mark.parametrize("as_parameters", [False, True], ids=["bare", "Parameters"])
def test_the_bodies_of_a_tester_get_what_the_payer_suite_of_inferno_asks_for(
    client: FlaskClient, *, as_parameters: bool
) -> None:
    # davinci-dtr-test-kit 0.17.0: a list of bodies, each is answered with 200 and a bare, valid QuestionnaireResponse,
    # and at least one of them is completed.
    bodies = [begun(), *filled(client, of_truth(PATIENTS["tear"]))]
    statuses = []
    for body in bodies:
        named = {"resourceType": "Parameters", "parameter": [{"name": "questionnaire-response", "resource": body}]}
        sent = json.dumps(named if as_parameters else body)
        answer = client.post(OPERATION, data=sent, content_type="application/fhir+json")
        assert answer.status_code == 200
        form = answer.get_json()
        assert form["resourceType"] == "QuestionnaireResponse"
        QuestionnaireResponse.model_validate(form)
        statuses.append(form["status"])
    assert "completed" in statuses


def check_link_ids(items: Any, defined: Any) -> None:
    """Each linkId once on its level, in the order of the form, and each item with a text."""
    order = [each["linkId"] for each in defined]
    found = [each["linkId"] for each in items]
    assert len(order) == len(set(order))
    assert found == [each for each in order if each in found]
    assert all(each["text"] for each in defined)
    for item in items:
        check_link_ids(
            item.get("item", ()), next(each for each in defined if each["linkId"] == item["linkId"]).get("item", ())
        )


def test_the_same_body_gives_the_same_bytes(client: FlaskClient) -> None:
    body = json.dumps(located(client))
    posted = [client.post(OPERATION, data=body, content_type="application/fhir+json").data for _ in range(2)]
    assert posted[0] == posted[1]


@pytest.mark.parametrize("path", ["/fhir", "/fhir/$next-question", OPERATION])
def test_the_base_and_both_urls_of_the_operation_take_the_form(client: FlaskClient, path: str) -> None:
    assert post(client, begun(), path) == post(client, begun())


@pytest.mark.parametrize("name", ["questionnaire-response", "questionnaire-response-in"])
def test_parameters_with_the_response_are_taken_as_the_response_is(client: FlaskClient, name: str) -> None:
    wrapped = {"resourceType": "Parameters", "parameter": [{"name": name, "resource": begun()}]}
    answer = client.post(OPERATION, json=wrapped)
    assert answer.get_json() == post(client, begun())
    assert answer.content_type == "application/fhir+json"


def test_a_form_that_is_known_by_its_url_alone_is_taken(client: FlaskClient) -> None:
    form = begun(url=FORM)
    del form["contained"][0]["derivedFrom"]
    assert post(client, form)["contained"][0]["derivedFrom"] == [f"{FORM}|{packaged().version}"]


# -- The endpoint -----------------------------------------------------------------------------------------------------


def test_the_form_is_found_by_its_url_and_has_no_items(client: FlaskClient) -> None:
    (entry,) = client.get("/fhir/Questionnaire", query_string={"url": FORM}).get_json()["entry"]
    form = entry["resource"]
    Questionnaire.model_validate(form)
    assert "item" not in form
    assert form["title"]
    assert form["date"]
    assert form["version"] == packaged().version
    assert {each["url"].rpartition("/")[2] for each in form["extension"]} == {
        "sdc-questionnaire-questionnaireAdaptive",
        "artifact-versionAlgorithm",
    }
    assert client.get("/fhir/Questionnaire/second-opinion").get_json() == form


@pytest.mark.parametrize(
    ("name", "value"), [("url", "https://x.example.org/q"), ("version", "9"), ("status", "active")]
)
def test_another_form_is_not_found(client: FlaskClient, name: str, value: str) -> None:
    found = client.get("/fhir/Questionnaire", query_string={name: value}).get_json()
    assert (found["total"], found.get("entry")) == (0, None)


def test_the_capability_statement_names_the_operation(client: FlaskClient) -> None:
    statement = client.get("/fhir/metadata").get_json()
    CapabilityStatement.model_validate(statement)
    (resource,) = statement["rest"][0]["resource"]
    assert (statement["kind"], statement["fhirVersion"]) == ("instance", "4.0.1")
    assert resource["operation"] == [
        {
            "name": "next-question",
            "definition": "http://hl7.org/fhir/uv/sdc/OperationDefinition/Questionnaire-next-question",
        }
    ]


def test_a_filler_that_knows_nothing_but_the_metadata_completes_a_tear(client: FlaskClient) -> None:
    statement = client.get("/fhir/metadata").get_json()
    base = statement["implementation"]["url"].removeprefix("https://cds.example.org")
    (resource,) = statement["rest"][0]["resource"]
    (operation,) = resource["operation"]
    (entry,) = client.get(f"{base}/{resource['type']}").get_json()["entry"]
    found = entry["resource"]
    contained = {
        "resourceType": "Questionnaire",
        "id": "form",
        "status": found["status"],
        "derivedFrom": [f"{found['url']}|{found['version']}"],
    }
    form: Json = {"resourceType": "QuestionnaireResponse", "status": "in-progress", "questionnaire": "#form"}
    form["contained"] = [contained]
    answer = of_truth(PATIENTS["tear"])
    while form["status"] == "in-progress":
        form = post(client, form, f"{base}/{resource['type']}/${operation['name']}")
        for group, item in list(questions(form)):
            if item["type"] != "boolean":
                given(form, group, item, answer(item))
    assert "Examine today" in advice(form)[0]


def test_without_the_setting_there_is_no_fhir_endpoint() -> None:
    plain_client = create_app(Settings(), lambda: CLOCK).test_client()
    assert plain_client.get("/fhir/metadata").status_code == 404
    assert plain_client.post(OPERATION, json=begun()).status_code == 404


# -- What is refused --------------------------------------------------------------------------------------------------


def _answered(link_id: str, inner: str, answer: Json) -> Json:
    return begun() | {"item": [{"linkId": link_id, "item": [{"linkId": inner, "answer": [answer]}]}]}


def _without_form() -> Json:
    return {key: value for key, value in begun().items() if key != "contained"}


POP = ("left/ask-pop-at-injury", "left/pop-at-injury")
REFUSED: Mapping[str, tuple[Any, int, str, str]] = {
    "no JSON": ("{", 400, "structure", ""),
    "another resource": ({"resourceType": "Patient"}, 400, "structure", ""),
    "Parameters without a form": ({"resourceType": "Parameters"}, 400, "required", "Parameters.parameter"),
    "no contained form": (_without_form(), 400, "required", "QuestionnaireResponse.contained"),
    "an answer of the wrong type": (
        _answered(*POP, {"valueString": "yes"}),
        400,
        "value",
        "QuestionnaireResponse.item[0].item[0].answer",
    ),
    "a code that is no option": (
        _answered(*POP, coded("71388002")),
        400,
        "value",
        "QuestionnaireResponse.item[0].item[0].answer",
    ),
    "yes or no to a date": (
        _answered("left/ask-onset-date", "left/onset-date", coded(YES)),
        400,
        "value",
        "QuestionnaireResponse.item[0].item[0].answer",
    ),
    "a linkId that is not in the form": (
        _answered(POP[0], "left/mood", coded(YES)),
        400,
        "value",
        "QuestionnaireResponse.item[0].item[0].linkId",
    ),
    "the item of another side": (
        _answered(POP[0], "right/pop-at-injury", coded(YES)),
        400,
        "value",
        "QuestionnaireResponse.item[0].item[0].linkId",
    ),
    "another form": (begun(derivedFrom=["https://x.example.org/Questionnaire/y"]), 404, "not-found", ""),
    "an item of an older version": (
        {
            **_answered("left/ask-mood", "left/mood", coded(YES)),
            "contained": begun(derivedFrom=[f"{FORM}|0.1.0"])["contained"],
        },
        409,
        "conflict",
        "QuestionnaireResponse.item[0].linkId",
    ),
    "pain that is elsewhere": (_answered("where", "where/buttock-pain", coded(NO)), 422, "business-rule", ""),
    "enough before the pain is located": (
        {**begun(), "item": [{"linkId": "enough", "answer": [{"valueBoolean": True}]}]},
        422,
        "business-rule",
        "",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_gone_on_with_is_refused_with_an_outcome(client: FlaskClient, name: str) -> None:
    body, status, code, expression = REFUSED[name]
    data = body if isinstance(body, str) else json.dumps(body)
    answer = client.post(OPERATION, data=data, content_type="application/fhir+json")
    issue = answer.get_json()["issue"][0]
    assert (answer.status_code, issue["code"], issue.get("expression", [""])[0]) == (status, code, expression)
    assert answer.content_type == "application/fhir+json"


def test_a_body_of_another_type_or_too_large_is_refused(client: FlaskClient) -> None:
    large = create_app(Settings(adaptive_form="on", body_limit=1_000), lambda: CLOCK).test_client()
    for status, answer in (
        (415, client.post(OPERATION, data="x", content_type="text/plain")),
        (413, large.post(OPERATION, data=" " * 2_000, content_type="application/json")),
    ):
        assert (answer.status_code, answer.get_json()["resourceType"]) == (status, "OperationOutcome")


def test_no_body_however_mutated_ends_in_a_fault_of_the_service(client: FlaskClient) -> None:
    chance = random.Random(15)  # noqa: S311 - drawn faults
    whole = filled(client, of_truth(PATIENTS["tear"]))
    for _ in range(500):
        body = copied(chance.choice(whole))
        for _ in range(chance.randint(1, 3)):
            _mutate(body, chance)
        answer = client.post(OPERATION, json=body)
        assert answer.status_code < 500, body


def _mutate(value: Any, chance: random.Random) -> None:
    """Puts something else in the place of something within."""
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        if not keys:
            return
        key = chance.choice(list(keys))
        if isinstance(value[key], dict | list) and chance.random() < 0.8:
            value = value[key]
            continue
        value[key] = chance.choice([None, 7, "", "x", [], {}, [None], {"x": 1}, True, "left/pop-at-injury", -1e300])
        return


def test_with_a_file_of_clients_a_form_filler_needs_a_token_for_this_url(tmp_path: Path) -> None:
    key = new_key("ES384", "mine")
    (tmp_path / "jwks.json").write_text(json.dumps(key_set(key)))
    (tmp_path / "store").mkdir(mode=0o700)
    issuer, base = "https://ehr.example.org/", "https://cds.example.org"
    (tmp_path / "clients.toml").write_text(f'[clients.one]\nissuers = ["{issuer}"]\njwks_file = "jwks.json"\n')
    settings = Settings(
        draft="show",
        clients=tmp_path / "clients.toml",
        store=tmp_path / "store",
        public_base_url=base,
        adaptive_form="on",
    )
    client = create_app(settings, lambda: CLOCK).test_client()

    def status(audience: str | None) -> int:
        token = sign(key, claims_for(issuer, audience, CLOCK.timestamp())) if audience else ""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return client.post(OPERATION, json=begun(), headers=headers).status_code

    assert status(None) == 401
    assert status(f"{base}/cds-services/gluteal-hamstring-pain") == 401
    assert status(f"{base}{OPERATION}") == 200
    assert client.get("/fhir/metadata").status_code == 200


def test_a_silent_service_gives_no_advice_to_a_form_filler() -> None:
    settings = Settings(adaptive_form="on", public_base_url="https://cds.example.org", mode="silent")
    client = create_app(settings, lambda: CLOCK).test_client()
    with pytest.raises(AssertionError, match="silent for this client"):
        filled(client, of_truth(PATIENTS["tear"]))
