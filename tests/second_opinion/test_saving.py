"""Saving answers in the EHR: by the best that is allowed, once, and the page tells the truth of it."""

import re
from base64 import b64decode
from collections.abc import Mapping
from html import unescape
from typing import Any

import pytest
from fhir.resources.R4B.documentreference import DocumentReference as NoteModel
from fhir.resources.R4B.observation import Observation as ObservationModel
from fhir.resources.R4B.questionnaireresponse import QuestionnaireResponse as FormModel

from cds_hooks.scopes import grants_creation
from service.second_opinion.answers import About, Item, Vocabulary
from tests.charts import packaged
from tests.second_opinion.conftest import MakeSite, Page, Site

BOTH = {"write": ["QuestionnaireResponse", "Observation"]}
EVERY = {"write": ["QuestionnaireResponse", "Observation", "DocumentReference", "ServiceRequest"]}


def answered(site: Site) -> Page:
    page = site.open().press("set:right/pop-at-injury=yes")
    return page.send("set", **{"value:right/onset-date": "2026-11-20", "value:physiotherapy-weeks": "2"})


def without(*scopes: str) -> Any:
    return lambda granted: " ".join(each for each in granted.split() if each not in scopes)


def coded(resource: Mapping[str, Any]) -> str:
    code: str = resource["code"]["coding"][0]["code"]
    return code


def test_the_answers_are_saved_as_one_form_and_the_page_says_where(make_site: MakeSite) -> None:
    site = make_site(**BOTH)
    page = answered(site)
    assert "Save 3 answers to the chart" in page.text
    page = page.press("save")
    assert "Saved in the chart: QuestionnaireResponse/new-1." in page.text
    [form] = site.ehr.saved("QuestionnaireResponse")
    assert form["status"] == "completed"
    assert form["subject"] == {"reference": "Patient/1032702"}
    assert form["encounter"] == {"reference": "Encounter/89284"}
    assert form["author"] == {"reference": "Practitioner/4451"}
    assert [item["linkId"] for item in form["item"]] == [
        "right/pop-at-injury",
        "right/onset-date",
        "physiotherapy-weeks",
    ]
    assert form["item"][0]["answer"][0]["valueCoding"]["code"] == "373066001"
    assert form["item"][1]["answer"] == [{"valueDate": "2026-11-20"}]
    assert form["item"][2]["answer"][0]["valueQuantity"]["code"] == "wk"
    # What is saved is not offered again, until there is more.
    assert "save" not in page.buttons()
    assert "Save 4 answers to the chart" in page.press("set:right/sharp-pain=yes").text


def test_nothing_is_written_without_the_click(make_site: MakeSite) -> None:
    site = make_site(**BOTH)
    page = answered(site)
    for do in ("enough", "next", "done"):
        if do in page.buttons():
            page = page.press(do)
    assert site.ehr.created == []


def test_the_next_hook_reads_what_was_saved(make_site: MakeSite) -> None:
    site = make_site(**BOTH)
    page = answered(site).press("save")
    again = site.open()
    assert again.cards() == page.cards()
    assert again.cards()[0][0].startswith("Right: pop")


@pytest.mark.parametrize(
    ("lacking", "writable", "kind"),
    [
        ((), {"QuestionnaireResponse", "Observation"}, "one form"),
        (
            ("patient/QuestionnaireResponse.c",),
            {"QuestionnaireResponse", "Observation"},
            "one Observation for each answer",
        ),
        ((), {"Observation"}, "one Observation for each answer"),
        (
            ("patient/QuestionnaireResponse.c", "patient/Observation.c"),
            {"QuestionnaireResponse", "Observation", "DocumentReference"},
            "a note (DocumentReference), which the next card cannot read",
        ),
        ((), {"DocumentReference"}, "a note (DocumentReference), which the next card cannot read"),
        (("patient/Observation.c",), {"Observation", "ServiceRequest"}, ""),
        (("patient/DocumentReference.c",), {"DocumentReference"}, ""),
        (
            ("patient/QuestionnaireResponse.c", "patient/Observation.c", "patient/DocumentReference.c"),
            {"QuestionnaireResponse", "Observation", "DocumentReference"},
            "",
        ),
        ((), set(), ""),
    ],
)
def test_without_the_grant_or_the_server_for_one_kind_the_next_is_offered_and_named(
    make_site: MakeSite, lacking: tuple[str, ...], writable: set[str], kind: str
) -> None:
    site = make_site(**EVERY)
    site.ehr.writable = writable
    site.ehr.faults.scope = without(*lacking)
    page = answered(site)
    if kind:
        assert f"As {kind}" in page.text
        assert "Saved in the chart" in page.press("save").text
    else:
        assert "copy them to the note" in page.text
        assert "save" not in page.buttons()
        # Nor by a form that was tampered with.
        page.send("save")
        assert site.ehr.created == []


