"""The sentences that are made from conditions: they name all that is evaluated, and say what the words mean."""

from __future__ import annotations

import pytest

from service.knowledge_model.condition_text import parse
from service.knowledge_model.model import in_a_sentence
from service.knowledge_model.sentences import condition_sentence, recommendation_sentence
from tests.charts import packaged

NUMBERS = {name: float(threshold["value"]) for name, threshold in packaged().thresholds.items()}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fever", "“fever”"),
        ("absent(fever)", "“fever” documented as absent"),
        ("not-absent(fever)", "“fever” not documented as absent"),
        ("not-present(fever)", "“fever” not documented as present"),
        ("unknown(fever)", "“fever” not known"),
        ("contradictory(fever)", "“fever” recorded both as present and as absent"),
        ("age >= trial-age", "“age” at least 30 years"),
        ("age < trial-age", "“age” less than 30 years"),
        ("age <= trial-age", "“age” at most 30 years"),
        ("age > trial-age", "“age” more than 30 years"),
        ("sex in (other, female)", "“sex” female or other"),
        ("fever and any of (foot-drop, age >= trial-age)", "“fever” AND (“foot drop” OR “age” at least 30 years)"),
        ("any of (fever and foot-drop, dengue)", "(“fever” AND “foot drop”) OR “dengue”"),
        ("none of (fever, foot-drop)", "NONE OF (“fever” OR “foot drop”)"),
        ("any of (age < trial-age, fever)", "“age” less than 30 years OR “fever”"),
    ],
)
def test_a_condition_reads_as_this_sentence(text: str, sentence: str) -> None:
    assert condition_sentence(packaged(), parse(text, NUMBERS)) == sentence


def test_the_sentence_of_a_recommendation_says_what_it_calls_for() -> None:
    (recommendation,) = [each for each in packaged().recommendations if each.id == "rl04-fracture-or-trauma"]
    assert recommendation_sentence(packaged(), recommendation) == (
        "WHEN “high-energy trauma, weight-bearing lost, or a fracture of the pelvis or the hip”,\n"
        "THEN critical red flag fracture-or-trauma; the ranking of causes waits; "
        "radiograph of the pelvis, AP (stat) WHEN “radiograph already done” not documented as present; "
        "radiograph of the hip (stat) WHEN “radiograph already done” not documented as present; "
        "MRI of the hip without contrast (urgent) WHEN “normal radiograph”; "
        "MRI of the pelvis without contrast (urgent) "
        "WHEN “possible bone stress or insufficiency fracture” AND “radiograph already done”; "
        "emergency referral (stat); "
        "say, as critical: “[{findings}: ]trauma pathway for pelvis and hip[. Now: {orders}]”."
    )


@pytest.mark.parametrize(
    ("id_", "said"),
    [
        ("n16-another-nsaid", "THEN contraindicated or on hold: NSAID; say"),
        ("ap06-minor", "THEN with acetaminophen, take care; say"),
        ("rs09-analgesia", "offer NSAID"),
        ("as04-second-nsaid", "THEN suggest to remove the draft order; say"),
        ("rl08-no-stretching", "offer self care, without stretching"),
        ("rl11-no-imaging-yet", "no imaging for now (routine)"),
        ("rs04-radiating-nerve-symptoms", "; critical WHEN “progressive neurological deficit” OR "),
    ],
)
def test_each_kind_of_call_has_its_words(id_: str, said: str) -> None:
    (recommendation,) = [each for each in packaged().recommendations if each.id == id_]
    assert said in recommendation_sentence(packaged(), recommendation)


def test_every_sentence_names_all_that_its_recommendation_reads() -> None:
    knowledge = packaged()
    for recommendation in knowledge.recommendations:
        sentence = recommendation_sentence(knowledge, recommendation)
        for condition in recommendation.conditions():
            for leaf in condition.leaves():
                assert f"“{in_a_sentence(knowledge.title_of(leaf.finding))}”" in sentence, recommendation.id


def test_a_number_in_the_sentence_of_an_author_is_filled_in() -> None:
    (recommendation,) = [each for each in packaged().recommendations if each.id == "rl07g-examine-the-injury"]
    assert "a forceful stretch at most 14 days ago" in recommendation.when_then
    assert not [each.id for each in packaged().recommendations if "{" in each.when_then]
