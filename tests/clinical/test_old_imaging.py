"""Imaging that is older than the injury or the onset answers nothing of it, newer imaging does.

Which imaging counts as done is judged by its date, outside the compiled conditions: generated charts hold it, as named
in properties.toml under what is sampled only.
"""

import json
import random
from collections.abc import Iterator

from cds_hooks import read_request
from cds_hooks.response import render
from service.answers.answered import ASSESSMENT_KEY
from service.reasoning.assessment import Assessment
from service.service_ids import DIAGNOSIS, IMAGING_REFERRAL
from tests.charts import (
    Json,
    assessed,
    build_request,
    mixed_cases,
    packaged,
    services,
)

GENERATED = 120
RESULTS = {f.id for f in packaged().findings.values() if f.kind == "result" and f.value == "boolean"}
IMAGING = sorted(key for key, order in packaged().orders.items() if order.category["text"] == "Imaging")
SERVICES = services()


def _charts() -> Iterator[tuple[int, Json]]:
    """Charts with an injury or an onset of known date, on which nothing is said of imaging; and an age of imaging, in
    days, from before that date. All findings were there before that imaging too: only the date tells that it is old.
    """
    generator = random.Random(43)  # noqa: S311 - the same charts each time
    for case in mixed_cases(GENERATED, seed=41):
        age = case["onset_days_ago"] + generator.choice((1, 2, 20, 40))
        clinical = {state: [name for name in case[state] if name not in RESULTS] for state in ("present", "absent")}
        before = [f"{name}, {age + 3} days ago" for name in clinical["present"]]
        yield age, {**case, **clinical, "present": [*before, *clinical["present"]]}


def _reports(case: Json, age: int) -> Json:
    """The same chart with every imaging that there is, reported so many days ago."""
    done = [{"order": f"orders|{key}", "days_ago": age, "kind": "DiagnosticReport"} for key in IMAGING]
    return {**case, "imaging": done}


def _answer(service_id: str, hook: str, case: Json) -> Json:
    service = SERVICES.find(service_id, hook)
    request = json.dumps(build_request(case)).encode()
    answered = service.answer(read_request(request, service, correlation_id="test"))
    found: Json = json.loads(render(answered.response))
    return found


def _proposed(case: Json) -> set[str]:
    """The keys of the imaging that the cards of this chart propose."""
    resources = [
        action["resource"]
        for card in _answer(DIAGNOSIS, "patient-view", case)["cards"]
        for suggestion in card.get("suggestions", ())
        for action in suggestion["actions"]
    ]
    return {resource["code"]["coding"][-1]["code"] for resource in resources} & {*IMAGING}


def test_a_report_from_before_the_injury_takes_no_imaging_away() -> None:
    wrong = []
    for age, case in _charts():
        if lost := _proposed(case) - _proposed(_reports(case, age)):
            wrong.append((case, age, lost))
    assert wrong[:3] == []


def test_a_report_of_today_answers_what_would_be_imaged() -> None:
    """Without it the test above could not fail."""
    asked = [case for _age, case in _charts() if _proposed(case)]
    assert len(asked) > GENERATED / 4
    assert [(case, still) for case in asked if (still := _proposed(_reports(case, 0)))][:3] == []


def test_an_mri_is_rated_as_without_the_radiograph_from_before_the_injury() -> None:
    draft = {"service": IMAGING_REFERRAL, "selections": ["d1"], "drafts": [{"id": "d1", "order": "orders|mri-pelvis"}]}
    wrong, by_a_new_one = [], 0
    for age, case in _charts():
        rated = [_rated({**case, **draft, "imaging": done}) for done in ([], _radiograph(age), _radiograph(0))]
        by_a_new_one += rated[0] != rated[2]
        if rated[0] != rated[1]:
            wrong.append((case, age, rated[:2]))
    assert wrong[:3] == []
    assert by_a_new_one > GENERATED / 4


def _radiograph(age: int) -> list[Json]:
    return [{"order": "orders|radiograph-pelvis", "days_ago": age, "kind": "DiagnosticReport"}]


def _rated(case: Json) -> list[Json]:
    """By which row of which table, and how."""
    orders = _answer(IMAGING_REFERRAL, "order-select", case)["extension"][ASSESSMENT_KEY]["orders"]
    return [{"rating": order["rating"], "variant": order.get("variant", {}).get("id")} for order in orders]


def test_a_result_from_before_the_injury_takes_neither_a_red_flag_nor_imaging_away() -> None:
    wrong = []
    for age, case in _charts():
        alone = _grave(assessed(build_request(case)))
        for result in RESULTS:
            before = {**case, "present": [*case["present"], f"{result}, {age} days ago"]}
            if lost := alone - _grave(assessed(build_request(before))):
                wrong.append((before, lost))
    assert wrong[:3] == []


def _grave(assessment: Assessment) -> set[str]:
    flags = {fired.recommendation.red_flag.id for fired in assessment.red_flags() if fired.recommendation.red_flag}
    return flags | {call.key for call in assessment.imaging if call.modality != "none-now"}
