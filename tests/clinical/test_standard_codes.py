"""What real charts can say: every verified code is used or has a reason why not, and what is urgent can be coded."""

import csv
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from flask.testing import FlaskClient

from service.chart.codes import CodeIndex
from service.knowledge_model.conditions import Condition
from service.knowledge_model.model import PACKAGED, Recommendation
from service.knowledge_model.vocabulary import SYSTEMS
from tests.charts import SERVICE, Json, assessment_of, build_request, packaged

# The codes that were verified in a primary source, each used or with the reason why not. Without the procedure codes of
# the American Medical Association, which are nowhere in this repository.
VERIFIED = Path(__file__).with_name("verified_codes.csv")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def listed() -> set[tuple[str, str]]:
    """The codes that stand in a value set as they are."""
    return {(row["system"], row["code"]) for path in (PACKAGED / "value_sets").glob("*.csv") for row in _rows(path)}


def test_every_verified_code_is_used_or_has_a_reason_why_not(listed: set[tuple[str, str]]) -> None:
    index = CodeIndex(packaged())
    silent = [
        (row["system"], row["code"], row["display"])
        for row in _rows(VERIFIED)
        if not row["reason"]
        and (row["system"], row["code"]) not in listed
        and not index.lookup(SYSTEMS.get(row["system"]), row["code"])
    ]
    assert silent == []


def test_no_code_that_is_used_has_a_reason_why_it_is_not(listed: set[tuple[str, str]]) -> None:
    stale = [row["code"] for row in _rows(VERIFIED) if row["reason"] and (row["system"], row["code"]) in listed]
    assert stale == []


# ---------------------------------------------------------------------------------------------------------------------
# Backwards: each red flag and each hold, from standard codes alone

PREFIXES = {uri: prefix for prefix, uri in SYSTEMS.items()}
# What no chart of standard codes alone can raise, and why.
BY_THE_FORM_ALONE = {
    "rf11-progressive-deficit": "no code says that a deficit progresses",
    "rs13-contradictory-onset": "no code says a gradual onset",
    "rl03c-bone-pain-in-the-young": "no code says bone pain or pain at night",
    "rl03d-persistent-night-pain": "no code says pain at night",
    "rl24b-compartment": "no code says a tense thigh or pain out of proportion",
    "rs01-sudden-tear": "no code says a pop",
    "rl07-suspected-tear": "no code says a gap, weak knee flexion or a pop",
    "rl07i-tear-after-mri": "no code says a gap, weak knee flexion or a pop",
    "rl07g-examine-the-injury": "no code says a pop or a forceful stretch",
    "rl07h-examine-the-late-injury": "no code says a pop or a forceful stretch",
    "rs12-surgical-opinion": "no code says how many tendons are torn off and how far",
    "rs13b-contradictory-red-flag": "a code on the problem list has no opposite",
    "inj08-interval": "no code says when the last injection was",
}
MOST_WAYS = 300
# What raises the red flags that conditions read by what they do.
RAISED_BY = {
    "critical-red-flag": "saddle-numbness",
    "exercise-red-flag": "bone-stress-injury-diagnosed",
    "injection-red-flag": "regional-infection",
}
PLACES = {"buttock-or-thigh": "46862004", "ischial-tuberosity": "69030007"}
Way: TypeAlias = dict[str, bool | float]


def _ways(condition: Condition) -> Iterator[Way]:
    """What may be documented, by findings and quantities, so that this condition holds; nothing that is absent."""
    if condition.finding:
        yield from _ways_of_leaf(condition)
    elif condition.word == "any":
        for part in condition.parts:
            yield from _ways(part)
    elif condition.word == "all":
        for parts in product(*(list(islice(_ways(part), 12)) for part in condition.parts)):
            yield {finding: value for part in parts for finding, value in part.items()}
    else:
        yield {}