def test_an_entry_that_does_not_write_saves_nothing_whatever_is_granted(make_site: MakeSite) -> None:
    site = make_site(scopes=["launch", "patient/*.cruds"])
    page = answered(site)
    assert "save" not in page.buttons()
    page.send("save")
    assert site.ehr.created == []
    assert "GET /fhir/metadata" not in site.ehr.asked


def test_each_observation_has_code_value_side_category_and_whose_it_is(make_site: MakeSite) -> None:
    site = make_site(write=["Observation"])
    page = answered(site).press("save")
    assert "Saved in the chart: Observation/new-1, Observation/new-2, Observation/new-3." in page.text
    saved = {coded(each): each for each in site.ehr.saved("Observation")}
    assert saved.keys() == {"pop-at-injury", "onset-date", "physiotherapy-weeks"}
    pop = saved["pop-at-injury"]
    assert pop["valueCodeableConcept"]["coding"][0]["code"] == "373066001"
    assert pop["bodySite"]["coding"][0]["code"] == "24028007"
    assert pop["subject"]["reference"] == "Patient/1032702"
    assert pop["performer"] == [{"reference": "Practitioner/4451"}]
    assert saved["onset-date"]["valueDateTime"] == "2026-11-20"
    assert "bodySite" not in saved["physiotherapy-weeks"]
    assert len({each["identifier"][0]["value"] for each in saved.values()}) == 3
    assert site.open().cards() == page.cards()


def test_a_note_says_what_the_page_says_and_the_page_that_the_next_card_cannot_read_it(make_site: MakeSite) -> None:
    site = make_site(write=["DocumentReference"])
    before = site.open()
    page = answered(site).press("save")
    assert "Saved in the chart: DocumentReference/new-1. The next card cannot read a note" in page.text
    [note] = site.ehr.saved("DocumentReference")
    NoteModel.model_validate(note)
    attachment = note["content"][0]["attachment"]
    text = b64decode(attachment["data"]).decode()
    assert attachment["contentType"] == "text/plain"
    assert text.startswith("Snap or pop at the injury (right): yes\n")
    assert page.cards()[0][0] in text
    assert text == unescape(re.findall(r"<textarea[^>]*>(.*?)</textarea>", page.html, re.DOTALL)[0])
    assert (note["status"], note["docStatus"]) == ("current", "preliminary")
    assert note["type"]["coding"] == [{"system": "http://loinc.org", "code": "11506-3", "display": "Progress note"}]
    assert note["subject"] == {"reference": "Patient/1032702"}
    assert note["author"] == [{"reference": "Practitioner/4451"}]
    assert note["context"] == {"encounter": [{"reference": "Encounter/89284"}]}
    assert "encounter" not in note
    assert site.open().cards() == before.cards() != page.cards()


def test_what_is_saved_is_valid_fhir_for_each_finding_that_is_asked_for() -> None:
    vocabulary = Vocabulary(packaged())
    about = About("1", "2", "Practitioner/3", "2026-11-22T12:00:00+00:00", "0b8dd5f0-7a5a-4d1f-9a3e-0f5d6c1a2b3c")
    findings = {f for question in packaged().questions for f in question.findings if f in packaged().findings}
    answers = {}
    for finding in sorted(findings):
        known = packaged().findings[finding]
        value = {"boolean": "no", "date": "2026-11-01", "quantity": "3"}[known.value]
        answers[Item(finding, "" if known.whole_patient else "left")] = value
    FormModel.model_validate(vocabulary.questionnaire_response(answers, about, "left"))
    for item, answer in answers.items():
        for given in (answer, "unknown"):
            ObservationModel.model_validate(vocabulary.observation(item, given, about, ""))
    assert len(answers) > 60


def test_a_double_click_saves_once(make_site: MakeSite) -> None:
    site = make_site(**BOTH)
    page = answered(site)
    first, second = page.press("save"), page.press("save")
    assert len(site.ehr.created) == 1
    for each in (first, second):
        assert "Saved in the chart: QuestionnaireResponse/new-1." in each.text


