"""Each statement of the source document is carried: a chart with what it names gets another card, basis or ranking."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.charts import SERVICE, Json, assessment_of, build_request, packaged

PAIN = ["buttock-pain", "pain-with-sitting"]
LATE = {"onset_days_ago": 120}
# Statement -> a chart, and what is added to it. Lists are joined, anything else is put in its place.
CARRIED: dict[str, tuple[Json, Json]] = {
    "S1": ({"present": PAIN}, {"conditions": ["icd10cm|M76.892"]}),
    "S2": ({"present": [*PAIN, "gradual-onset"]}, {"present": ["runner"]}),
    "S3": ({"present": PAIN}, {"conditions": ["sct|239993003"]}),
    "S4": ({"present": ["buttock-pain", "pain-with-sitting"]}, {"present": ["pain-on-hard-surface"]}),
    "S5": ({"present": PAIN}, {"conditions": ["sct|129179000"]}),
    "S6": ({"present": PAIN}, {"present": ["recent-training-increase"]}),
    "S7": ({"present": PAIN}, {"present": ["low-back-pain"]}),
    "S8": ({"present": PAIN, "onset_days_ago": 3}, {"present": ["forceful-stretch-injury"]}),
    "S9": ({"present": PAIN}, {"present": ["lateral-hip-pain"]}),
    "S10": ({"present": [*PAIN, "gradual-onset"]}, {"present": ["dull-ache"]}),
    "S11": ({"present": [*PAIN, "posterior-thigh-pain"]}, {"present": ["tightness-or-cramping"]}),
    "S12": ({"present": ["buttock-pain", "gradual-onset"]}, {"present": ["pain-with-sitting"]}),
    "S13": ({"present": PAIN}, {"present": ["pain-running-fast-or-uphill"]}),
    "S14": ({"present": PAIN}, {"present": ["pain-stretching-or-bending-forward"]}),
    "S15": ({"present": PAIN}, {"present": ["numbness-below-knee"]}),
    "S16": ({"present": ["buttock-pain"]}, {"present": ["pain-with-sitting"]}),
    "S17": ({"present": PAIN}, {"present": ["no-sensation-over-ischium"]}),
    "S18": ({"present": PAIN}, {"allergies": ["rxnorm|5640"]}),
    "S19": ({"present": PAIN}, {"present": ["pain-stretching-or-bending-forward"]}),
    "S20": ({"present": ["buttock-pain"]}, {"present": ["pain-with-sitting"]}),
    "S21": ({"present": ["buttock-pain"]}, {"present": ["pain-with-sitting"]}),
    "S22": (
        {"present": PAIN, "quantities": {"self-care-days": 5}},
        {"present": ["no-improvement-with-self-care"]},
    ),
    "S23": ({"present": PAIN}, {"present": ["significant-bruising"]}),
    "S24": ({"present": PAIN}, {"present": ["radiating-numbness-or-tingling"]}),
    "S25": ({"present": ["buttock-pain"]}, {"present": ["pain-with-sitting", "gradual-onset"]}),
    "S26": ({"present": PAIN}, {"present": ["hip-motion-limited"]}),
    "S27": ({"present": PAIN, "onset_days_ago": 20}, LATE),
    "S28": ({"present": [*PAIN, "ischial-tenderness"]}, {"present": ["radiograph-avulsion-fracture"]}),
    "S29": ({"present": [*PAIN, "ischial-tenderness"]}, {"present": ["mri-hamstring-avulsion"]}),
    "S30": ({"present": [*PAIN, "ischial-tenderness"]}, {"present": ["modified-bent-knee-stretch"]}),
    "S31": ({"present": PAIN}, {"conditions": ["icd10cm|M76.892"]}),
    "S32": ({"present": PAIN}, {"conditions": ["icd10cm|M76.892"]}),
    "S33": ({"present": PAIN}, {"medications": ["rxnorm|11289"]}),
    "S34": (
        {"present": [*PAIN, "gradual-onset"], "conditions": ["sct|239993003"], **LATE},
        {"quantities": {"physiotherapy-weeks": 8}},
    ),
    "S35": (
        {"present": [*PAIN, "mri-hamstring-avulsion"], "quantities": {"tendon-retraction": 10, "tendons-avulsed": 1}},
        {"quantities": {"tendon-retraction": 40, "tendons-avulsed": 3}},
    ),
    "S36": ({"present": PAIN}, {"present": ["hamstring-repair"]}),
}


def _seen(client: FlaskClient, case: Json) -> Json:
    """What a clinician sees or can look up: the cards with their words and grounds, and the ranking."""
    answer = client.post(SERVICE, json=build_request({"age": 45, "side": "left", **case})).get_json()
    found = assessment_of(answer)
    cards = [(c["summary"], c["detail"], c["extension"]["org.sitbone.basis"]) for c in answer["cards"]]
    return {"cards": cards, "causes": found["causes"]}


def _with(case: Json, added: Json) -> Json:
    joined: dict[str, Any] = dict(case)
    for member, value in added.items():
        joined[member] = [*case.get(member, ()), *value] if isinstance(value, list) else value
    return joined


def test_the_table_has_every_statement() -> None:
    assert CARRIED.keys() == packaged().statements.keys()


@pytest.mark.parametrize("statement", CARRIED)
def test_a_statement_changes_what_is_seen(statement: str, client: FlaskClient) -> None:
    case, added = CARRIED[statement]
    assert _seen(client, case) != _seen(client, _with(case, added))


@pytest.mark.parametrize("statement", CARRIED)
def test_a_statement_changes_the_words_of_a_card(statement: str, client: FlaskClient) -> None:
    """Not only what stands behind it: whoever reads the cards and nothing else sees it."""
    case, added = CARRIED[statement]
    without, with_it = _seen(client, case), _seen(client, _with(case, added))
    assert [words[:2] for words in without["cards"]] != [words[:2] for words in with_it["cards"]]


@pytest.mark.parametrize("statement", CARRIED)
def test_a_statement_is_among_the_grounds_of_a_card_or_counts_for_a_cause(statement: str, client: FlaskClient) -> None:
    """What is added, or the advice that the statement is, stands on a card, in its basis or in the ranking."""
    case, added = CARRIED[statement]
    seen = str(_seen(client, _with(case, added)))
    names = [entry for value in added.values() if isinstance(value, list) for entry in value]
    titles = [packaged().findings[name].title for name in names if name in packaged().findings]
    assert statement in seen or any(name in seen for name in names) or any(title in seen for title in titles)