def _ways_of_leaf(leaf: Condition) -> Iterator[Way]:
    knowledge, name = packaged(), leaf.finding
    if leaf.word == "is" and leaf.operand in ("not-present", "not-absent", "unknown"):
        yield {}
    elif leaf.word in ("at_least", "at_most"):
        if name == "age" or name in knowledge.findings or name in knowledge.engine.derived.days_since:
            yield {name: leaf.operand + (1 if leaf.word == "at_least" else -1)}
    elif leaf.operand == "present":
        if name in knowledge.definitions:
            yield from _ways(knowledge.definitions[name][1])
        elif name in knowledge.findings or name in RAISED_BY:
            yield {RAISED_BY.get(name, name): True}


def _request(way: Way) -> Json | None:
    """A chart of it in standard codes alone; nothing where a finding has none."""
    knowledge = packaged()
    case: dict[str, Any] = {
        "age": 50,
        "sex": "female",
        "side": "left",
        "conditions": ["sct|279043006", "icd10cm|M70.72"],
    }
    places: dict[str, str] = {}
    for finding, value in way.items():
        if finding == "age":
            case["age"] = int(value)
            continue
        if finding in knowledge.engine.derived.days_since:
            # The onset has a code of its own; no other date has one.
            if knowledge.engine.derived.days_since[finding] != knowledge.engine.onset:
                return None
            case["onset_days_ago"] = int(value)
            continue
        if finding in knowledge.engine.derived.on_both_sides:
            case["conditions"] += ["icd10cm|M54.31, no side", "icd10cm|M54.32, no side"]
            continue
        kind = knowledge.findings[finding].kind
        codes = [code for code in knowledge.codes if code.concept == finding and code.match != "range"]
        if not codes:
            return None
        code = f"{PREFIXES[codes[0].system]}|{codes[0].code}"
        places |= {codes[0].code: PLACES[codes[0].site]} if codes[0].site else {}
        if value is not True:
            case.setdefault("quantities", {})[code] = value
        elif codes[0].system in (SYSTEMS["sct"], SYSTEMS["icd10cm"]) and kind not in ("medication", "allergy"):
            case["conditions"].append(code)
        else:
            case.setdefault({"medication": "medications", "allergy": "allergies"}.get(kind, "present"), []).append(code)
    request = build_request(case)
    for entry in request["prefetch"]["conditions"]["entry"]:
        if place := places.get(entry["resource"]["code"]["coding"][0]["code"]):
            entry["resource"]["bodySite"] = [{"coding": [{"system": SYSTEMS["sct"], "code": place}]}]
    return request


def _raised(recommendation: Recommendation, found: Json) -> bool:
    if recommendation.red_flag:
        return recommendation.red_flag.id in {flag["id"] for flag in found["redFlags"]}
    held = {entry["id"] for entry in found["treatment"] if entry["state"] == "hold"}
    return bool(held & {call.id for call in recommendation.treatment if call.state == "hold"})


_MEANT = [r for r in packaged().recommendations if r.red_flag or any(call.state == "hold" for call in r.treatment)]


@pytest.mark.parametrize("recommendation", _MEANT, ids=lambda r: r.id)
def test_each_red_flag_and_each_hold_is_raised_by_standard_codes_alone(
    recommendation: Recommendation, client: FlaskClient
) -> None:
    ways = list(islice(_ways(recommendation.when), MOST_WAYS))
    # Where two bounds of an age have to meet, or it has to be below one, it may be one of these.
    aged = (
        {**way, "age": age} for age in (5, 10, 14, 18) for way in ways[:40] if "age" in way or recommendation.red_flag
    )
    requests = (made for way in (*ways, *aged) if (made := _request(way)))
    raised = any(
        _raised(recommendation, assessment_of(client.post(SERVICE, json=request).get_json()))
        for request in islice(requests, 120)
    )
    assert raised or recommendation.id in BY_THE_FORM_ALONE
    assert not (raised and recommendation.id in BY_THE_FORM_ALONE), "it need not stand on the list"