@pytest.mark.parametrize("kind", ["QuestionnaireResponse", "Observation", "DocumentReference"])
def test_where_the_answer_was_lost_the_page_says_so_and_a_retry_finds_what_is_there(
    make_site: MakeSite, kind: str
) -> None:
    site = make_site(write=[kind])
    page = answered(site)
    site.ehr.faults.lost = 1
    page = page.press("save")
    assert "not known to be saved: look in the chart. Saving again looks there first" in page.text
    count = 3 if kind == "Observation" else 1
    assert len(site.ehr.created) == count
    page = page.press("save")
    assert "Saved in the chart" in page.text
    assert "not known" not in page.text
    assert len(site.ehr.created) == count


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (405, "not saved: the EHR does not take it"),
        (403, "not saved: the EHR does not allow it"),
        (429, "not saved: the EHR is busy"),
        (418, "not saved: the EHR answered 418"),
        (502, "not known to be saved"),
    ],
)
def test_a_refusal_is_said_changes_nothing_on_the_page_and_can_be_tried_again(
    make_site: MakeSite, status: int, said: str
) -> None:
    site = make_site(**BOTH)
    page = answered(site)
    site.ehr.faults.answers[("POST", "QuestionnaireResponse")] = [status]
    refused = page.press("save")
    assert f"3 of the answers are {said}" in refused.text
    assert refused.cards() == page.cards()
    assert site.ehr.created == []
    assert "Saved in the chart" in refused.press("save").text
    assert len(site.ehr.created) == 1


def test_whoever_cannot_look_whether_it_is_there_does_not_write_again(make_site: MakeSite) -> None:
    site = make_site(**BOTH)
    page = answered(site)
    site.ehr.faults.lost = 1
    page = page.press("save")
    # The chart is read first, then what was saved is looked for.
    site.ehr.faults.answers[("GET", "QuestionnaireResponse")] = [200, 500]
    page = page.press("save")
    assert "not known to be saved" in page.text
    assert len(site.ehr.created) == 1


def test_of_observations_of_which_some_were_refused_a_retry_saves_the_others_alone(make_site: MakeSite) -> None:
    site = make_site(write=["Observation"])
    site.ehr.faults.answers[("POST", "Observation")] = [200, 429, 200]
    page = answered(site).press("save")
    assert "1 of the answers is not saved" in page.text
    page = page.press("save")
    assert "Saved in the chart" in page.text
    assert "not saved" not in page.text
    assert len(site.ehr.created) == 3


def test_two_pages_of_one_browser_save_for_their_own_patients(make_site: MakeSite) -> None:
    site = make_site(**BOTH)
    browser = site.browser()
    first = site.open(browser).press("set:right/pop-at-injury=yes")
    own = [each for each in site.ehr.resources.values() if each["resourceType"] in ("Observation", "Condition")]
    for resource in own:
        copy = {**resource, "id": f"{resource['id']}-2", "subject": {"reference": "Patient/7770123"}}
        site.ehr.resources[f"{copy['resourceType']}/{copy['id']}"] = copy
    site.ehr.resources["Patient/7770123"] = {**site.ehr.resources["Patient/1032702"], "id": "7770123"}
    site.ehr.patient = "7770123"
    second = site.open(browser).press("set:right/pop-at-injury=no")
    first, second = first.press("set:right/sharp-pain=yes"), second.press("set:right/sharp-pain=no")
    first, second = first.press("save"), second.press("save")
    subjects = {form["subject"]["reference"]: form for form in site.ehr.saved("QuestionnaireResponse")}
    assert subjects.keys() == {"Patient/1032702", "Patient/7770123"}
    codes = {who: form["item"][0]["answer"][0]["valueCoding"]["code"] for who, form in subjects.items()}
    assert codes == {"Patient/1032702": "373066001", "Patient/7770123": "373067005"}


@pytest.mark.parametrize(
    ("scope", "may"),
    [
        ("patient/Observation.c", True),
        ("patient/Observation.cruds", True),
        ("user/*.c", True),
        ("patient/Observation.write", True),
        ("patient/*.*", True),
        ("patient/Observation.rs", False),
        ("patient/Observation.read", False),
        ("patient/Observation.c?category=laboratory", False),
        ("patient/Condition.c", False),
        ("", False),
    ],
)
def test_to_create_has_to_be_granted_in_so_many_words(scope: str, may: bool) -> None:
    assert grants_creation(f"launch openid {scope}", "Observation") is may
