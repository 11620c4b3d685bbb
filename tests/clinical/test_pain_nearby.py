"""Pain that is coded as that of the hip or the back: never silent beside a danger of this region, silent without."""

from collections.abc import Callable

import pytest

from tests.charts import Case, Json, NamedCase, assessment_of

Ask = Callable[[NamedCase], Json]

SADDLE_AND_BLADDER = ("saddle-numbness", "urinary-retention", "altered-urinary-sensation", "cauda-equina-diagnosed")
PAIRS: list[tuple[str, str, Case]] = [
    *((pain, danger, {"age": 50}) for pain in ("low-back-pain", "hip-pain") for danger in SADDLE_AND_BLADDER),
    *((pain, danger, {"age": 50}) for pain in ("hip-pain", "psis-tenderness") for danger in ("fever", "chills")),
    ("hip-pain", "unable-to-bear-weight", {"age": 84}),
    ("hip-pain", "newly-unable-to-bear-weight", {"age": 84}),
    ("hip-pain", "high-energy-trauma", {"age": 40}),
    *(
        (pain, sudden, {"age": 74, "conditions": ["icd10cm|I71.40"]})
        for pain in ("low-back-pain", "hip-pain")
        for sudden in ("sudden-onset", "worsening")
    ),
    *(
        (pain, sign, {"age": 12})
        for pain in ("hip-pain", "groin-pain", "knee-pain")
        for sign in ("antalgic-gait", "restricted-hip-rotation")
    ),
    *(
        (pain, sign, {"age": 24})
        for pain in ("hip-pain", "groin-pain")
        for sign in ("night-or-rest-pain", "focal-bone-pain")
    ),
]


def asked(name: str, chart: Case) -> NamedCase:
    return NamedCase(name, "pairs", {"side": "left", **chart}, (), (), "", {})


@pytest.mark.parametrize(("pain", "danger", "chart"), PAIRS)
def test_a_danger_of_this_region_beside_pain_nearby_is_never_silent(
    pain: str, danger: str, chart: Case, answer_to: Ask
) -> None:
    answer = answer_to(asked(f"{pain} {danger} {chart}", {**chart, "present": [pain, danger]}))
    assert assessment_of(answer)["complaint"] == "present"
    assert [flag["indicator"] for flag in assessment_of(answer)["redFlags"]] != []
    assert answer["cards"][0]["indicator"] in ("critical", "warning")


@pytest.mark.parametrize(("pain", "danger", "chart"), PAIRS)
def test_the_pain_alone_stays_silent(pain: str, danger: str, chart: Case, answer_to: Ask) -> None:
    answer = answer_to(asked(f"{pain} without {danger} {chart}", {**chart, "present": [pain], "absent": [danger]}))
    assert answer["cards"] == []


@pytest.mark.parametrize("danger", ["fever", "chills", "urinary-incontinence", "cancer-history", "leg-weakness"])
def test_what_is_common_beside_back_pain_alone_stays_silent(danger: str, answer_to: Ask) -> None:
    answer = answer_to(asked(f"back pain with {danger}", {"age": 60, "present": ["low-back-pain", danger]}))
    assert answer["cards"] == []
