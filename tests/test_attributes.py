"""The source attributes: every recommendation has all of them, and they say what the conditions do."""

import json
import shutil
from pathlib import Path

import pytest

from service.app import create_app
from service.knowledge_model import loader
from service.knowledge_model.attributes import ATTRIBUTES, source_attributes
from service.knowledge_model.model import PACKAGED, Knowledge
from tests.charts import CLOCK, SERVICE, packaged

FIXTURES = Path(__file__).parents[1] / "fixtures"
EXTENSION = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-"


@pytest.fixture(scope="module")
def knowledge() -> Knowledge:
    return packaged()


def attributes(knowledge: Knowledge, id_: str) -> dict[str, str]:
    return source_attributes(knowledge)[id_]


def test_every_recommendation_has_the_thirteen_attributes(knowledge: Knowledge) -> None:
    assert len(ATTRIBUTES) == 13
    said = source_attributes(knowledge)
    assert said.keys() == {recommendation.id for recommendation in knowledge.recommendations}
    for id_, words in said.items():
        assert tuple(words) == ATTRIBUTES
        assert all(words.values()), id_


@pytest.mark.parametrize(
    ("recommendation", "attribute", "said"),
    [
        ("rl06-adolescent-avulsion", "date-of-birth", "Used: its conditions read it (age)."),
        ("rl06-adolescent-avulsion", "sex", "Not used."),
        ("rl05-deep-vein-thrombosis", "date-of-birth", "Not used."),
        # It waits for the ranking of causes, which has one weight for the sex.
        ("rl22-gluteal-programme", "sex", "Used by what this recommendation builds on"),
        # Whether it is reached is decided by red flags, some of which have an age.
        ("rs09c-acetaminophen-allergy", "date-of-birth", "Used by what this recommendation builds on"),
        ("rs10-self-care", "date-of-birth", "Used: its conditions read it (age)."),
        ("rl16-pregnancy", "health-status", "Used: its conditions read it (pregnancy)."),
        ("rl05-deep-vein-thrombosis", "health-status", "Not used."),
        # What judges a draft order stands on the whole assessment.
        ("io04-usually-not", "sex", "Used by what this recommendation builds on"),
    ],
)
def test_what_is_said_of_age_and_sex_is_what_the_conditions_read(
    knowledge: Knowledge, recommendation: str, attribute: str, said: str
) -> None:
    assert attributes(knowledge, recommendation)[attribute].startswith(said)


def test_the_citation_names_the_source_document_and_each_publication(knowledge: Knowledge) -> None:
    citation = attributes(knowledge, "rs02-significant-bruising")["citation"]
    assert f"{knowledge.source_title} (S23)" in citation
    assert str(knowledge.sources["R46"]["citation"]) in citation


def test_what_stands_on_no_publication_says_so(knowledge: Knowledge) -> None:
    assert attributes(knowledge, "rl25-ask-first")["citation"] == f"No publication: {knowledge.provenance['J']}."


def test_the_dates_are_those_of_the_history(knowledge: Knowledge) -> None:
    (recommendation,) = [each for each in knowledge.recommendations if each.id == "rl01-cauda-equina"]
    dates = attributes(knowledge, recommendation.id)["dates"]
    assert str(recommendation.history[0].date) in dates
    assert str(recommendation.history[-1].date) in dates
    assert f"Version {recommendation.version} " in dates


def test_an_attribute_of_its_own_goes_before_that_of_the_guideline(tmp_path: Path) -> None:
    shutil.copytree(PACKAGED, tmp_path / "knowledge")
    path = tmp_path / "knowledge" / "recommendations" / "rl25-ask-first.toml"
    path.write_text(path.read_text("utf-8") + '\n[attributes]\nfunding = "A grant."\n', "utf-8")
    knowledge = loader.load(tmp_path / "knowledge")
    assert attributes(knowledge, "rl25-ask-first")["funding"] == "A grant."
    assert attributes(knowledge, "rl01-cauda-equina")["funding"] != "A grant."


@pytest.mark.parametrize("name", ["gluteal-tendinopathy", "sudden-tear", "self-care"])
def test_race_ethnicity_language_and_identity_change_nothing(name: str) -> None:
    client = create_app(clock=lambda: CLOCK).test_client()
    request = json.loads((FIXTURES / "requests" / f"{name}.json").read_text("utf-8"))
    before = client.post(SERVICE, json=request).get_json()
    patient = request["prefetch"]["patient"]
    patient["communication"] = [{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "es"}]}}]
    patient["extension"] = [
        {"url": f"{EXTENSION}race", "extension": [{"url": "text", "valueString": "Asian"}]},
        {"url": f"{EXTENSION}ethnicity", "extension": [{"url": "text", "valueString": "Hispanic or Latino"}]},
        {"url": f"{EXTENSION}genderIdentity", "valueCodeableConcept": {"text": "Non-binary"}},
        {"url": f"{EXTENSION}tribal-affiliation", "extension": []},
    ]
    assert client.post(SERVICE, json=request).get_json() == before
