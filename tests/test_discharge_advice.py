"""The words that a patient takes home: valid as a resource, and plain. Which words for whom: tests/clinical."""

import re
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from service.app import create_app
from service.fhir_validation import violations
from service.knowledge_model.model import Recommendation
from tests.charts import CLOCK, ENCOUNTER, PATIENT, Json, NamedCase, build_request, named_cases, packaged

GUIDELINE = packaged()
GRADE_OF_A_MESSAGE = 6
GRADE_OF_A_LINE = 8
CASES = [case for case in named_cases() if case.service == "discharge-advice"]


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app(clock=lambda: CLOCK).test_client()


def syllables(word: str) -> int:
    """Groups of vowels, without a silent e at the end."""
    found = len(
        re.findall(r"[aeiouy]+", re.sub(r"(?<![^aeiouy]l)(?<![aeiouy])e\b|(?<=[^aeiouytd])es\b", "", word.lower()))
    )
    return max(found, 1)


def reading_grade(text: str) -> float:
    """The Flesch-Kincaid grade: the years of school that reading this asks for."""
    sentences = [sentence for sentence in re.split(r"[.!?\n]+", text) if re.search(r"[A-Za-z]", sentence)]
    words = re.findall(r"[A-Za-z]+|\d+", text)
    return 0.39 * len(words) / len(sentences) + 11.8 * sum(map(syllables, words)) / len(words) - 15.59


def messages(answer: Json) -> Iterator[Json]:
    for card in answer["cards"]:
        for suggestion in card.get("suggestions", ()):
            yield from (action["resource"] for action in suggestion["actions"])


def test_the_grade_tells_plain_words_from_those_of_a_card() -> None:
    assert reading_grade("The cat sat on the mat. It was a good cat.") < 1
    clinical = "Leave hamstring stretching out: it compresses the tendon at the tuberosity and provokes the pain."
    assert reading_grade(clinical) > GRADE_OF_A_LINE
    assert [syllables(word) for word in ("pain", "whole", "medicine", "acetaminophen", "little")] == [1, 1, 3, 6, 2]


@pytest.mark.parametrize("recommendation", [r for r in GUIDELINE.recommendations if r.say], ids=lambda r: r.id)
def test_what_a_recommendation_says_to_the_patient_is_in_plain_language(recommendation: Recommendation) -> None:
    assert recommendation.kind == "going-home"
    assert reading_grade("\n".join(recommendation.say)) <= GRADE_OF_A_LINE
    assert not re.search(r"NSAID|\bmg\b|%|tuberosity|analges|tendinopathy", " ".join(recommendation.say))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_message_is_valid_and_in_plain_language(case: NamedCase, client: FlaskClient) -> None:
    answer = client.post("/cds-services/discharge-advice", json=case.request()).get_json()
    for message in messages(answer):
        assert violations(message) == ""
        text = "\n".join(payload["contentString"] for payload in message["payload"])
        assert reading_grade(text) <= GRADE_OF_A_MESSAGE
        assert "Go to emergency care at once" in text
        # Who is to be seen today, or has a date to set, is not told to come back in two weeks.
        dated = "seen by a doctor today" in text or "Set a date before you leave" in text
        assert ("Come back in two weeks" in text) is not dated
        # What S23 and S24 name: one weak leg, a bruise, sudden sharp pain with a pop, numbness down the leg.
        weak = "One leg feels weak" if "Your child" in text else "One of your legs feels weak"
        signs = (weak, "A big bruise", "sharp pain with a pop", "numbness or tingling")
        assert all(sign in text for sign in signs)


def test_a_message_is_a_draft_for_the_patient_in_context(client: FlaskClient) -> None:
    chart = {"age": 40, "side": "left", "present": ["buttock-pain", "pain-with-sitting"], "service": "discharge-advice"}
    (message,) = messages(client.post("/cds-services/discharge-advice", json=build_request(chart)).get_json())
    assert (message["resourceType"], message["status"]) == ("CommunicationRequest", "draft")
    assert message["subject"] == {"reference": f"Patient/{PATIENT}"}
    assert message["recipient"] == [message["subject"]]
    assert message["encounter"] == {"reference": f"Encounter/{ENCOUNTER}"}
    assert message["payload"][0]["contentString"] == GUIDELINE.message.opening


def test_the_extension_says_whether_there_is_a_message(client: FlaskClient) -> None:
    said = {}
    for finding in ("pain-with-sitting", "leg-weakness"):
        chart = {"age": 40, "side": "left", "present": ["buttock-pain", finding], "service": "discharge-advice"}
        answer = client.post("/cds-services/discharge-advice", json=build_request(chart)).get_json()
        said[finding] = answer["extension"]["org.sitbone.assessment"]["goingHome"]
    assert said == {"pain-with-sitting": {"message": True}, "leg-weakness": {"message": False}}


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("allergies", "Allergies did not arrive: contraindications to a medicine cannot be excluded"),
        ("medications", "Prescribed medicines did not arrive: contraindications to a medicine cannot be excluded"),
        ("conditions", "Conditions did not arrive: red flags cannot be excluded"),
        ("observations", "Observations did not arrive: red flags cannot be excluded"),
    ],
)
def test_where_a_reason_against_a_medicine_did_not_arrive_none_is_named(
    key: str, said: str, client: FlaskClient
) -> None:
    chart: Json = {"age": 40, "side": "left", "service": "discharge-advice"}
    # What makes the complaint arrives in each.
    chart |= {"conditions": ["icd10cm|M76.02"]} if key == "observations" else {"present": ["buttock-pain", "worsening"]}
    answer = client.post("/cds-services/discharge-advice", json=build_request(chart | {"withheld": [key]})).get_json()
    (message,) = messages(answer)
    text = " ".join(payload["contentString"] for payload in message["payload"])
    assert "Ask your doctor which pain medicine is safe for you" in text
    assert not re.search(r"ibuprofen|acetaminophen|naproxen", text, re.IGNORECASE)
    detail = answer["cards"][0]["detail"]
    assert said in detail


def test_what_a_client_has_nothing_of_keeps_no_medicine_from_the_patient(client: FlaskClient) -> None:
    chart = {"age": 40, "present": ["buttock-pain"], "null": ["allergies"], "service": "discharge-advice"}
    answer = client.post("/cds-services/discharge-advice", json=build_request(chart)).get_json()
    assert answer["extension"]["org.sitbone.assessment"]["data"]["allergies"] == "null"
    assert "did not arrive" not in answer["cards"][0]["detail"]
