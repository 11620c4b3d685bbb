"""The assessment: what is put together of one decision, and what is not."""

from dataclasses import replace
from typing import Any

from service.reasoning.assessment import Assessment, Assessor, presentations
from tests.charts import build_request, case_of, packaged
from tests.test_next_question import ASSESSOR

TEAR: dict[str, object] = {
    "age": 45,
    "side": "left",
    "present": ["buttock-pain", "pop-at-injury", "sudden-onset", "significant-bruising"],
}


def assessed(**chart: object) -> Assessment:
    return ASSESSOR.assess(case_of(build_request(chart)))


def test_judging_an_order_leaves_the_assessment_as_it_was() -> None:
    assessment = assessed(**TEAR)
    assert assessment.decision is not None
    before = tuple(assessment.decision.values)
    first = ASSESSOR.judge(assessment, "imaging-order", {"order-rating": "usually-not"}).fired
    assert first
    assert ASSESSOR.judge(assessment, "imaging-order", {"order-rating": "appropriate"}).fired == ()
    assert ASSESSOR.judge(assessment, "imaging-order", {"order-rating": "usually-not"}).fired == first
    assert tuple(assessment.decision.values) == before


def test_a_supposed_red_flag_changes_the_ratings_of_that_question_alone() -> None:
    assessment = assessed(age=45, side="left", present=["buttock-pain", "pain-with-sitting"])
    plain = presentations(packaged(), assessment, radiograph_at_hand=False)
    assert presentations(packaged(), assessment, False, "cauda-equina") != plain
    assert presentations(packaged(), assessment, radiograph_at_hand=False) == plain


def test_without_the_complaint_nothing_is_judged_or_rated() -> None:
    assessment = assessed(age=45, present=["fever"])
    assert assessment.complaint == "absent"
    assert ASSESSOR.judge(assessment, "imaging-order", {"order-rating": "usually-not"}).fired == ()
    assert ASSESSOR.verdicts(assessment, "red-flag") == ()
    assert presentations(packaged(), assessment, radiograph_at_hand=True) == ()


def test_what_is_decided_is_the_same_whatever_was_assessed_before() -> None:
    charts: list[dict[str, object]] = [
        TEAR,
        {"present": ["buttock-pain"]},
        {"present": ["hip-pain", "trochanteric-tenderness"], "side": "right"},
    ]
    together = [assessed(**chart) for chart in charts]
    for chart, assessment in zip(charts, together, strict=True):
        alone = Assessor(packaged()).assess(case_of(build_request(chart)))
        assert (alone.fired, alone.ask, alone.rankings) == (assessment.fired, assessment.ask, assessment.rankings)


def test_a_knowledge_of_one_cause_ranks_it_alone() -> None:
    knowledge, cause = packaged(), "proximal-hamstring-tear"
    ranking = knowledge.differential
    parts: dict[str, Any] = {
        name: tuple(entry for entry in getattr(ranking, name) if entry.cause == cause)
        for name in ("points", "tests", "caps", "vetoes")
    }
    narrowed = replace(knowledge, causes={cause: knowledge.causes[cause]}, differential=replace(ranking, **parts))
    chart = {"age": 45, "present": ["buttock-pain", "forceful-stretch-injury", "mid-hamstring-tenderness"]}
    [ranked] = Assessor(narrowed).assess(case_of(build_request(chart))).rankings
    assert [(each.id, each.band) for each in ranked.causes] == [(cause, "leads")]
    assert ranked.clear


def test_a_criterion_that_the_knowledge_does_not_have_holds_nowhere() -> None:
    assert assessed(**TEAR).is_true("no-such-criterion") is False
