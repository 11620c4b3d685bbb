"""The rules of the engine, on a toy of another body region; seconds, and enough to notice a line that is broken.

What the packaged knowledge decides is tested by named cases (tests/clinical). Here stands what holds of any knowledge.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf
from typing import Any

import msgspec
import pytest

from service.chart.assertions import SIDE_UNREADABLE, Assertion
from service.chart.fhir_time import read_when
from service.knowledge_model.condition_text import parse
from service.knowledge_model.conditions import Interval, Value
from service.knowledge_model.model import ORDER_SYSTEM, Knowledge, Points, Treatment
from service.knowledge_model.vocabulary import ADVICE_FACTS, CHART_KINDS, COSTS, INDICATORS
from service.reasoning.assessment import Assessment, presentations
from service.reasoning.decision import Decision, decide, ones
from service.reasoning.draft_imaging import WORK_UP, DraftImaging, DraftOrder, JudgedDrafts
from service.reasoning.questions import DECIDING, Questions
from service.reasoning.unread_values import UnreadValues
from service.reasoning.visit_limits import days_allowed, limit_of, limits_of_variants, window_left
from service.service_ids import ANALGESIC_SAFETY, APPOINTMENT_TIMING, DISCHARGE_ADVICE, IMAGING_REFERRAL
from service.services.evaluation import Evaluation, in_context
from service.services.imaging_referral import ImagingReferral
from tests.toy import CLOCK, Engine, day, done, fired, order, toy

ANKLE = "ankle-pain"


@pytest.fixture(scope="module")
def made_once() -> Engine:
    """A line of the reasoning is broken before a run begins (`make mutate`), not while it lasts."""
    return Engine()


@pytest.fixture
def engine(made_once: Engine) -> Engine:
    """Made for each test only while mutmut notes which tests go through which function: those it runs."""
    return Engine() if os.environ.get("MUTANT_UNDER_TEST") == "stats" else made_once


def treatment(assessment: Assessment) -> dict[str, str]:
    return {call.id: call.state for call in assessment.treatment}


def imaging(assessment: Assessment) -> list[str]:
    return [f"{call.key} {call.priority}" for call in assessment.imaging]


def referrals(assessment: Assessment) -> list[str]:
    return [f"{call.to} {call.priority}" for call in assessment.referrals]


def points(assessment: Assessment, side: int = 0) -> dict[str, int]:
    return {cause.id: cause.points for cause in assessment.rankings[side].causes}


def leaders(assessment: Assessment) -> list[str | None]:
    return [ranking.leader.id if ranking.leader else None for ranking in assessment.rankings]


def decided(engine: Engine, **chart: Any) -> Decision:
    decision = engine.assess(**chart).decision
    assert decision is not None
    return decision


def found(assessment: Assessment, id_: str) -> Any:
    [one] = [each for each in assessment.all_fired if each.recommendation.id == id_]
    return one


# ---------------------------------------------------------------------------------------------------------------------
# The words of conditions

NUMBERS = {"half": 2.5, **{f"n{number}": float(number) for number in (0, 1, 2, 3, 4, 5, 10, 21, 22, 23, 51, 52, 53)}}
# Of October 22 to 52 days have passed.
DOCUMENTED: dict[str, Any] = {
    "present": [ANKLE, "loud-crack", "slow-start", "tilt-test"],
    "absent": ["swelling", "slow-start", "drawer-test"],
    "numbers": {"pain-severity": 5},
    "dates": {"injury-date": "2026-10"},
}
ON_BOTH_FEET: dict[str, Any] = {"present": [ANKLE, "cold-foot", "numb-foot, right"]}
ON_ONE_FOOT: dict[str, Any] = {"present": [ANKLE, "cold-foot"], "absent": ["both-feet-affected"]}
BOTH_WAYS: dict[str, Any] = {"present": [ANKLE, "both-feet-affected"], "absent": ["both-feet-affected"]}


CONDITIONS: tuple[tuple[dict[str, Any], str, str, str], ...] = (
    (
        DOCUMENTED,
        """
        loud-crack; absent(swelling); not-absent(fever); not-absent(loud-crack); not-present(fever)
        not-present(swelling); unknown(fever); unknown(slow-start); contradictory(slow-start)
        not-present(slow-start); not-absent(slow-start)
        pain-severity >= n5; pain-severity <= n5; days-since-injury >= n22; days-since-injury <= n52
        toy-tests-positive >= n1; toy-tests-positive <= n2; toy-tests-positive > n0; toy-tests-positive >= n0
        absent(no-laxity); not-present(no-laxity); not-present(laxity); unknown(laxity)
        absent(critical-red-flag); absent(considers-tendon); absent(mri-called-for); imaging-called-for
        loud-crack and absent(swelling); any of (fever, loud-crack); none of (swelling, absent(loud-crack))
        """,
        """
        swelling; absent(loud-crack); not-absent(swelling); not-present(loud-crack); unknown(loud-crack)
        unknown(swelling); contradictory(loud-crack); contradictory(fever); unknown(pain-severity)
        unknown(days-since-injury); unknown(toy-tests-positive); unknown(age)
        pain-severity < n5; pain-severity > n5; days-since-injury >= n53; days-since-injury <= n21
        toy-tests-positive >= n3; toy-tests-positive > n2; no-laxity; not-absent(no-laxity); unknown(no-laxity)
        swelling and fever; any of (swelling, absent(loud-crack)); none of (fever, loud-crack)
        """,
        """
        fever; slow-start; absent(fever); days-since-injury >= n23; days-since-injury >= n52
        days-since-injury <= n22; days-since-injury <= n51; toy-tests-positive >= n2; toy-tests-positive < n2
        laxity; absent(laxity); loud-crack and fever; any of (swelling, fever); none of (swelling, fever)
        """,
    ),
    (
        {"present": [ANKLE], "age": None},
        """
        unknown(pain-severity); unknown(days-since-injury); unknown(toy-tests-positive); unknown(age)
        unknown(both-feet-affected); toy-tests-positive <= n3; insufficient-data
        """,
        "contradictory(both-feet-affected); toy-tests-positive > n3",
        """
        loud-crack; age >= n5; pain-severity <= n5; days-since-injury >= n0; toy-tests-positive >= n1
        both-feet-affected
        """,
    ),
    (
        ON_BOTH_FEET,
        "both-feet-affected; not-absent(both-feet-affected)",
        "absent(both-feet-affected); unknown(both-feet-affected); contradictory(both-feet-affected)",
        "fever",
    ),
    (ON_ONE_FOOT, "absent(both-feet-affected)", "both-feet-affected; unknown(both-feet-affected)", "fever"),
    (
        BOTH_WAYS,
        "contradictory(both-feet-affected); unknown(both-feet-affected)",
        "unknown(age)",
        "both-feet-affected",
    ),
    # What is recorded in two ways is known where it follows from the others.
    (
        {**BOTH_WAYS, "present": [*BOTH_WAYS["present"], *ON_BOTH_FEET["present"]]},
        "both-feet-affected",
        "contradictory(both-feet-affected); unknown(both-feet-affected)",
        "fever",
    ),
    # While the ranking waits no cause is considered, whatever its points.
    (
        {"present": [ANKLE, "blue-toes", "slow-start"]},
        "critical-red-flag; absent(considers-tendon); exercise-red-flag",
        "considers-tendon; insufficient-data; imaging-called-for",
        "fever",
    ),
)


@pytest.mark.parametrize(
    ("chart", "true", "false", "unknown"),
    CONDITIONS,
    ids=["documented", "nothing-known", "both-feet", "one-foot", "both-ways", "both-ways-and-feet", "emergency"],
)
def test_a_condition_is_true_false_or_unknown_of_a_chart(
    chart: dict[str, Any], true: str, false: str, unknown: str
) -> None:
    texts = {True: true, False: false, None: unknown}
    expected = {text.strip(): verdict for verdict, of in texts.items() for text in re.split("[;\n]", of.strip())}
    assert verdicts(chart, expected) == expected


def verdicts(chart: Mapping[str, Any], texts: Iterable[str]) -> dict[str, bool | None]:
    """What is decided of these conditions on this chart of one side."""
    named = {f"condition-{number}": text for number, text in enumerate(texts)}
    more = {name: ("", parse(text, NUMBERS)) for name, text in named.items()}
    decision = Engine(replace(toy(), definitions={**toy().definitions, **more})).assess(**chart).decision
    assert decision is not None
    nodes = {text: decision.kernel.criteria[name] for name, text in named.items()}
    return {
        text: True if decision.on(node.true, 0) else False if decision.on(node.false, 0) else None
        for text, node in nodes.items()
    }


# ---------------------------------------------------------------------------------------------------------------------
# The complaint


def test_a_finding_that_locates_makes_the_complaint(engine: Engine) -> None:
    assessment = engine.assess(present=[ANKLE, "swelling"])
    assert assessment.complaint == "present"
    assert [item.finding for item in assessment.located_by] == [ANKLE]
    assert assessment.side == "left"


def test_a_criterion_makes_the_complaint_with_what_it_stands_on(engine: Engine) -> None:
    assessment = engine.assess(present=["foot-pain", "squeeze-test"])
    assert assessment.complaint == "present"
    assert {item.finding for item in assessment.located_by} == {"foot-pain", "squeeze-test"}


@pytest.mark.parametrize("chart", [{"present": ["swelling"]}, {"present": ["foot-pain"]}, {"absent": [ANKLE]}])
def test_without_the_complaint_nothing_holds(engine: Engine, chart: dict[str, Any]) -> None:
    assessment = engine.assess(**chart)
    assert assessment.complaint == "absent"
    assert assessment.decision is None
    assert (assessment.fired, assessment.rankings, assessment.ask, assessment.treatment) == ((), (), (), ())
    judged = engine.assessor.judge(assessment, "imaging-order", {"order-rating": "usually-not"})
    assert judged.fired == ()
    assert judged.assessment is assessment
    assert (judged.kind, judged.facts) == ("imaging-order", {"order-rating": "usually-not"})
    assert engine.assessor.verdicts(assessment, "red-flag") == ()
    assert engine.assessor.weights(assessment) == ()
    assert engine.assessor.unanswered_flags(assessment) == ()
    assert engine.assessor.would_change(assessment) == ()
    assert presentations(toy(), assessment, radiograph_at_hand=True) == ()


@pytest.mark.parametrize(
    "chart", [{"asked": [ANKLE], "present": ["swelling"]}, {"present": ["swelling"], "withheld": ["conditions"]}]
)
def test_where_the_complaint_may_be_missing_it_is_unknown(engine: Engine, chart: dict[str, Any]) -> None:
    assert engine.assess(**chart).complaint == "unknown"


def test_without_the_complaint_it_is_still_told_what_was_looked_at(engine: Engine) -> None:
    assessment = engine.assess(
        present=["swelling"], asked=["fever"], numbers={"pain-severity": 99}, withheld=["conditions"]
    )
    assert assessment.side == "unspecified"
    assert assessment.case is not None
    assert assessment.data == assessment.case.data
    assert assessment.data["observations"] == "supplied"
    assert assessment.lacking == {"conditions"}
    assert assessment.left_out == assessment.case.left_out
    assert [one.finding for one in assessment.not_readable if isinstance(one, Assertion)] == ["pain-severity"]


def test_with_the_complaint_it_is_told_what_was_looked_at_and_what_is_known(engine: Engine) -> None:
    assessment = engine.assess(
        present=[ANKLE, "swelling"],
        absent=["slow-start"],
        asked=["fever"],
        numbers={"pain-severity": 99},
        withheld=["conditions"],
    )
    case = assessment.case
    assert case is not None
    assert assessment.known == {ANKLE, "swelling", "slow-start"}
    assert (assessment.data, assessment.left_out) == (case.data, case.left_out)
    assert assessment.lacking == {"conditions"}
    assert [one.finding for one in assessment.not_readable if isinstance(one, Assertion)] == ["pain-severity"]


def test_where_a_finding_makes_the_complaint_the_criterion_is_not_named_besides(engine: Engine) -> None:
    located = engine.assess(present=[ANKLE, "foot-pain", "squeeze-test"]).located_by
    assert [item.finding for item in located] == [ANKLE]


# ---------------------------------------------------------------------------------------------------------------------
# Red flags


def test_a_critical_red_flag_lets_ranking_plan_and_questions_wait(engine: Engine) -> None:
    assessment = engine.assess(present=[ANKLE, "blue-toes", "bony-tenderness", "swelling"])
    assert fired(assessment) == {"rf1-blue-foot"}
    assert assessment.ranking_waits
    assert not assessment.unranked
    assert assessment.rankings == ()
    assert assessment.ask == ()
    assert referrals(assessment) == ["emergency stat"]
    assert referrals(engine.assess(present=[ANKLE, "blue-toes", "fever"])) == ["emergency stat", "clinic urgent"]
    assert [each.recommendation.id for each in assessment.red_flags()] == ["rf1-blue-foot"]


@pytest.mark.parametrize("pain", [[ANKLE], [ANKLE, "ankle-pain, right"]], ids=["one-side", "both-sides"])
def test_the_ranking_waits_and_is_left_out_whatever_the_sides(engine: Engine, pain: list[str]) -> None:
    emergency = engine.assess(present=[*pain, "blue-toes", "slow-start"])
    assert (emergency.ranking_waits, emergency.rankings) == (True, ())
    child = engine.assess(present=[*pain, "slow-start"], age=17)
    assert (child.unranked, child.rankings) == (True, ())


def test_a_red_flag_that_blocks_exercise_leaves_the_ranking(engine: Engine) -> None:
    old = {"injury-date": day(11)}
    with_fever = engine.assess(present=[ANKLE, "swelling", "fever"], dates=old)
    assert not with_fever.ranking_waits
    assert len(with_fever.rankings) == 1
    assert "exercise" not in treatment(with_fever)
    assert "exercise" in treatment(engine.assess(present=[ANKLE, "swelling"], dates=old))


def test_a_warning_with_a_critical_form_is_critical_where_that_holds(engine: Engine) -> None:
    warning = found(engine.assess(present=[ANKLE, "fever"]), "rf2-fever")
    assert warning.indicator == "warning"
    assert warning.findings() == ("fever",)
    assessment = engine.assess(present=[ANKLE, "fever", "cold-foot", "swelling"])
    critical = found(assessment, "rf2-fever")
    assert critical.indicator == "critical"
    assert critical.findings() == ("fever", "cold-foot")
    # It does not block the ranking, and so that is made; what waits for an emergency waits.
    assert leaders(assessment) == [None]
    assert "rest" not in treatment(assessment)


def test_without_anything_that_tells_of_the_pain_too_little_is_known(engine: Engine) -> None:
    pain_alone = engine.assess(present=[ANKLE, "fever, undated"])
    assert "tr4-rest" in fired(pain_alone), "a red flag is enough to know"
    # Neither a number nor a risk tells of it.
    assessment = engine.assess(present=[ANKLE, "bad-kidney", "toy-pill"], numbers={"pain-severity": 8})
    assert assessment.rankings == ()
    assert not assessment.unranked
    assert not assessment.ranking_waits
    assert "rest" not in treatment(assessment)
    assert "rest" in treatment(engine.assess(present=[ANKLE], absent=["swelling"]))


def test_red_flags_that_nobody_answered_are_told(engine: Engine) -> None:
    def unanswered(**chart: Any) -> list[str]:
        return [r.id for r in engine.assessor.unanswered_flags(engine.assess(**chart))]

    assert unanswered(present=[ANKLE], asked=["loud-crack"]) == ["rf3-crack"]
    assert unanswered(present=[ANKLE, "loud-crack"], absent=["loud-crack"]) == ["rf3-crack"]
    assert unanswered(present=[ANKLE, "blue-toes"], asked=["both-feet-affected"]) == []
    assert unanswered(present=[ANKLE], absent=["loud-crack"], asked=["swelling"]) == []
    assert unanswered(present=[ANKLE]) == []
    # What was asked and not answered makes it critical only where it is raised.
    assert unanswered(present=[ANKLE], absent=["fever"], asked=["cold-foot"]) == []


def test_what_speaks_for_a_cause_is_evidence_only_of_the_side_on_which_it_leads(engine: Engine) -> None:
    of_right = [
        "ankle-pain, right",
        "squeeze-test, right",
        "swelling, right",
        "loud-crack, right",
        "drawer-test, right",
    ]
    assessment = engine.assess(present=[ANKLE, "slow-start", *of_right], absent=["slow-start, right"])
    assert [each.leader and each.leader.id for each in assessment.rankings] == ["tendon", "sprain"]
    [laxity] = [v for v in engine.assessor.verdicts(assessment, "plan") if v.recommendation.id == "pl2-laxity"]
    evidence = [(item.finding, item.side) for item in laxity.evidence]
    assert evidence == [("slow-start", "left"), ("squeeze-test", "right"), ("drawer-test", "right")]


def test_a_call_for_imaging_is_no_evidence_of_what_reads_it(engine: Engine) -> None:
    for metal in ([], ["metal-plate"]):
        verdicts = engine.assessor.verdicts(engine.assess(present=[ANKLE, "fever", "cold-foot", *metal]), "closing")
        [of_metal] = [each for each in verdicts if each.recommendation.id == "cl2-metal"]
        assert [item.finding for item in of_metal.evidence] == ["metal-plate-on-either-side"] * len(metal)


# ---------------------------------------------------------------------------------------------------------------------
# What is called for


def test_of_calls_that_are_the_same_the_most_urgent_counts_and_stands_first(engine: Engine) -> None:
    assessment = engine.assess(present=[ANKLE, "bony-tenderness", "loud-crack", "squeeze-test", "drawer-test"])
    assert imaging(assessment) == ["radiograph-ankle urgent", "mri-ankle urgent", "ultrasound-ankle routine"]
    assert assessment.called_by(assessment.imaging[0]) == {"rf3-crack", "pl1-bony"}
    assert [call.recommendation for call in assessment.imaging] == ["rf3-crack", "rf3-crack", "pl2-laxity"]
    assert referrals(assessment) == ["clinic routine"]


def test_a_more_urgent_call_that_comes_later_replaces_the_earlier_one(engine: Engine) -> None:
    assessment = engine.assess(present=[ANKLE, "bony-tenderness"], numbers={"pain-severity": 7})
    assert referrals(assessment) == ["clinic urgent"]
    assert assessment.referrals[0].recommendation == "pl3-severe"
    # Of two that are as urgent the first counts.
    fever = engine.assess(present=[ANKLE, "fever"], numbers={"pain-severity": 7})
    assert [(call.priority, call.recommendation) for call in fever.referrals] == [("urgent", "rf2-fever")]


def test_a_call_has_a_condition_of_its_own(engine: Engine) -> None:
    assert imaging(engine.assess(present=[ANKLE, "loud-crack"])) == ["radiograph-ankle urgent"]
    assert referrals(engine.assess(present=[ANKLE, "bony-tenderness"], age=None)) == []
    assert referrals(engine.assess(present=[ANKLE, "bony-tenderness"], age=18)) == ["clinic routine"]
    assert referrals(engine.assess(present=[ANKLE, "bony-tenderness"], age=17)) == []


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_call_is_of_the_side_on_which_its_condition_holds(engine: Engine, side: str) -> None:
    assessment = engine.assess(present=[ANKLE, "ankle-pain, right", f"bony-tenderness, {side}"])
    assert imaging(assessment) == ["radiograph-ankle routine"]
    assert referrals(assessment) == ["clinic routine"]
    assert [item.side for item in found(assessment, "pl1-bony").evidence] == [side]


def test_an_alternative_goes_with_its_call(engine: Engine) -> None:
    [call] = engine.assess(present=[ANKLE, "fever"]).imaging
    assert (call.modality, call.alternative) == ("mri", "ultrasound")


def test_what_closes_reads_what_the_plan_has_made(engine: Engine) -> None:
    assert "cl1-no-imaging" in fired(engine.assess(present=[ANKLE, "swelling"]))
    assert "cl1-no-imaging" not in fired(engine.assess(present=[ANKLE, "bony-tenderness"]))
    with_metal = engine.assess(present=[ANKLE, "fever", "metal-plate, right"])
    assert "cl2-metal" in fired(with_metal)
    assert set(found(with_metal, "cl2-metal").findings()) >= {"metal-plate-on-either-side"}
    assert "cl2-metal" not in fired(engine.assess(present=[ANKLE, "loud-crack", "metal-plate"]))


# ---------------------------------------------------------------------------------------------------------------------
# Treatment


@pytest.mark.parametrize(("held_by", "rule"), [("cold-foot", "tr1-strap-waits"), ("numb-foot", "tr3-no-strap")])
def test_no_offer_undoes_a_hold_whichever_comes_first(engine: Engine, held_by: str, rule: str) -> None:
    sprain = [ANKLE, "loud-crack", "swelling", "drawer-test"]
    open_ = engine.assess(present=sprain)
    assert treatment(open_)["strap"] == "offer"
    assert "strap" in open_.offered()
    held = engine.assess(present=[*sprain, held_by])
    assert {"tr2-strap", rule} <= fired(held)
    [strap] = [call for call in held.treatment if call.id == "strap"]
    assert (strap.state, strap.because) == ("hold", (held_by,))
    assert "strap" not in held.offered()


def test_two_holds_are_one_with_both_reasons(engine: Engine) -> None:
    [strap] = [
        call for call in engine.assess(present=[ANKLE, "cold-foot", "numb-foot"]).treatment if call.id == "strap"
    ]
    assert (strap.state, strap.because) == ("hold", ("cold-foot", "numb-foot"))


def test_what_is_left_out_of_a_treatment_is_not_added_by_another_recommendation(engine: Engine) -> None:
    assert "tr6-ice" in fired(engine.assess(present=[ANKLE, "swelling"]))
    assessment = engine.assess(present=[ANKLE, "swelling", "cold-foot"])
    assert "tr6-ice" not in fired(assessment)
    assert "tr6-ice" in {each.recommendation.id for each in assessment.all_fired}
    [rest] = [call for call in assessment.treatment if call.id == "rest"]
    assert (rest.state, rest.without, rest.because) == ("offer", ("ice",), ("cold-foot",))


def test_a_caution_is_said_beside_an_offer_only(engine: Engine) -> None:
    offered = engine.assess(present=[ANKLE, "bad-liver"])
    assert "tr9-half-pill" in fired(offered)
    assert {call.id: call.cautions for call in offered.treatment} == {"pill": ("tr9-half-pill",)}
    held = engine.assess(present=[ANKLE, "bad-liver", "bad-kidney"])
    assert "tr9-half-pill" not in fired(held)
    assert [(call.id, call.state, call.cautions) for call in held.treatment] == [("pill", "hold", ())]
    nobody = engine.assess(present=[ANKLE, "bad-liver"], age=17)
    assert "tr9-half-pill" not in fired(nobody)
    assert "pill" not in treatment(nobody)


def rewritten(id_: str, when: str, *treatment: Treatment) -> Knowledge:
    """The toy in which this recommendation has another condition, and these treatments besides."""
    changed = [
        replace(r, when=parse(when, NUMBERS), treatment=(*r.treatment, *treatment)) if r.id == id_ else r
        for r in toy().recommendations
    ]
    return replace(toy(), recommendations=tuple(changed))


def test_a_recommendation_may_say_how_to_take_care_and_hold_something_else() -> None:
    hold = Treatment("strap", "hold", (), ())
    assessment = Engine(rewritten("tr9-half-pill", "bad-liver", hold)).assess(present=[ANKLE, "bad-liver"])
    [strap] = [call for call in assessment.treatment if call.id == "strap"]
    assert (strap.state, strap.because) == ("hold", ("bad-liver",))


@pytest.mark.parametrize(
    ("when", "present", "because"),
    [
        ("exercise-red-flag", ["fever"], ("fever",)),
        ("exercise-red-flag", ["fever", "blue-toes", "loud-crack"], ("blue-toes", "fever")),
        ("critical-red-flag", ["fever", "blue-toes"], ("blue-toes",)),
        ("any of (bad-kidney, imaging-called-for)", ["loud-crack"], ()),
        ("laxity", ["drawer-test", "tilt-test"], ("drawer-test", "tilt-test")),
    ],
)
def test_a_hold_because_of_what_a_stage_has_made_names_the_findings_behind_it(
    when: str, present: list[str], because: tuple[str, ...]
) -> None:
    assessment = Engine(rewritten("tr8-no-pill", when)).assess(present=[ANKLE, *present])
    [pill] = [call for call in assessment.treatment if call.id == "pill"]
    assert (pill.state, pill.because) == ("hold", because)


def test_treatments_stand_as_the_knowledge_lists_them(engine: Engine) -> None:
    assessment = engine.assess(
        present=[ANKLE, "loud-crack", "swelling"], dates={"injury-date": day(20)}, diagnoses=["diagnosed-sprain"]
    )
    assert list(treatment(assessment)) == ["rest", "strap", "exercise", "pill"]


def test_what_speaks_against_a_treatment_is_told_whatever_the_complaint(engine: Engine) -> None:
    case = engine.case(present=["swelling", "bad-kidney", "cold-foot, right", "numb-foot"])
    screened = engine.assessor.screen(case, ["pill"])
    assert screened.complaint == "absent"
    assert [(call.id, call.state, call.because) for call in screened.treatment] == [("pill", "hold", ("bad-kidney",))]
    assert fired(screened) == {"tr8-no-pill"}
    assert screened.all_fired == screened.fired
    # What is judged by it afterwards does not need the complaint.
    [judged] = engine.assessor.judge(
        screened, "analgesic-order", {"nsaid-drafted": True, "held-by-the-chart": True}
    ).fired
    assert judged.recommendation.id == "ao1-pill-held"
    assert engine.assessor.screen(case, ["rest"]).treatment == ()
    strap = engine.assessor.screen(case, ["strap"], by_side=True)
    assert [item.side for each in strap.fired for item in each.evidence] == ["right", "left"]


def test_what_is_done_to_one_side_is_held_by_what_is_there(engine: Engine) -> None:
    def held(*, by_side: bool, **chart: Any) -> bool:
        case, screen = engine.case(**chart), engine.assessor.screen
        # As a medicine is, where nothing is said of sides.
        screened = screen(case, ["strap"], by_side=True) if by_side else screen(case, ["strap"])
        return bool(screened.treatment)

    one_of_two = {"present": ["cold-foot, right", "swelling"], "absent": ["cold-foot"]}
    assert held(by_side=True, **one_of_two)
    assert not held(by_side=False, **one_of_two)
    # With one side, what has none is about that.
    assert held(by_side=True, present=["swelling", "cold-foot, no side"])
    assert not held(by_side=True, present=["swelling", "swelling, right", "cold-foot, no side"])


# ---------------------------------------------------------------------------------------------------------------------
# Sides


def test_each_side_is_judged_by_itself_and_red_flags_count_for_the_patient(engine: Engine) -> None:
    assessment = engine.assess(
        present=[ANKLE, "ankle-pain, right", "loud-crack", "slow-start, right", "squeeze-test, right"]
    )
    assert assessment.side == "bilateral"
    assert leaders(assessment) == ["sprain", "tendon"]
    assert [ranking.side for ranking in assessment.rankings] == ["left", "right"]
    assert points(assessment, 1) == {"tendon": 8, "sprain": -2, "elsewhere": 0}
    assert "rf3-crack" in fired(assessment)
    assert [item.side for item in found(assessment, "rf3-crack").evidence] == ["left"]


def test_with_both_sides_what_has_no_side_counts_for_red_flags_alone(engine: Engine) -> None:
    both = [ANKLE, "ankle-pain, right", "swelling", "bony-tenderness, no side"]
    assessment = engine.assess(present=both)
    assert "pl1-bony" not in fired(assessment)
    assert assessment.without_side == ("bony-tenderness",)
    assert "rf1-blue-foot" in fired(engine.assess(present=[*both, "blue-toes, no side"]))
    one = engine.assess(present=[ANKLE, "swelling", "bony-tenderness, no side"])
    assert "pl1-bony" in fired(one)
    assert one.without_side == ()
    verdicts = {
        v.recommendation.id: v.is_true
        for v in engine.assessor.verdicts(engine.assess(present=[*both, "blue-toes, no side"]), "red-flag", "plan")
    }
    assert verdicts["rf1-blue-foot"] is True
    assert verdicts["pl1-bony"] is None


def test_what_is_on_both_sides_is_so_by_the_one_left_and_the_other_right(engine: Engine) -> None:
    assert "rf1-blue-foot" in fired(engine.assess(present=[ANKLE, "cold-foot", "numb-foot, right"]))
    assert "rf1-blue-foot" in fired(engine.assess(present=[ANKLE, "cold-foot", "cold-foot, right"]))
    assert "rf1-blue-foot" not in fired(engine.assess(present=[ANKLE, "cold-foot", "numb-foot"]))
    assert "rf1-blue-foot" not in fired(engine.assess(present=[ANKLE, "cold-foot", "numb-foot, no side"]))
    assert "rf1-blue-foot" in fired(engine.assess(present=[ANKLE, "both-feet-affected"]))
    # It is so whatever is said of it as a whole.
    stated = engine.assess(present=[ANKLE, "cold-foot", "numb-foot, right"], absent=["both-feet-affected"])
    assert "rf1-blue-foot" in fired(stated)


def test_what_is_on_either_side_is_found_beside_the_pain_on_the_other(engine: Engine) -> None:
    assert "cl2-metal" in fired(engine.assess(present=[ANKLE, "fever", "metal-plate, right"]))
    assessment = engine.assess(present=[ANKLE, "fever", "metal-plate, right"])
    assert assessment.side == "left", "where the metal is does not make it hurt"


def test_what_is_known_of_one_side_is_not_unknown_of_the_other(engine: Engine) -> None:
    assessment = engine.assess(present=[ANKLE, "ankle-pain, right", "swelling", "slow-start, right"], age=20)
    pill = found(assessment, "tr7-pill")
    assert [(item.finding, item.side, item.state) for item in pill.evidence] == [
        (ANKLE, "left", "present"),
        ("age", "", "20"),
        (ANKLE, "right", "present"),
    ]


# ---------------------------------------------------------------------------------------------------------------------
# What is recorded in two ways, and when


def test_what_is_recorded_in_two_ways_is_unknown_and_asked_first(engine: Engine) -> None:
    assessment = engine.assess(present=[ANKLE, "loud-crack", "swelling"], absent=["loud-crack"])
    assert assessment.contradictory == ("loud-crack",)
    assert "rf3-crack" not in fired(assessment)
    assert treatment(assessment)["exercise"] == "hold"
    assert found(assessment, "tr11-exercise-waits").findings() == ("loud-crack",)
    [item] = found(assessment, "tr11-exercise-waits").evidence
    assert item.state == "contradictory"
    on_both = [ANKLE, "ankle-pain, right", "loud-crack", "loud-crack, right"]
    both = engine.assess(present=on_both, absent=["loud-crack", "loud-crack, right"])
    assert [item.side for item in found(both, "tr11-exercise-waits").evidence] == ["left", "right"]
    first = assessment.ask[0]
    assert (first.finding, first.ask, first.changes) == ("loud-crack", "Was there a crack?", ())
    assert "loud-crack" not in [asked.finding for asked in assessment.ask[1:]]


def test_the_newest_statement_wins(engine: Engine) -> None:
    later = engine.assess(present=[ANKLE, "loud-crack"], absent=["loud-crack, 2 days ago"])
    assert later.contradictory == ()
    assert "rf3-crack" in fired(later)
    assert "rf3-crack" not in fired(engine.assess(present=[ANKLE, "loud-crack, 2 days ago"], absent=["loud-crack"]))


@pytest.mark.parametrize(
    ("written", "exercise", "lasting"),
    [
        # From 22 to 52 days ago: more than ten, and perhaps 42.
        ("2026-10", True, None),
        ("2026-09", True, True),
        # From no day to 21: perhaps more than ten.
        ("2026-11", None, False),
        (day(10), False, False),
        (day(11), True, False),
        (day(41), True, False),
        (day(42), True, True),
    ],
)
def test_a_date_of_a_months_precision_is_a_span_of_days(
    engine: Engine, written: str, exercise: bool | None, lasting: bool | None
) -> None:
    assessment = engine.assess(
        present=[ANKLE, "swelling"], numbers={"pain-severity": 2}, dates={"injury-date": written}
    )
    verdicts = {v.recommendation.id: v for v in engine.assessor.verdicts(assessment, "plan", "closing", "treatment")}
    assert verdicts["tr10-exercise"].is_true is exercise
    assert verdicts["pl3-severe"].is_true is lasting
    if lasting is None:
        assert verdicts["pl3-severe"].unknown == ("injury-date",)


def test_of_two_injuries_the_later_one_counts(engine: Engine) -> None:
    assessment = engine.assess(
        present=[ANKLE, "swelling"],
        dates={"injury-date, no side, 50 days ago": day(50), "injury-date, no side": day(5)},
    )
    assert "tr10-exercise" not in fired(assessment)
    onset = assessment.onset()
    assert onset is not None
    assert onset.text == day(5)


def test_the_latest_onset_is_the_one_that_ends_last(engine: Engine) -> None:
    dates = {"injury-date, no side, 40 days ago": day(40), "injury-date, no side": "2026-10"}
    onset = engine.assess(present=[ANKLE], dates=dates).onset()
    assert onset is not None
    assert onset.text == "2026-10"
    assert engine.assess(present=[ANKLE]).onset() is None


# ---------------------------------------------------------------------------------------------------------------------
# Counts


@pytest.mark.parametrize(
    ("positive", "negative", "laxity", "none"),
    [
        (["squeeze-test", "drawer-test"], [], True, False),
        (["squeeze-test"], [], None, False),
        (["squeeze-test"], ["drawer-test"], None, False),
        (["squeeze-test"], ["drawer-test", "tilt-test"], False, False),
        ([], ["drawer-test", "tilt-test"], False, None),
        ([], ["squeeze-test", "drawer-test", "tilt-test"], False, True),
        ([], [], None, None),
    ],
)
def test_of_a_count_what_is_not_known_may_be_either(
    engine: Engine, positive: list[str], negative: list[str], laxity: bool | None, none: bool | None
) -> None:
    decision = engine.assess(present=[ANKLE, *positive], absent=negative).decision
    assert decision is not None
    for name, expected in (("laxity", laxity), ("no-laxity", none)):
        node = decision.kernel.criteria[name]
        assert (decision.on(node.true, 0), decision.on(node.false, 0)) == (expected is True, expected is False), name


# ---------------------------------------------------------------------------------------------------------------------
# The ranking


def test_a_cause_leads_with_enough_points_and_enough_more_than_the_next(engine: Engine) -> None:
    assert leaders(engine.assess(present=[ANKLE, "slow-start"])) == ["tendon"]
    assert leaders(engine.assess(present=[ANKLE, "swelling"], numbers={"pain-severity": 7})) == [None]
    close = [ANKLE, "loud-crack", "swelling", "numb-foot"]
    assert points(engine.assess(present=close)) == {"sprain": 5, "elsewhere": 4, "tendon": -2}
    assert leaders(engine.assess(present=close)) == [None]
    assert leaders(engine.assess(present=close, numbers={"pain-severity": 7})) == ["sprain"]


def test_the_bands_say_how_near_a_cause_is(engine: Engine) -> None:
    def bands(**chart: Any) -> dict[str, str]:
        return {cause.id: cause.band for cause in engine.assess(**chart).rankings[0].causes}

    assert bands(present=[ANKLE, "loud-crack", "swelling", "numb-foot"], numbers={"pain-severity": 7}) == {
        "sprain": "leads",
        "elsewhere": "possible",
        "tendon": "less-likely",
    }
    assert bands(present=[ANKLE, "loud-crack", "drawer-test", "numb-foot"]) == {
        "sprain": "leads",
        "elsewhere": "less-likely",
        "tendon": "less-likely",
    }
    # As many points against it as for it.
    assert bands(present=[ANKLE, "loud-crack"], absent=["drawer-test"])["sprain"] == "less-likely"
    assert bands(present=[ANKLE, "swelling"]) == {
        "sprain": "possible",
        "tendon": "not-assessed",
        "elsewhere": "not-assessed",
    }


def test_a_cause_that_stays_possible_is_so_however_far_the_leader_is() -> None:
    stays = replace(toy().differential, stays_possible=("elsewhere",))
    [ranking] = (
        Engine(replace(toy(), differential=stays))
        .assess(present=[ANKLE, "loud-crack", "drawer-test", "numb-foot"])
        .rankings
    )
    assert {cause.id: cause.band for cause in ranking.causes} == {
        "sprain": "leads",
        "elsewhere": "possible",
        "tendon": "less-likely",
    }


def test_a_ranking_is_clear_where_the_next_is_far(engine: Engine) -> None:
    assert not engine.assess(present=[ANKLE, "slow-start"]).rankings[0].clear
    near = engine.assess(present=[ANKLE, "loud-crack", "swelling", "numb-foot"], numbers={"pain-severity": 7})
    assert not near.rankings[0].clear
    assert engine.assess(present=[ANKLE, "loud-crack"]).rankings[0].clear


def test_of_a_family_of_tests_the_weightiest_counts(engine: Engine) -> None:
    assert points(engine.assess(present=[ANKLE, "drawer-test", "tilt-test"]))["sprain"] == 4
    assert points(engine.assess(present=[ANKLE, "tilt-test"]))["sprain"] == 2
    assert points(engine.assess(present=[ANKLE, "tilt-test"], absent=["drawer-test"]))["sprain"] == -4
    assert points(engine.assess(present=[ANKLE, "drawer-test"], absent=["tilt-test"]))["sprain"] == 4


def test_a_test_is_negative_by_its_own_condition_where_it_has_one(engine: Engine) -> None:
    assert points(engine.assess(present=[ANKLE], absent=["tilt-test"]))["sprain"] == -1
    assert points(engine.assess(present=[ANKLE, "swelling"], absent=["tilt-test"]))["sprain"] == 1


def test_a_cap_keeps_a_family_from_counting_more_and_leaves_what_counts_less(engine: Engine) -> None:
    assert points(engine.assess(present=[ANKLE, "drawer-test", "squeeze-test"]))["sprain"] == 1
    assert points(engine.assess(present=[ANKLE, "squeeze-test"], absent=["drawer-test"]))["sprain"] == -4


def test_a_veto_keeps_a_cause_from_leading(engine: Engine) -> None:
    tendon = [ANKLE, "slow-start", "squeeze-test"]
    assert leaders(engine.assess(present=tendon)) == ["tendon"]
    vetoed = engine.assess(present=[*tendon, "fever"])
    assert leaders(vetoed) == [None]
    assert points(vetoed)["tendon"] == 8


def test_where_the_causes_are_not_those_of_the_patient_none_is_ranked_or_considered(engine: Engine) -> None:
    assessment = engine.assess(present=[ANKLE, "slow-start", "squeeze-test"], age=17)
    assert assessment.unranked
    assert assessment.rankings == ()
    assert "pl2-laxity" not in fired(assessment)
    assert not engine.assess(present=[ANKLE, "slow-start"], age=18).unranked
    always = replace(toy(), differential=replace(toy().differential, unranked=None))
    assert leaders(Engine(always).assess(present=[ANKLE, "slow-start"], age=17)) == ["tendon"]


def test_a_working_diagnosis_is_considered_without_leading(engine: Engine) -> None:
    assessment = engine.assess(present=[ANKLE], diagnoses=["diagnosed-sprain"])
    assert leaders(assessment) == [None]
    assert assessment.working_diagnoses == ("sprain",)
    assert "tr2-strap" in fired(assessment)
    assert found(assessment, "tr2-strap").findings()[0] == "diagnosed-sprain"
    # Also of a patient whose causes are not ranked.
    assert engine.assess(present=[ANKLE], diagnoses=["diagnosed-sprain"], age=17).working_diagnoses == ("sprain",)


def test_what_is_considered_stands_on_what_speaks_for_it(engine: Engine) -> None:
    strap = found(engine.assess(present=[ANKLE, "loud-crack", "swelling"]), "tr2-strap")
    assert strap.findings() == ("loud-crack", "swelling", "age")
    [first] = engine.assess(present=[ANKLE, "loud-crack", "slow-start"]).rankings
    by_id = {cause.id: cause for cause in first.causes}
    assert (by_id["sprain"].speaks_for, by_id["sprain"].speaks_against) == (("loud-crack",), ("slow-start",))


def test_each_point_says_its_findings_its_family_and_its_source(engine: Engine) -> None:
    weights = engine.assessor.weights(engine.assess(present=[ANKLE, "swelling", "drawer-test", "squeeze-test"]))
    assert {each.source for _side, each in weights} == {"[J]"}
    assert [(side, each.cause, each.points, each.findings, each.family) for side, each in weights] == [
        ("left", "sprain", 1, ("swelling",), ""),
        ("left", "tendon", 5, ("squeeze-test",), "squeeze"),
        ("left", "sprain", 1, ("drawer-test",), "laxity"),
        ("left", "elsewhere", 1, ("drawer-test", "squeeze-test"), "both"),
    ]


def test_what_is_absent_speaks_only_where_its_absence_is_asked_for() -> None:
    more = (
        Points("elsewhere", 2, parse("absent(fever) and slow-start", {}), "[J]", ()),
        Points("elsewhere", 2, parse("criterion-of-absence", {}), "[J]", ()),
    )
    knowledge = replace(
        toy(),
        definitions={
            **toy().definitions,
            "criterion-of-absence": ("", parse("absent(blue-toes) and bony-tenderness", {})),
        },
        differential=replace(toy().differential, points=(*toy().differential.points, *more)),
    )
    engine = Engine(knowledge)
    present, absent = [ANKLE, "slow-start", "bony-tenderness"], ["loud-crack", "fever", "blue-toes"]
    weights = engine.assessor.weights(engine.assess(present=present, absent=absent))
    assert [each.findings for _side, each in weights if each.cause == "elsewhere"] == [
        ("bony-tenderness",),
        ("fever", "slow-start"),
        ("blue-toes", "bony-tenderness"),
    ]


def test_both_sides_may_have_the_same_leader(engine: Engine) -> None:
    both = engine.assess(present=[ANKLE, "ankle-pain, right", "slow-start", "slow-start, right"])
    assert leaders(both) == ["tendon", "tendon"]
    assert [item.side for item in found(both, "pl2-laxity").evidence] == ["left", "right"]


def test_what_is_considered_on_one_side_stands_on_the_findings_of_that_side(engine: Engine) -> None:
    right = engine.assess(present=[ANKLE, "ankle-pain, right", "swelling", "slow-start, right", "dull-pain, right"])
    assert leaders(right) == [None, "tendon"]
    items = found(right, "pl2-laxity").evidence
    assert [(item.finding, item.side) for item in items] == [("slow-start", "right"), ("dull-pain", "right")]


def test_a_knowledge_without_causes_ranks_nothing_and_answers() -> None:
    kept = [r for r in toy().recommendations if r.id not in ("pl1-bony", "pl2-laxity", "tr2-strap")]
    nothing: dict[str, Any] = dict.fromkeys(("points", "tests", "caps", "vetoes"), ())
    bare = replace(toy(), causes={}, differential=replace(toy().differential, **nothing), recommendations=tuple(kept))
    answered = Engine(bare).answered(present=[ANKLE, "swelling"])
    assert answered.assessment.rankings == ()
    assert "tr4-rest" in answered.recommendations()


def test_what_is_not_ranked_has_no_points(engine: Engine) -> None:
    assert engine.assessor.weights(engine.assess(present=[ANKLE, "blue-toes", "swelling"])) == ()
    assert engine.assessor.weights(engine.assess(present=[ANKLE, "swelling"], age=17)) == ()


def test_it_is_said_of_how_many_families_something_is_known(engine: Engine) -> None:
    [ranking] = engine.assess(present=[ANKLE, "squeeze-test", "bony-tenderness"]).rankings
    assert (ranking.families_known, ranking.families) == (2, 4)
    [ranking] = engine.assess(present=[ANKLE, "squeeze-test", "drawer-test"]).rankings
    assert ranking.families_known == 3
    [ranking] = engine.assess(present=[ANKLE, "swelling"]).rankings
    assert ranking.families_known == 0
    assert {cause.side for cause in ranking.causes} == {"left"}


@pytest.mark.parametrize("causes", [("sprain",), ("sprain", "tendon")], ids=["one", "two"])
def test_a_knowledge_of_one_cause_or_two_ranks_them(causes: tuple[str, ...]) -> None:
    knowledge = toy()
    parts: dict[str, Any] = {
        name: tuple(entry for entry in getattr(knowledge.differential, name) if entry.cause in causes)
        for name in ("points", "tests", "caps", "vetoes")
    }
    narrowed = replace(
        knowledge,
        causes={cause: knowledge.causes[cause] for cause in causes},
        differential=replace(knowledge.differential, **parts),
    )
    [ranked] = Engine(narrowed).assess(present=[ANKLE, "loud-crack"]).rankings
    assert [each.id for each in ranked.causes] == [*causes]
    assert [each.band for each in ranked.causes if each.id == "sprain"] == ["leads"]
    assert ranked.clear


# ---------------------------------------------------------------------------------------------------------------------
# What to ask


def test_the_three_questions_are_asked_whose_answers_change_most(engine: Engine) -> None:
    assessment = engine.assess(present=[ANKLE, "swelling"])
    assert [(asked.finding, asked.changes) for asked in assessment.ask] == [
        ("blue-toes", ("severity", "referrals", "leader")),
        ("loud-crack", ("severity", "imaging", "leader", "treatment")),
        ("injury-date", ("severity", "referrals", "treatment")),
    ]


def test_what_is_known_is_not_asked(engine: Engine) -> None:
    known = engine.assess(
        present=[ANKLE, "swelling"],
        absent=["blue-toes", "cold-foot", "loud-crack", "slow-start", "bad-kidney", "drawer-test"],
        numbers={"pain-severity": 8},
        dates={"injury-date": day(3)},
    )
    # The other test of the family would count less than this one does.
    assert known.ask == ()


def test_the_short_form_of_a_question_is_for_one_of_which_nothing_is_known() -> None:
    short = [replace(q, short="Swollen, slow?") if "swelling" in q.findings else q for q in toy().questions]
    engine = Engine(replace(toy(), questions=tuple(short)))

    def asked(**chart: Any) -> dict[str, str]:
        numbers, dates = {"pain-severity": 8}, {"injury-date": day(3)}
        absent = ["blue-toes", "cold-foot", "loud-crack", "bad-kidney", *chart.pop("absent", ())]
        return {a.ask: a.short for a in engine.assess(**chart, absent=absent, numbers=numbers, dates=dates).ask}

    assert asked(present=[ANKLE])["Swelling, slow start?"] == "Swollen, slow?"
    assert asked(present=[ANKLE, "swelling"])["Swelling, slow start?"] == ""


def test_of_a_question_that_is_asked_first_the_finding_is_named_that_is_recorded_in_two_ways() -> None:
    first = replace(toy().questions[0], findings=("swelling", "loud-crack"))
    engine = Engine(replace(toy(), questions=(first, *toy().questions[1:])))
    asked = engine.assess(present=[ANKLE, "loud-crack"], absent=["loud-crack"]).ask[0]
    assert (asked.finding, asked.ask, asked.because) == ("loud-crack", "Was there a crack?", "both are recorded")


def test_a_question_is_asked_only_of_whom_it_is_meant_for(engine: Engine) -> None:
    chart: dict[str, Any] = {
        "present": [ANKLE, "swelling"],
        "absent": ["blue-toes", "cold-foot", "loud-crack", "slow-start", "drawer-test", "tilt-test"],
        "numbers": {"pain-severity": 8},
        "dates": {"injury-date": day(3)},
    }
    assert [asked.finding for asked in engine.assess(**chart).ask] == ["bad-kidney"]
    assert engine.assess(**chart, age=17).ask == ()


def test_what_is_asked_of_some_only_is_not_unknown_to_others() -> None:
    engine = Engine(rewritten("tr9-half-pill", "any of (bad-liver, loud-crack, bad-kidney)"))

    def unknown(age: int | None) -> tuple[str, ...]:
        unknown: tuple[str, ...] = found(engine.assess(present=[ANKLE, "bad-liver"], age=age), "tr9-half-pill").unknown
        return unknown

    assert unknown(18) == ("bad-kidney", "loud-crack")
    assert unknown(None) == ("bad-kidney", "loud-crack")
    assert unknown(17) == ("loud-crack",)


def test_an_answer_that_is_not_plausible_is_asked_for_later() -> None:
    def asked(*priors: tuple[int, str]) -> list[str]:
        written = tuple((percent, parse(when, {})) for percent, when in priors)
        questions = [replace(q, priors=written) if "blue-toes" in q.findings else q for q in toy().questions]
        assessment = Engine(replace(toy(), questions=tuple(questions))).assess(present=[ANKLE, "swelling"])
        return [each.finding for each in assessment.ask]

    assert asked() == ["blue-toes", "loud-crack", "injury-date"]
    assert asked((1, "fever")) == asked()
    assert asked((50, "swelling"), (1, "swelling")) == ["loud-crack", "injury-date", "blue-toes"]


def test_a_warning_that_may_become_critical_is_a_step_of_urgency(engine: Engine) -> None:
    asked = {each.finding: each.changes for each in engine.assess(present=[ANKLE, "fever"]).ask}
    assert asked["cold-foot"][0] == "severity"


def test_a_number_is_tried_once_in_each_stretch_between_its_thresholds(engine: Engine) -> None:
    def tried(finding: str, when: str = "bad-liver") -> list[float]:
        of = Engine(rewritten("tr9-half-pill", when)).assessor.questions
        return [value.low for value in of.tries[finding] if isinstance(value, Interval) and value.low == value.high]

    assert tried("pain-severity") == [6, 7]
    assert tried("age") == [17, 18]
    assert tried("injury-date") == [10, 11, 42]
    # A plain number where the stretch has one.
    assert tried("pain-severity", "pain-severity >= half")[:2] == [2, 2.5]
    *below, above, severe = tried("pain-severity", "pain-severity >= half and pain-severity <= n4")
    assert below == [2, 2.5]
    assert (4 < above < 4.1, severe) == (True, 7)
    assert tried("injury-date", "days-since-injury < n3") == [2, 3, 11, 42]
    assert engine.assessor.questions.tries["swelling"] == (False, True)


def test_of_questions_that_are_worth_as_much_the_cheaper_comes_first() -> None:
    def asked(cost: str) -> list[str]:
        tests = [
            replace(toy().questions[3], findings=(finding,), together=False) for finding in ("drawer-test", "tilt-test")
        ]
        questions = (replace(tests[0], cost=cost), replace(tests[1], cost="history"))
        engine = Engine(replace(toy(), questions=questions))
        return [each.finding for each in engine.assess(present=[ANKLE, "squeeze-test"]).ask]

    assert asked("history") == ["drawer-test", "tilt-test"]
    assert asked("lab") == ["tilt-test", "drawer-test"]


def test_what_no_condition_reads_may_be_asked_and_changes_nothing() -> None:
    extra = replace(toy().questions[2], findings=("metal-plate", "both-feet-affected"), together=False)
    engine = Engine(replace(toy(), questions=(*toy().questions, extra)))
    chart = {"present": [ANKLE, "swelling"]}
    assert "metal-plate" not in [each.finding for each in engine.assess(**chart).ask]
    decision = engine.assess(**chart, absent=["both-feet-affected, 2 days ago"]).decision
    assert decision is not None
    assert "both-feet-affected" not in decision.charts.open


def test_findings_that_are_asked_together_are_tried_together() -> None:
    # Without the question about both at once, neither answer alone makes two positive tests of three.
    engine = Engine()
    chart: dict[str, Any] = {
        "present": [ANKLE, "swelling"],
        "absent": ["blue-toes", "cold-foot", "loud-crack", "slow-start", "bad-kidney", "squeeze-test"],
        "numbers": {"pain-severity": 8},
        "dates": {"injury-date": day(3)},
    }
    assert [(a.finding, a.changes) for a in engine.assess(**chart).ask] == [
        ("drawer-test", ("imaging", "leader", "treatment"))
    ]
    apart = tuple(replace(question, together=False) for question in toy().questions)
    alone = Engine(replace(toy(), questions=apart)).assess(**chart).ask
    assert [(a.finding, a.changes) for a in alone] == [("drawer-test", ("leader", "treatment"))]


def test_ratings_that_were_found_are_not_those_of_other_facts_or_red_flags(engine: Engine) -> None:
    flags = [*toy().engine.red_flags]

    def ratings(decision: Decision, of: list[str]) -> list[tuple[int, int, int]]:
        return decision.ratings(of, radiograph_at_hand=False)

    def decision() -> Decision:
        return decided(engine, present=[ANKLE, "loud-crack"])

    asked = decision()
    assert ratings(asked, flags) != ratings(asked, [])
    assert ratings(asked, []) == ratings(decision(), [])
    raised = {"flag-blue-foot": True}
    assert ratings(asked.judged(raised), flags) == ratings(decision().judged(raised), flags) != ratings(asked, flags)


def test_what_was_asked_about_already_is_not_asked_again_and_the_next_best_is(engine: Engine) -> None:
    questions, decision = engine.assessor.questions, decided(engine, present=[ANKLE, "swelling"])
    before = [asked.finding for asked in questions.ask(decision)]
    after = [asked.finding for asked in questions.ask(decision, {"blue-toes", "loud-crack"})]
    assert before == ["blue-toes", "loud-crack", "injury-date"]
    assert after[0] == "injury-date"
    assert not {"blue-toes", "loud-crack"} & {*after}


@pytest.mark.parametrize(
    ("unsaid", "asked"),
    [
        (
            "rf1-blue-foot",
            [
                ("loud-crack", ("severity", "imaging", "leader", "treatment")),
                ("injury-date", ("severity", "referrals", "treatment")),
                ("blue-toes", ("severity", "leader")),
            ],
        ),
        (
            "rf3-crack",
            [
                ("blue-toes", ("severity", "referrals", "leader")),
                ("injury-date", ("severity", "referrals", "treatment")),
                ("slow-start", ("imaging", "leader", "treatment")),
            ],
        ),
        (
            "tr10-exercise",
            [
                ("blue-toes", ("severity", "referrals", "leader")),
                ("loud-crack", ("severity", "imaging", "leader", "treatment")),
                ("pain-severity", ("severity", "referrals")),
            ],
        ),
    ],
)
def test_what_a_recommendation_would_say_is_no_reason_to_ask_where_it_is_unsaid(
    engine: Engine, unsaid: str, asked: list[tuple[str, tuple[str, ...]]]
) -> None:
    questions, decision = engine.assessor.questions, decided(engine, present=[ANKLE])
    assert [(each.finding, each.changes) for each in questions.ask(decision, (), {unsaid})] == asked


def test_a_question_has_its_words_and_why_it_is_asked(engine: Engine) -> None:
    first = engine.assess(present=[ANKLE]).ask[0]
    assert (first.ask, first.because, first.short) == ("Look at the toes", "an emergency", "")


@pytest.mark.parametrize(
    ("unsaid", "changes"),
    [
        (
            (),
            {
                "check": ({("broken-on-mri", True), ("cold-foot", True)}, {("loud-crack", True), ("blue-toes", True)}),
                "care": (set(), {("blue-toes", True)}),
            },
        ),
        (
            ("rf1-blue-foot",),
            {
                "check": ({("broken-on-mri", True), ("cold-foot", True)}, {("loud-crack", True)}),
                "care": (set(), set()),
            },
        ),
        (
            ("rf3-crack",),
            {
                "check": ({("broken-on-mri", True), ("cold-foot", True)}, {("blue-toes", True)}),
                "care": (set(), {("blue-toes", True)}),
            },
        ),
        (("cl1-no-imaging",), {"care": (set(), {("blue-toes", True)})}),
        (
            ("tr7-pill",),
            {"check": ({("broken-on-mri", True), ("cold-foot", True)}, {("loud-crack", True), ("blue-toes", True)})},
        ),
    ],
)
def test_what_is_unsaid_raises_no_card_and_a_card_on_which_it_would_stand_tells_nothing(
    engine: Engine,
    unsaid: tuple[str, ...],
    changes: dict[str, tuple[set[tuple[str, bool]], set[tuple[str, bool]]]],
) -> None:
    assessment = engine.assess(present=[ANKLE])
    told = engine.assessor.would_change(assessment, unsaid)
    assert {each.topic: ({*each.removed_by}, {*each.raised_by}) for each in told} == changes


def test_of_what_is_recorded_in_two_ways_nothing_is_asked_twice(engine: Engine) -> None:
    decision = decided(engine, present=[ANKLE, "loud-crack", "swelling"], absent=["loud-crack"])
    questions = engine.assessor.questions
    assert questions.ask(decision)[0].ask == "Was there a crack?"
    assert "loud-crack" not in [asked.finding for asked in questions.ask(decision, {"loud-crack"})]


def test_enough_is_known_when_no_answer_left_changes_urgency_imaging_or_referral(engine: Engine) -> None:
    questions = engine.assessor.questions
    nothing_known = decided(engine, present=[ANKLE, "swelling"])
    assert questions.can_change(nothing_known) >= DECIDING
    decisive = {"blue-toes", "loud-crack", "injury-date", "pain-severity", "broken-on-mri", "cold-foot"}
    asked = decisive | {"drawer-test", "tilt-test"}
    assert questions.can_change(nothing_known, asked) == {"imaging", "leader", "treatment"}
    assert questions.can_change(nothing_known, asked | {"slow-start"}) == {"treatment"}
    assert not questions.can_change(nothing_known, {*toy().findings})
    # What a recommendation would call for is not called for where it is unsaid.
    assert questions.can_change(nothing_known, asked, {"pl2-laxity"}) == {"leader", "treatment"}


def test_enough_is_not_known_while_a_red_flag_is_recorded_in_two_ways(engine: Engine) -> None:
    decision = decided(engine, present=[ANKLE, "loud-crack", "swelling"], absent=["loud-crack"])
    others = {*toy().findings} - {"loud-crack"}
    assert engine.assessor.questions.can_change(decision, others) >= DECIDING
    assert not engine.assessor.questions.can_change(decision, {*toy().findings})


def test_it_is_told_which_single_answers_would_take_a_card_away_or_make_it_graver(engine: Engine) -> None:
    def changes(**chart: Any) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
        told = engine.assessor.would_change(engine.assess(**chart))
        return {each.topic: (dict(each.removed_by), dict(each.raised_by)) for each in told}

    assert changes(present=[ANKLE, "swelling"]) == {
        "check": ({"broken-on-mri": True, "cold-foot": True}, {"loud-crack": True, "blue-toes": True}),
        "care": ({}, {"blue-toes": True}),
        # What another recommendation leaves out goes, and so does how to take care with what is not offered.
        "home": ({"cold-foot": True}, {"blue-toes": True}),
    }
    assert changes(present=[ANKLE, "bad-liver"])["pill"] == ({"bad-kidney": True}, {"blue-toes": True})
    # A card that stays beside a more urgent one is not raised; and nothing raises the most urgent one.
    assert changes(present=[ANKLE, "loud-crack"])["soon"] == ({}, {})
    assert changes(present=[ANKLE, "blue-toes"]) == {"now": ({}, {})}
    assert changes(present=[ANKLE, "fever"])["soon"] == ({}, {"cold-foot": True})
    # It is raised also where something else stays on it.
    both = changes(present=[ANKLE, "fever"], numbers={"pain-severity": 9})
    assert both["soon"] == ({}, {"cold-foot": True})
    # Of a card that waits for the evaluation nothing is told.
    assert changes(present=[ANKLE, "blue-toes", "bad-kidney"]) == {"now": ({}, {})}
    # What is known is no answer.
    assert "loud-crack" not in changes(present=[ANKLE], absent=["loud-crack"])["check"][1]


CHARTS: tuple[dict[str, Any], ...] = (
    {"present": [ANKLE]},
    {"present": [ANKLE, "swelling", "loud-crack", "numb-foot"], "numbers": {"pain-severity": 3}},
    {"present": [ANKLE, "slow-start", "drawer-test"], "absent": ["loud-crack"], "age": None},
    {"present": [ANKLE, "fever", "metal-plate, right"], "dates": {"injury-date": "2026-10"}},
    {"present": [ANKLE, "ankle-pain, right", "swelling", "slow-start, right", "bony-tenderness, no side"]},
    {"present": [ANKLE, "cold-foot, right", "loud-crack"], "absent": ["loud-crack", "tilt-test, right"], "age": 17},
    # Recorded in two ways on each side only together with what has none.
    {
        "present": [ANKLE, "ankle-pain, right", "slow-start, 2 days ago", "slow-start, right, 2 days ago"],
        "absent": ["slow-start, no side, 2 days ago"],
    },
    {"present": [ANKLE, "cold-foot, 2 days ago"], "absent": ["cold-foot, 2 days ago"]},
    {
        "present": [ANKLE, "ankle-pain, right", "cold-foot, 2 days ago", "numb-foot, right"],
        "absent": ["cold-foot, no side, 2 days ago"],
    },
    # An answer takes points away that the chart has.
    {"present": [ANKLE, "bony-tenderness"], "absent": ["swelling", "tilt-test"]},
    {"present": [ANKLE, "ankle-pain, right", "bony-tenderness, right", "slow-start"]},
)


def with_answers(chart: Mapping[str, Any], values: Mapping[str, Value], sides: Iterable[str]) -> dict[str, Any]:
    """The chart on which these are also stated, of each of these sides."""
    more: dict[str, Any] = {"present": [], "absent": [], "numbers": {}, "dates": {}, **chart}
    for name, value in values.items():
        if isinstance(value, Interval) and name == "age":
            more["age"] = int(value.low)
        elif isinstance(value, Interval) and toy().findings[name].value == "date":
            more["dates"] = {**more["dates"], f"{name}, no side": day(int(value.low))}
        elif isinstance(value, Interval):
            more["numbers"] = {**more["numbers"], **{f"{name}{side}": value.low for side in sides}}
        else:
            state = "present" if value else "absent"
            more[state] = [*more[state], *(f"{name}{side}" for side in sides)]
    return more


def decided_of(decision: Decision, variant: int) -> dict[str, list[int]]:
    """All that is decided of one variant of a patient, chart by chart."""
    charts = range(variant * decision.charts.layout.charts, (variant + 1) * decision.charts.layout.charts)
    found = {f"{cause} leads": [bits >> chart & 1 for chart in charts] for cause, bits in decision.leads.items()}
    for name in ("waits", "insufficient", "unranked"):
        found[name] = [getattr(decision, name) >> charts[0] & 1]
    for recommendation in toy().recommendations:
        if recommendation.kind in CHART_KINDS:
            compiled = decision.kernel.recommendations[recommendation.id]
            for number, place in enumerate((compiled.fires, compiled.critical, *compiled.imaging, *compiled.referrals)):
                found[f"{recommendation.id} {number}"] = [decision.values[place] >> chart & 1 for chart in charts]
    return found


@pytest.mark.parametrize("chart", CHARTS)
def test_every_answer_is_decided_as_the_chart_that_has_it_would_be(engine: Engine, chart: dict[str, Any]) -> None:
    questions, decision = engine.assessor.questions, engine.assess(**chart).decision
    assert decision is not None
    charts = decision.charts
    sides = ["", ", right"] if charts.layout.charts > 1 else [", right" if charts.charts[0].side == "right" else ""]
    compared = 0
    for number, answer in enumerate(questions.answers, start=1):
        values = {name: value for name, value in answer.values.items() if questions.read_as[name] in charts.open}
        if values:
            whole = engine.assess(**with_answers(chart, values, sides)).decision
            assert whole is not None
            assert decided_of(decision, number) == decided_of(whole, 0), values
            compared += 1
    assert compared > 8


STEPS = {indicator: step for step, indicator in enumerate(reversed(INDICATORS), start=1)}


def outcome_of(assessment: Assessment) -> dict[str, Any]:
    """What of an assessment an answer can change, by the terms of questions.toml."""
    by = [(each.indicator, each.recommendation.red_flag) for each in assessment.all_fired]
    ranked = ["waits"] if assessment.ranking_waits else leaders(assessment)
    return {
        "severity": max((STEPS[indicator] for indicator, _flag in by), default=0),
        "flags": {flag.id for indicator, flag in by if flag and indicator == "critical"},
        "imaging": {call.key for call in assessment.imaging if call.modality != "none-now"},
        "referrals": {call.to for call in assessment.referrals},
        "leader": ranked if any(ranked) else [],
        "treatment": treatment(assessment),
    }


def gained(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, int]:
    """The terms in which two outcomes differ, with their points."""
    points = {term: of.points for term, of in toy().question_terms.items()}
    found = {
        term: points[term] for term in ("imaging", "referrals", "leader", "treatment") if before[term] != after[term]
    }
    critical = STEPS["critical"] in (before["severity"], after["severity"])
    if critical:
        found.pop("treatment", None)
    steps = abs(before["severity"] - after["severity"])
    if before["severity"] == after["severity"] == STEPS["critical"]:
        steps = int(before["flags"] != after["flags"])
    return {"severity": points["severity"] * steps, **found} if steps else found


@pytest.mark.parametrize(
    "chart",
    [
        *CHARTS,
        {"present": [ANKLE], "age": None},
        {"present": [ANKLE, "fever"]},
        # An emergency that leaves the ranking: another one is a step as well, and treatment is none.
        {"present": [ANKLE, "fever", "cold-foot"]},
        {"present": [ANKLE, "swelling"], "absent": ["blue-toes", "loud-crack"], "numbers": {"pain-severity": 8}},
    ],
)
def test_what_is_asked_is_what_whole_assessments_of_every_answer_would_change_most(
    engine: Engine, chart: dict[str, Any]
) -> None:
    assessment, questions = engine.assess(**chart), engine.assessor.questions
    decision = assessment.decision
    assert decision is not None
    sides = ["", ", right"] if decision.charts.layout.charts > 1 else [""]
    first = [each for each in assessment.ask if each.ask == "Was there a crack?"]
    closed = {each.finding for each in first}
    before, best = outcome_of(assessment), dict[int, tuple[int, str, tuple[str, ...]]]()
    for answer in questions.answers:
        question = toy().questions[answer.question]
        values = {
            n: v for n, v in answer.values.items() if questions.read_as[n] in decision.charts.open and n not in closed
        }
        due = question.when is None or (40 if chart.get("age", 40) is None else chart.get("age", 40)) >= 18
        if len(values) < len(answer.values) or not due:
            continue
        gains = gained(before, outcome_of(engine.assess(**with_answers(chart, values, sides))))
        if sum(gains.values()) > best.get(answer.question, (0,))[0]:
            finding = next(name for name in question.findings if name in values)
            terms = tuple(sorted(gains, key=lambda term: -gains[term]))
            best[answer.question] = (sum(gains.values()), finding, terms)
    in_turn = sorted(best, key=lambda n: (-best[n][0], COSTS.index(toy().questions[n].cost), n))
    # In an emergency nothing is asked.
    expected = [] if assessment.ranking_waits else [best[number][1:] for number in in_turn][: 3 - len(first)]
    assert [(each.finding, each.changes) for each in assessment.ask[len(first) :]] == expected


# ---------------------------------------------------------------------------------------------------------------------
# What a verdict stands on, and what it waits for

Listed = list[tuple[str, str, str]]
TENDER_ON_BOTH: dict[str, Any] = {
    "present": [ANKLE, "ankle-pain, right", "squeeze-test", "drawer-test", "drawer-test, right", "tilt-test, right"]
}


@pytest.mark.parametrize(
    ("chart", "id_", "says"),
    [
        pytest.param(
            {"present": [ANKLE], "numbers": {"pain-severity": 9}, "dates": {"injury-date": day(1)}},
            "pl3-severe",
            (
                True,
                [("pain-severity", "left", "9")],
                (),
            ),
            id="yes by the part that is so, not by the part that is not",
        ),
        pytest.param(
            {"present": [ANKLE], "numbers": {"pain-severity": 1}, "dates": {"injury-date": day(1)}},
            "pl3-severe",
            (
                False,
                [("pain-severity", "left", "1"), ("injury-date", "left", day(1))],
                (),
            ),
            id="no by all of its parts",
        ),
        pytest.param(
            {"present": [ANKLE], "absent": ["loud-crack"]},
            "rf3-crack",
            (
                False,
                [("loud-crack", "left", "absent")],
                (),
            ),
            id="no by what is absent",
        ),
        pytest.param(
            {"present": [ANKLE], "numbers": {"pain-severity": 1}},
            "pl3-severe",
            (
                None,
                [("pain-severity", "left", "1")],
                ("injury-date",),
            ),
            id="undecided: what of it is known, and what it waits for",
        ),
        pytest.param(
            {"present": [ANKLE, "drawer-test"]},
            "pl2-laxity",
            (
                None,
                [],
                ("toy-tests-positive",),
            ),
            id="undecided by a criterion: what that waits for, and nothing that it would stand on",
        ),
        pytest.param(
            {"present": [ANKLE, "loud-crack"], "absent": ["loud-crack"]},
            "rf3-crack",
            (
                None,
                [],
                ("loud-crack",),
            ),
            id="undecided by what is recorded in two ways",
        ),
        pytest.param(
            {
                "present": [ANKLE, "ankle-pain, right"],
                "numbers": {"pain-severity": 1},
                "dates": {"injury-date, right": day(1)},
            },
            "pl3-severe",
            (
                None,
                [("pain-severity", "left", "1"), ("injury-date", "right", day(1))],
                ("injury-date", "pain-severity"),
            ),
            id="undecided on both sides: what each waits for",
        ),
        pytest.param(
            TENDER_ON_BOTH,
            "pl2-laxity",
            (
                True,
                [
                    ("squeeze-test", "left", "present"),
                    ("drawer-test", "left", "present"),
                    ("drawer-test", "right", "present"),
                    ("tilt-test", "right", "present"),
                ],
                ("tilt-test", "squeeze-test"),
            ),
            id="yes on both sides: what each stands on and lacks",
        ),
    ],
)
def test_a_verdict_says_what_it_stands_on_and_what_is_unknown(
    engine: Engine, chart: dict[str, Any], id_: str, says: tuple[bool | None, Listed, tuple[str, ...]]
) -> None:
    [verdict] = [
        each
        for each in engine.assessor.verdicts(engine.assess(**chart), "red-flag", "plan", "closing")
        if each.recommendation.id == id_
    ]
    evidence = [(item.finding, item.side, item.state) for item in verdict.evidence]
    assert (verdict.is_true, evidence, verdict.unknown) == says


def test_what_was_asked_without_an_answer_is_not_listed_beside_the_answer_of_the_other_side(engine: Engine) -> None:
    assessment = engine.assess(
        present=[ANKLE, "ankle-pain, right"],
        asked=["cold-foot", "numb-foot, right"],
        absent=["cold-foot, right", "numb-foot"],
    )
    evidence = found(assessment, "cl1-no-imaging").evidence
    assert [(item.finding, item.side, item.state) for item in evidence] == [
        ("numb-foot", "left", "absent"),
        ("cold-foot", "right", "absent"),
    ]


@pytest.mark.parametrize(
    ("id_", "fact", "value", "state"),
    [
        ("io2-other-side", "order-is-for-the-other-side", True, "present"),
        ("io3-usually-not", "order-rating", "usually-not", "usually-not"),
        ("io5-done", "days-since-the-same-imaging", Interval(3, 3), "3"),
        ("io5-done", "days-since-the-same-imaging", Interval(3, 5), "3 to 5"),
        ("io5-done", "days-since-the-same-imaging", Interval(-inf, 5), "up to 5"),
    ],
)
def test_what_is_known_of_a_draft_is_evidence_of_no_resource(
    engine: Engine, id_: str, fact: str, value: Value, state: str
) -> None:
    fired = engine.assessor.judge(engine.assess(present=[ANKLE]), "imaging-order", {fact: value}).fired
    [evidence] = [each.evidence for each in fired if each.recommendation.id == id_]
    assert [(item.finding, item.state, item.side, item.date, item.resource) for item in evidence] == [
        (fact, state, "", "", "")
    ]


def test_the_age_is_evidence_of_the_patient(engine: Engine) -> None:
    evidence = found(engine.assess(present=[ANKLE], age=40), "tr7-pill").evidence
    assert [(item.finding, item.state, item.resource) for item in evidence][-1] == ("age", "40", "Patient")


def test_what_fired_is_the_same_where_the_chart_is_the_same_and_nothing_else_is(engine: Engine) -> None:
    def held(severity: float) -> Any:
        return found(engine.assess(present=[ANKLE], numbers={"pain-severity": severity}), "pl3-severe")

    assert held(9) == held(9)
    assert held(9) != held(8)
    assert held(9) != held(9).evidence


# ---------------------------------------------------------------------------------------------------------------------
# What is judged beside the chart


def test_judging_leaves_the_assessment_as_it_was(engine: Engine) -> None:
    assessment = engine.assess(present=[ANKLE, "swelling"])
    assert assessment.decision is not None
    before = tuple(assessment.decision.values)
    judge = engine.assessor.judge
    assert [f.recommendation.id for f in judge(assessment, "imaging-order", {"order-rating": "usually-not"}).fired] == [
        "io3-usually-not"
    ]
    facts = {"order-rating": "appropriate"}
    judged = judge(assessment, "imaging-order", facts)
    assert (judged.assessment, judged.kind, judged.facts, judged.fired) == (assessment, "imaging-order", facts, ())
    assert tuple(assessment.decision.values) == before


def test_of_what_is_not_known_of_a_draft_nobody_can_tell(engine: Engine) -> None:
    assessment = engine.assess(present=[ANKLE, "swelling"])

    def told(rating: str | None) -> bool | None:
        verdicts = engine.assessor.verdicts(assessment, "imaging-order", facts={"order-rating": rating})
        return next(each.is_true for each in verdicts if each.recommendation.id == "io3-usually-not")

    assert [told(rating) for rating in ("usually-not", "appropriate", None)] == [True, False, None]


def test_of_what_is_judged_the_gravest_comes_first(engine: Engine) -> None:
    assessment = engine.assess(present=[ANKLE, "swelling"])
    facts = {"order-repeats-another-order": True, "radiograph-comes-first": True}
    judged = engine.assessor.judge(assessment, "imaging-order", facts).fired
    assert [each.indicator for each in judged] == ["warning", "info"]


def test_a_rating_reads_the_red_flags_and_whether_there_is_a_radiograph(engine: Engine) -> None:
    def rated(supposed: str = "", *, at_hand: bool = False, **chart: Any) -> list[tuple[str, str, str]]:
        holding = presentations(toy(), engine.assess(**chart), at_hand, supposed)
        return [(presentation.id, rating.modality, rating.rating) for presentation, rating in holding]

    crack: dict[str, Any] = {"present": [ANKLE, "loud-crack"]}
    assert rated(**crack) == [("TOY-A", "radiograph", "appropriate"), ("TOY-A", "mri", "usually-not")]
    assert rated(at_hand=True, **crack) == [("TOY-B", "mri", "appropriate")]
    tender: dict[str, Any] = {"present": [ANKLE, "loud-crack", "bony-tenderness"]}
    assert rated(at_hand=True, **tender)[1:] == [("TOY-B", "ct", "may-be-appropriate")]
    # Who wants no radiograph waits for none.
    assert rated(present=[ANKLE, "loud-crack", "wish-of-no-radiograph"]) == [("TOY-B", "mri", "appropriate")]
    assert rated(present=[ANKLE, "swelling"]) == []
    assert rated("crack", present=[ANKLE, "swelling"]) == rated(**crack)


def test_a_red_flag_that_nothing_raises_is_not_raised() -> None:
    without = tuple(r for r in toy().recommendations if r.id not in ("rf1-blue-foot", "rf3-crack"))
    knowledge = replace(toy(), recommendations=without)
    assessment = Engine(knowledge).assess(present=[ANKLE, "loud-crack", "slow-start", "cold-foot"])
    holding = presentations(knowledge, assessment, radiograph_at_hand=False)
    assert [presentation.id for presentation, _rating in holding] == ["TOY-C", "TOY-C"]


def drafted(engine: Engine, *drafts: dict[str, Any], **chart: Any) -> tuple[list[str], list[dict[str, Any]]]:
    """What is said of draft orders, and how each is judged."""
    answered = engine.answered(IMAGING_REFERRAL, drafts=drafts, **chart)
    return list(answered.recommendations()), [dict(each) for each in answered.extension["orders"]]


CRACK = {"present": [ANKLE, "loud-crack"]}


def test_a_radiograph_comes_before_the_mri_that_waits_for_it(engine: Engine) -> None:
    said, [judged] = drafted(engine, order("mri-ankle", "left"), **CRACK)
    assert "io4-radiograph-first" in said
    assert judged["rating"] == "usually-not"
    said, judgements = drafted(engine, order("mri-ankle", "left"), order("radiograph-ankle", "left"), **CRACK)
    assert "io4-radiograph-first" not in said
    assert {each["modality"]: each["rating"] for each in judgements} == {
        "mri": "appropriate",
        "radiograph": "appropriate",
    }


@pytest.mark.parametrize(("injured", "counts"), [(60, True), (30, True), (29, False), (5, False)])
def test_a_radiograph_from_before_the_injury_does_not_show_it(engine: Engine, injured: int, counts: bool) -> None:
    said, [judged] = drafted(
        engine,
        order("mri-ankle", "left"),
        orders=[done("radiograph-ankle", 30)],
        dates={"injury-date": day(injured)},
        present=[ANKLE, f"loud-crack, {injured} days ago"],
    )
    assert ("io4-radiograph-first" not in said) is counts
    assert judged["rating"] == ("appropriate" if counts else "usually-not")


@pytest.mark.parametrize(
    ("done_ago", "crack_ago", "repeats"), [(20, 40, True), (20, 5, False), (91, 120, False), (90, 120, True)]
)
def test_imaging_counts_as_done_while_nothing_urgent_is_documented_since(
    engine: Engine, done_ago: int, crack_ago: int, repeats: bool
) -> None:
    said, _judged = drafted(
        engine,
        order("radiograph-ankle", "left"),
        orders=[done("radiograph-ankle", done_ago)],
        present=[f"{ANKLE}, {crack_ago} days ago", f"loud-crack, {crack_ago} days ago"],
    )
    assert ("io5-done" in said) is repeats


def test_the_other_side_is_no_repetition_and_is_told(engine: Engine) -> None:
    said, [judged] = drafted(engine, order("radiograph-ankle", "right"), **CRACK)
    assert "io2-other-side" in said
    assert judged["side"] == "right"
    said, _judged = drafted(engine, order("radiograph-ankle", "left"), **CRACK)
    assert "io2-other-side" not in said
    said, _judged = drafted(
        engine, order("radiograph-ankle", "left"), orders=[done("radiograph-ankle", 3, "right")], **CRACK
    )
    assert "io5-done" not in said


ON_BOTH = [ANKLE, f"{ANKLE}, right"]
LONG_AGO = {
    "present": [f"{ANKLE}, 40 days ago", "loud-crack, 40 days ago"],
    "orders": [done("radiograph-ankle", 20)],
}


def test_it_is_told_which_single_answers_would_change_the_card_of_a_draft(engine: Engine) -> None:
    def changes(*drafts: dict[str, Any], **chart: Any) -> list[dict[str, Any]]:
        told = engine.answered(IMAGING_REFERRAL, drafts=drafts, **chart).extension.get("wouldChange", ())
        return [{name: value for name, value in each.items() if name != "topic"} for each in told]

    radiograph, mri = order("radiograph-ankle", "left"), order("mri-ankle", "left")
    # A later injury, and severe pain of today, are not on the radiograph that was done.
    days = [{"finding": "pain-severity", "as": 7.0}, *({"finding": "injury-date", "as": days} for days in (11.0, 10.0))]
    draft = {"about": "ServiceRequest/draft1"}
    assert changes(radiograph, **LONG_AGO) == [
        draft | {"removedBy": {"numbers": days}, "raisedBy": {"present": ["blue-toes"]}}
    ]
    # Imaging that was called for with everything else, which waits for an emergency.
    assert changes(mri, present=[ANKLE, "bony-tenderness", "dull-pain"]) == [
        draft | {"removedBy": {"present": ["blue-toes"]}}
    ]
    assert changes(mri, mri, present=[ANKLE, "fever"]) == [
        {"about": "ServiceRequest/draft2", "raisedBy": {"present": ["loud-crack"]}}
    ]
    assert changes(mri, **CRACK) == [draft | {"noSingleAnswer": True}]
    assert changes(mri, present=["loud-crack"]) == []


@pytest.mark.parametrize(
    "chart",
    [
        LONG_AGO,
        {"present": [ANKLE, "bony-tenderness"], "asked": ["fever", "loud-crack"]},
        {"present": [*ON_BOTH, "loud-crack"]},
        {"present": [*ON_BOTH, "slow-start", "loud-crack, right, 2 days ago"], "absent": ["loud-crack, 2 days ago"]},
        {"present": [ANKLE, "slow-start", "broken-on-mri, 8 days ago"], "numbers": {"pain-severity": 3}},
        {"present": [ANKLE, "numb-foot", "dull-pain"], "age": 17},
    ],
    ids=["long-ago", "asked", "both-sides", "both-ways", "shown", "child"],
)
def test_answers_that_are_alike_change_each_by_itself_the_same(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, chart: dict[str, Any]
) -> None:
    drafts = [order("mri-ankle", "left"), order("radiograph-ankle", "right"), order("mri-ankle", "left")]

    def told() -> list[Any]:
        return list(engine.answered(IMAGING_REFERRAL, drafts=drafts, **chart).extension["wouldChange"])

    def each_by_itself(of: Questions, decision: Decision, _read: object, _apart: object) -> list[int]:
        return [1 << variant for variant in ones(of._answered_alone(decision))]

    together = told()
    monkeypatch.setattr(Questions, "alike", each_by_itself)
    assert together == told()


def test_with_pain_on_both_sides_an_order_is_for_the_side_of_what_calls_for_it(engine: Engine) -> None:
    cracked = {"present": [*ON_BOTH, "loud-crack"]}
    for side, said in (("left", []), ("right", ["io2-other-side"]), ("", [])):
        assert drafted(engine, order("radiograph-ankle", side), **cracked)[0] == said
    # Each by what calls for it, where something else is called for on the other side.
    loose = {"present": [*ON_BOTH, "loud-crack", "drawer-test, right", "tilt-test, right"]}
    for side in ("left", "right"):
        said, _judged = drafted(engine, order("ultrasound-ankle", side), **loose)
        assert ("io2-other-side" in said) is (side == "left")
    # What nothing calls for is compared with the pain, which is on both, or on one.
    assert "io2-other-side" not in drafted(engine, order("mri-knee", "right"), **cracked)[0]
    assert "io2-other-side" in drafted(engine, order("mri-knee", "right"), **CRACK)[0]


def test_what_both_sides_call_for_takes_an_order_for_each(engine: Engine) -> None:
    cracked = {"present": [*ON_BOTH, "loud-crack", "loud-crack, right"]}
    left, right = (order("radiograph-ankle", side) for side in ("left", "right"))
    assert "io1-missing" in drafted(engine, left, **cracked)[0]
    assert "io1-missing" in drafted(engine, right, **cracked)[0]
    for enough in ([left, right], [order("radiograph-ankle")]):
        assert drafted(engine, *enough, **cracked)[0] == []
    assert drafted(engine, left, orders=[done("radiograph-ankle", 0, "right")], **cracked)[0] == []


def test_what_has_no_side_by_its_nature_calls_for_both_where_both_hurt(engine: Engine) -> None:
    fever = {"present": [*ON_BOTH, "fever"]}
    left = order("mri-ankle", "left")
    assert "io1-missing" in drafted(engine, left, **fever)[0]
    assert drafted(engine, left, order("mri-ankle", "right"), **fever)[0] == []
    # What is called for on the one side, its alternative on the other.
    assert drafted(engine, left, order("ultrasound-ankle", "right"), **fever)[0] == []
    assert "io2-other-side" in drafted(engine, order("ultrasound-ankle", "right"), present=[ANKLE, "fever"])[0]
    # Also where something else calls for it on one side.
    tender = {"present": [*ON_BOTH, "fever", "loud-crack", "bony-tenderness"]}
    shown = [done("radiograph-ankle", 0, side) for side in ("left", "right")]
    assert "io1-missing" in drafted(engine, left, orders=shown, **tender)[0]
    assert drafted(engine, left, order("mri-ankle", "right"), orders=shown, **tender)[0] == []


@pytest.mark.parametrize("side", ["left", "right", ""])
def test_an_order_whose_words_have_no_side_is_for_both_whichever_it_names(engine: Engine, side: str) -> None:
    blue = {"present": [*ON_BOTH, "blue-toes", "blue-toes, right"]}
    mri = order("mri-ankle", "left")
    assert "io1-missing" in drafted(engine, mri, **blue)[0]
    assert "io1-missing" not in drafted(engine, mri, order("referral-emergency", side), **blue)[0]


@pytest.mark.parametrize("side", ["left", "right", ""])
def test_where_no_side_is_known_an_order_for_any_will_do(engine: Engine, side: str) -> None:
    nowhere = {"present": [f"{ANKLE}, no side", "loud-crack, no side"]}
    said, [judged] = drafted(engine, order("radiograph-ankle", side), **nowhere)
    assert (said, judged["rating"], judged["because"]) == ([], "appropriate", "called-for")


def test_a_radiograph_shows_the_side_of_which_it_is(engine: Engine) -> None:
    mri = order("mri-ankle", "left")
    for pain in ([ANKLE], ON_BOTH):
        tender = {"present": [*pain, "loud-crack", "bony-tenderness"]}
        for side, waits in (("left", False), ("right", True), ("", False)):
            said, [judged] = drafted(engine, mri, orders=[done("radiograph-ankle", 0, side)], **tender)
            assert ("io4-radiograph-first" in said) is waits
            assert judged["rating"] == ("usually-not" if waits else "appropriate")
            # Ordered it will show the same, and of an injury whose day is known as well.
            ordered = [order("radiograph-ankle", side, status="active")]
            assert ("io4-radiograph-first" in drafted(engine, mri, orders=ordered, **tender)[0]) is waits
            injured = {"dates": {"injury-date": day(3)}, "orders": [done("radiograph-ankle", 0, side)]}
            assert ("io4-radiograph-first" in drafted(engine, mri, **injured, **tender)[0]) is waits
    # An MRI without a side is for the side that hurts.
    other_side = [done("radiograph-ankle", 0, "right")]
    assert "io4-radiograph-first" in drafted(engine, order("mri-ankle"), orders=other_side, **CRACK)[0]
    # Of another part it shows nothing of this one, and what is no radiograph nothing at all.
    for other in ("mri-knee", "ct-ankle"):
        assert "io4-radiograph-first" in drafted(engine, mri, orders=[done(other, 0)], **CRACK)[0]


@pytest.mark.parametrize(("ago", "waits"), [(90, False), (91, True)])
def test_a_radiograph_counts_for_its_days_where_nobody_knows_when_it_began(
    engine: Engine, ago: int, waits: bool
) -> None:
    slow = {"present": [f"{ANKLE}, 100 days ago", "loud-crack, 100 days ago"]}
    said, _judged = drafted(engine, order("mri-ankle", "left"), orders=[done("radiograph-ankle", ago)], **slow)
    assert ("io4-radiograph-first" in said) is waits


def test_a_radiograph_that_is_ordered_is_waited_for_no_more(engine: Engine) -> None:
    ordered = [order("radiograph-ankle", "left", status="active")]
    assert "io4-radiograph-first" not in drafted(engine, order("mri-ankle", "left"), orders=ordered, **CRACK)[0]


def test_the_same_order_twice_is_told_once(engine: Engine) -> None:
    said, _judged = drafted(
        engine, order("radiograph-ankle", "left"), orders=[order("radiograph-ankle", "left", status="active")], **CRACK
    )
    assert "io6-ordered" in said
    twice = [order("radiograph-ankle", "left"), order("radiograph-ankle", "left")]
    assert drafted(engine, *twice, **CRACK)[0].count("io6-ordered") == 1


def test_imaging_that_one_rating_finds_as_good_satisfies_the_call(engine: Engine) -> None:
    tender = {"present": [ANKLE, "loud-crack", "bony-tenderness"]}
    after = [done("radiograph-ankle", 0)]
    assert "io1-missing" in drafted(engine, order("ct-ankle", "left"), orders=after, **tender)[0]
    assert "io1-missing" not in drafted(engine, order("mri-foot", "left"), orders=after, **tender)[0]
    other_side = [*after, order("mri-foot", "right", status="active")]
    assert "io1-missing" in drafted(engine, order("ct-ankle", "left"), orders=other_side, **tender)[0]
    # Until there is a radiograph nothing is missing but that.
    assert "io1-missing" not in drafted(engine, order("radiograph-ankle", "left"), **tender)[0]


def test_an_alternative_satisfies_the_call(engine: Engine) -> None:
    fever = {"present": [ANKLE, "fever"]}
    assert "io1-missing" not in drafted(engine, order("ultrasound-ankle", "left"), **fever)[0]
    assert "io1-missing" in drafted(engine, order("ct-ankle", "left"), **fever)[0]


def test_what_an_emergency_calls_for_is_missing_until_it_is_drafted(engine: Engine) -> None:
    emergency = {"present": [ANKLE, "blue-toes"]}
    assert "io1-missing" in drafted(engine, order("mri-ankle", "left"), **emergency)[0]
    assert "io1-missing" not in drafted(engine, order("mri-ankle", "left"), order("referral-emergency"), **emergency)[0]


def test_another_region_is_usually_not_appropriate_and_one_of_nothing_cannot_be_told(engine: Engine) -> None:
    _said, [judged] = drafted(engine, order("mri-knee", "left"), **CRACK)
    assert (judged["rating"], judged["because"]) == ("usually-not", "another-region")
    _said, [judged] = drafted(engine, order("mri-ankle", "left"), present=[ANKLE, "swelling"])
    assert (judged["rating"], judged["because"]) == ("cannot-tell", "not-enough-documented")


def test_of_a_child_no_draft_is_usually_not_appropriate(engine: Engine) -> None:
    slow = {"present": [ANKLE, "slow-start"]}
    _said, [judged] = drafted(engine, order("mri-ankle", "left"), **slow)
    assert judged["rating"] == "usually-not"
    _said, [judged] = drafted(engine, order("mri-ankle", "left"), age=17, **slow)
    assert (judged["rating"], judged["because"]) == ("cannot-tell", "child")


def test_where_a_red_flag_is_unanswered_that_would_call_for_it_nothing_is_told(engine: Engine) -> None:
    _said, [judged] = drafted(engine, order("mri-ankle", "left"), present=[ANKLE, "slow-start"], asked=["fever"])
    assert (judged["rating"], judged["because"]) == ("cannot-tell", "red-flag-unanswered")


def test_a_result_on_the_chart_is_imaging_that_was_done(engine: Engine) -> None:
    said, _judged = drafted(
        engine, order("mri-ankle", "left"), present=[ANKLE, "slow-start", "broken-on-mri, 8 days ago"]
    )
    assert "io5-done" in said
    said, _judged = drafted(
        engine, order("mri-foot", "left"), present=[ANKLE, "slow-start", "broken-on-mri, 8 days ago"]
    )
    assert "io5-done" not in said


NO_FACTS: dict[str, Any] = {
    **dict.fromkeys(ADVICE_FACTS["imaging-order"], False),
    "order-rating": None,
    "days-since-the-same-imaging": None,
}
IN_WORDS = "MRI of the ankle with contrast"


def facts(engine: Engine, *drafts: dict[str, Any], **chart: Any) -> list[dict[str, Any]]:
    """What is known of each draft, and of what is missing beside them, as far as it is more than nothing."""
    judged = [each.facts for each in engine.answered(IMAGING_REFERRAL, drafts=drafts, **chart).judgements]
    assert all(each.keys() == NO_FACTS.keys() for each in judged)
    return [{name: value for name, value in each.items() if value != NO_FACTS[name]} for each in judged]


def coded_as(*keys: str, text: str = "", system: str = ORDER_SYSTEM) -> dict[str, Any]:
    """What an order is of: each of these codes, and words."""
    coding = [{"system": system, "code": key} for key in keys]
    return {"code": {"coding": coding, **({"text": text} if text else {})}}


MRI_FIRST = {"order-rating": "usually-not", "radiograph-comes-first": True, "order-is-an-mri": True}
CT_FIRST = {"order-rating": "cannot-tell", "radiograph-comes-first": True, "order-is-ionising": True}


@pytest.mark.parametrize(
    ("draft", "known"),
    [
        (order("mri-ankle", "left"), MRI_FIRST),
        (order("mri-foot", "left"), MRI_FIRST),
        (order("radiograph-ankle", "left"), {"order-rating": "appropriate", "order-is-ionising": True}),
        (order("ct-ankle", "left"), CT_FIRST),
        (
            order("mri-knee", "left"),
            {"order-rating": "usually-not", "order-is-of-another-region": True, "order-is-an-mri": True},
        ),
        (
            order("mri-ankle", "right"),
            {"order-rating": "usually-not", "order-is-for-the-other-side": True, "order-is-an-mri": True},
        ),
        (
            order("mri-ankle", "right", **coded_as("mri-ankle", text="MRI of the left ankle")),
            {"order-rating": "usually-not", "order-names-two-sides": True, "order-is-an-mri": True},
        ),
        (
            order("mri-ankle", "left", **coded_as("mri-ankle", text="with contrast")),
            MRI_FIRST | {"gadolinium-asked-for": True},
        ),
        (order("ct-ankle", "left", **coded_as("ct-ankle", text="with contrast")), CT_FIRST),
        (
            order("mri-ankle", "left", **coded_as("mri-ankle", "mri-foot")),
            {"order-rating": "cannot-tell", "order-names-no-region": True, "order-is-an-mri": True},
        ),
    ],
    ids=["mri", "mri-foot", "radiograph", "ct", "region", "side", "two-sides", "contrast", "ct-contrast", "no-region"],
)
def test_what_is_known_of_a_draft_says_what_it_is_of_and_how_it_is_rated(
    engine: Engine, draft: dict[str, Any], known: dict[str, Any]
) -> None:
    assert facts(engine, draft, **CRACK)[0] == known


def test_what_is_missing_beside_the_drafts_is_known_of_none_of_them(engine: Engine) -> None:
    mri, unknown = order("mri-ankle", "left"), order("mri-ankle", **coded_as("else"))
    emergency = {"present": [ANKLE, "blue-toes"]}
    assert facts(engine, mri, **emergency)[1:] == [{"red-flag-work-up-missing": True}]
    # What is drafted and not recognised may be what is missing.
    assert facts(engine, mri, unknown, **CRACK)[0] == MRI_FIRST
    assert facts(engine, mri, unknown, **emergency)[1:] == [
        {"red-flag-work-up-missing": True, "order-not-recognised": True}
    ]
    assert facts(engine, mri, order("referral-emergency"), **emergency)[1:] == []
    without_region = order("mri-ankle", "left", **coded_as("mri-ankle", "mri-foot"))
    assert facts(engine, without_region, **CRACK)[1:] == [{"urgent-imaging-missing": True}]
    assert facts(engine, without_region, unknown, **CRACK)[1:] == [
        {"urgent-imaging-missing": True, "order-not-recognised": True}
    ]
    # What is suggested in the place of a draft, or before it, is missing no more.
    for draft in (order("mri-knee", "left"), mri):
        assert facts(engine, draft, unknown, **CRACK)[1:] == []


def test_where_orders_did_not_come_and_nothing_else_is_said_that_is_what_is_known(engine: Engine) -> None:
    radiograph, came = order("radiograph-ankle", "left"), {"order-rating": "appropriate", "order-is-ionising": True}
    assert facts(engine, radiograph, **CRACK, failed=["orders"]) == [came, came | {"chart-not-heard": True}]
    assert facts(engine, radiograph, **CRACK, failed=["medications"]) == [came]
    assert facts(engine, order("mri-ankle", "left"), **CRACK, failed=["orders"]) == [MRI_FIRST]


def test_of_a_chart_of_which_too_little_came_it_is_known_that_it_did(engine: Engine) -> None:
    few: dict[str, Any] = {"present": ["swelling"], "withheld": ["conditions"]}
    [known] = facts(engine, order("mri-ankle", "left"), **few)
    assert known == {"order-rating": "cannot-tell", "order-is-an-mri": True, "chart-not-heard": True}
    assert drafted(engine, order("mri-ankle", "left"), **few)[1][0]["because"] == "chart-not-heard"


def test_a_rating_says_by_a_word_what_it_stands_on(engine: Engine) -> None:
    def rated(draft: dict[str, Any], **chart: Any) -> tuple[str, str, str]:
        _said, [judged] = drafted(engine, draft, **chart)
        return judged["rating"], judged["because"], judged.get("variant", {}).get("id", "")

    mri = order("mri-ankle", "left")
    assert rated(mri, present=["swelling"]) == ("cannot-tell", "no-complaint", "")
    assert rated(mri, **CRACK) == ("usually-not", "rated", "TOY-A")
    assert rated(order("radiograph-ankle", "left"), **CRACK) == ("appropriate", "called-for", "TOY-A")
    assert rated(order("ct-ankle", "left"), **CRACK) == ("cannot-tell", "not-rated", "")
    assert rated(order("mri-ankle", "left", **coded_as("mri-ankle", "mri-foot")), **CRACK) == (
        "cannot-tell",
        "region-not-known",
        "",
    )
    # Of two that are true the better one counts.
    slow = {"present": [ANKLE, "slow-start", "loud-crack, 2 days ago"], "orders": [done("radiograph-ankle", 0)]}
    assert rated(order("mri-ankle", "left"), **slow) == ("appropriate", "rated", "TOY-B")


def test_what_an_unanswered_red_flag_would_make_of_a_rating_is_not_called_usually_not(engine: Engine) -> None:
    slow = {"present": [ANKLE, "slow-start"], "asked": ["loud-crack"]}
    mri = order("mri-ankle", "left")
    # After a radiograph, the MRI is appropriate if the crack was there; before it, it is not even then.
    _said, [judged] = drafted(engine, mri, orders=[done("radiograph-ankle", 3)], **slow)
    assert (judged["rating"], judged["because"]) == ("cannot-tell", "red-flag-unanswered")
    without = tuple(
        replace(r, imaging=()) if r.red_flag and r.red_flag.id == "crack" else r for r in toy().recommendations
    )
    silent = Engine(replace(toy(), recommendations=without))
    for shown, because in (([], "rated"), ([done("radiograph-ankle", 3)], "red-flag-unanswered")):
        _said, [judged] = drafted(silent, mri, orders=shown, **slow)
        assert judged["because"] == because
    _said, [judged] = drafted(silent, mri, orders=[order("radiograph-ankle", "left", status="active")], **slow)
    assert judged["because"] == "red-flag-unanswered"
    other_side = [order("radiograph-ankle", "right", status="active")]
    assert drafted(silent, mri, orders=other_side, **slow)[1][0]["because"] == "rated"
    # Where both sides hurt, a radiograph is of its own.
    both = {"present": [*ON_BOTH, "slow-start"], "asked": ["loud-crack"], "orders": other_side}
    for side, because in (("left", "rated"), ("right", "red-flag-unanswered")):
        assert drafted(silent, order("mri-ankle", side), **both)[1][0]["because"] == because


def suggested(engine: Engine, *drafts: dict[str, Any], **chart: Any) -> list[list[str]]:
    """What the cards suggest, each by its actions: the draft that goes, or what is ordered and how urgent that is."""

    def action(given: Any) -> str:
        if given.type == "delete":
            return f"not {given.resource_id.removeprefix('ServiceRequest/')}"
        return f"{given.resource['priority']}: {given.resource['code']['text']}"

    cards = engine.answered(IMAGING_REFERRAL, drafts=drafts, **chart).response.cards
    return [[action(each) for each in suggestion.actions] for card in cards for suggestion in card.suggestions]


@pytest.mark.parametrize(
    ("given", "kept"), [("stat", "stat"), ("urgent", "urgent"), ("asap", "routine"), ("", "routine")]
)
def test_what_is_put_in_the_place_of_an_order_for_the_other_side_is_as_urgent(
    engine: Engine, given: str, kept: str
) -> None:
    draft = order("radiograph-ankle", "right", **({"priority": given} if given else {}))
    assert suggested(engine, draft, **CRACK) == [[f"{kept}: Radiograph of the ankle, left", "not draft1"]]


OLD = {"present": [f"{ANKLE}, 40 days ago", "slow-start, 40 days ago"]}
SLOW = {"present": [ANKLE, "slow-start"]}
FEVER = {"present": [ANKLE, "fever"]}
KNEE, RADIOGRAPH, MRI = order("mri-knee", "left"), order("radiograph-ankle", "left"), order("mri-ankle", "left")
ULTRASOUND, FOOT = order("ultrasound-ankle", "left"), order("ultrasound-foot", "left")
OF_THE_FOOT = ["routine: Ultrasound of the foot, left", "not draft1"]


@pytest.mark.parametrize(
    ("drafts", "chart", "suggestions"),
    [
        # What comes first is ordered besides, once.
        ([MRI], CRACK, [["urgent: Radiograph of the ankle, left"]]),
        ([MRI, order("ct-ankle", "left")], CRACK, [["urgent: Radiograph of the ankle, left"]]),
        # What is usually not appropriate gives way to what is called for, unless that is there.
        ([KNEE], CRACK, [["urgent: Radiograph of the ankle, left", "not draft1"]]),
        ([KNEE, RADIOGRAPH], CRACK, []),
        ([MRI], SLOW, [OF_THE_FOOT]),
        ([KNEE], FEVER, [["urgent: MRI of the ankle, left", "not draft1"]]),
        ([KNEE], {**FEVER, "orders": [order("mri-ankle", "left", status="active")]}, []),
        # The same again goes, and so does what was done.
        ([MRI, MRI], SLOW, [OF_THE_FOOT, ["not draft2"]]),
        ([MRI], {**SLOW, "orders": [order("mri-ankle", "left", status="active")]}, [["not draft1"]]),
        ([MRI], {**OLD, "orders": [done("mri-ankle", 3)]}, [["not draft1"]]),
        # Also what is appropriate: where it is there, was done, or is for the other side.
        ([FOOT, FOOT], SLOW, [["not draft2"]]),
        ([FOOT], {**OLD, "orders": [done("ultrasound-foot", 3)]}, [["not draft1"]]),
        ([order("ultrasound-foot", "right"), FOOT], SLOW, [["not draft1"]]),
        # Beside a red flag nothing only goes.
        ([MRI, MRI], FEVER, []),
        # For the other side it is put in the place of the one that is wrong, where it is not drafted already.
        (
            [order("ultrasound-ankle", "right")],
            FEVER,
            [["routine: Ultrasound of the ankle, left", "not draft1"]],
        ),
        ([order("ultrasound-ankle", "right"), ULTRASOUND], FEVER, []),
        (
            [order("ultrasound-ankle", "right"), order("ultrasound-ankle", "right")],
            FEVER,
            [["routine: Ultrasound of the ankle, left", "not draft1"]],
        ),
        ([order("ultrasound-ankle", "right")], {**FEVER, "orders": [{**ULTRASOUND, "status": "active"}]}, []),
    ],
)
def test_what_a_card_of_drafts_suggests(
    engine: Engine, drafts: list[dict[str, Any]], chart: dict[str, Any], suggestions: list[list[str]]
) -> None:
    assert suggested(engine, *drafts, **chart) == suggestions


def saying(when: str) -> Engine:
    """The toy with one more thing to say of drafts."""
    [side] = [each for each in toy().recommendations if each.id == "io2-other-side"]
    more = replace(side, id="io7-more", when=parse(when, {}))
    return Engine(replace(toy(), recommendations=(*toy().recommendations, more)))


def test_an_order_that_names_two_sides_gives_way_where_one_is_known() -> None:
    engine = saying("order-names-two-sides")
    words = order("ultrasound-ankle", "left", **coded_as("ultrasound-ankle", text="Ultrasound of the right ankle"))
    assert suggested(engine, words, **FEVER) == [["routine: Ultrasound of the ankle, left", "not draft1"]]
    assert suggested(engine, words, present=[*ON_BOTH, "fever"]) == [["urgent: MRI of the ankle, bilateral"]]


def test_an_order_that_is_right_stays_whatever_is_said_of_it() -> None:
    for chart in (CRACK, {"present": [ANKLE, "bony-tenderness"]}):
        assert suggested(saying("order-is-ionising"), RADIOGRAPH, **chart) == []


def test_a_draft_that_was_decided_on_counts_as_ordered(engine: Engine) -> None:
    said, [judged] = drafted(engine, RADIOGRAPH, beside=[RADIOGRAPH], **CRACK)
    assert "io6-ordered" in said
    assert judged["reference"] == "ServiceRequest/draft1"
    assert "io4-radiograph-first" not in drafted(engine, MRI, beside=[RADIOGRAPH], **CRACK)[0]
    assert "io6-ordered" not in drafted(engine, RADIOGRAPH, beside=[MRI], **CRACK)[0]


CT, RIGHT_MRI, RIGHT_ULTRASOUND = (
    order("ct-ankle", "left"),
    order("mri-ankle", "right"),
    order("ultrasound-ankle", "right"),
)
CHANGED_DRAFTS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "nothing": ([MRI, KNEE, RIGHT_MRI], {"present": [ANKLE]}),
    "long-ago": ([MRI, RADIOGRAPH], LONG_AGO),
    "emergency": ([MRI, ULTRASOUND], {"present": [ANKLE, "blue-toes", "slow-start"]}),
    "crack": ([KNEE], CRACK),
    "tender": ([MRI, CT], {"present": [ANKLE, "loud-crack", "bony-tenderness"]}),
    "after": ([MRI, CT, CT], {"present": [ANKLE, "bony-tenderness"], "orders": [done("radiograph-ankle", 3)]}),
    "fever": ([RADIOGRAPH, RADIOGRAPH], {"present": [ANKLE, "fever"], "numbers": {"pain-severity": 8}}),
    "asked": ([MRI, CT, CT], {"present": [ANKLE, "slow-start"], "asked": ["fever", "loud-crack", "blue-toes"]}),
    "both": ([MRI, RADIOGRAPH, RADIOGRAPH], {"present": [*ON_BOTH, "loud-crack"]}),
    # What an answer adds to what calls for imaging already: the other side, or that it is news since the radiograph.
    "both-loose": (
        [ULTRASOUND, RIGHT_ULTRASOUND, RIGHT_ULTRASOUND],
        {"present": [*ON_BOTH, "squeeze-test", "drawer-test", "drawer-test, right"]},
    ),
    "news": (
        [RADIOGRAPH],
        {
            "present": [f"{ANKLE}, 60 days ago"],
            "dates": {"injury-date, 60 days ago": day(60)},
            "orders": [done("radiograph-ankle", 20)],
        },
    ),
    # A rating is true with an answer that changes nothing else.
    "rated": ([MRI, ULTRASOUND, ULTRASOUND], {"present": [ANKLE, "swelling", "drawer-test", "tilt-test"]}),
    "both-tested": ([ULTRASOUND, RIGHT_ULTRASOUND, RIGHT_ULTRASOUND], {"present": [*ON_BOTH, "drawer-test"]}),
    "shown": ([MRI, RADIOGRAPH], {"present": [f"{ANKLE}, 40 days ago", "broken-on-mri, 8 days ago"]}),
    "no-red-flag": (
        [KNEE],
        {"present": [ANKLE, "slow-start"], "absent": ["blue-toes", "loud-crack", "cold-foot", "fever"]},
    ),
    "child": ([MRI, ULTRASOUND, ULTRASOUND], {"present": [ANKLE, "slow-start"], "age": 17}),
}


@pytest.mark.parametrize(("drafts", "chart"), CHANGED_DRAFTS.values(), ids=CHANGED_DRAFTS)
def test_an_answer_makes_of_the_card_of_a_draft_what_the_chart_that_has_it_would(
    engine: Engine, drafts: list[dict[str, Any]], chart: dict[str, Any]
) -> None:
    hold_against_whole_charts(engine, drafts, chart)


def test_where_orders_did_not_come_an_answer_makes_of_a_card_what_the_chart_that_has_it_would() -> None:
    hold_against_whole_charts(saying("chart-not-heard"), [RADIOGRAPH, MRI], {"present": [ANKLE], "failed": ["orders"]})


def judging(
    engine: Engine, drafts: list[dict[str, Any]], chart: dict[str, Any]
) -> tuple[DraftImaging, Evaluation, list[DraftOrder]]:
    """What judges these drafts on this chart, the chart, and the drafts as they are read."""
    call = engine.call(IMAGING_REFERRAL, drafts=drafts, **chart)
    read = ImagingReferral(engine.evaluator, lambda _client: False)._drafts(in_context(call, "draftOrders"))
    return DraftImaging(engine.assessor), engine.evaluator.evaluate(call), read


def judged_drafts(engine: Engine, *drafts: dict[str, Any], **chart: Any) -> JudgedDrafts:
    imaging, of, read = judging(engine, list(drafts), chart)
    return imaging.judge(of.case, of.assessment, read, of.on_chart)


def hold_against_whole_charts(engine: Engine, drafts: list[dict[str, Any]], chart: dict[str, Any]) -> None:
    """How urgent the card of each draft, and the one beside them, is with each single answer."""
    imaging, of, read = judging(engine, drafts, chart)
    questions, decision, on_chart = engine.assessor.questions, of.assessment.decision, of.on_chart
    judged = imaging.judge(of.case, of.assessment, read, on_chart)
    assert judged.orders or judged.work_ups
    assert decision is not None
    tiers = imaging.tiers(of.assessment, read, on_chart, judged)
    for first in ones(questions._answered_alone(decision)):
        values = questions.answers[first // decision.charts.layout.charts - 1].values
        case = of.case.answered(values)
        whole = imaging.judge(case, engine.assessor.assess(case, asking=False), read, on_chart)
        cards = {one.rated.order.reference: one.fired[0].indicator for one in whole.orders}
        cards |= {about: one.fired[0].indicator for about, one in zip([WORK_UP], whole.work_ups, strict=False)}
        told = {about: name for about, so in tiers for name, on in zip(INDICATORS, so, strict=True) if on >> first & 1}
        assert told == cards, values


def test_a_radiograph_that_is_ordered_first_stands_on_one_card(engine: Engine) -> None:
    mri, ct = judged_drafts(engine, MRI, CT, **CRACK).orders
    assert mri.first is not None
    assert (mri.first.call.key, mri.elsewhere) == ("radiograph-ankle", ())
    assert (ct.first, [call.key for call in ct.elsewhere]) == (None, ["radiograph-ankle"])


def test_what_is_put_in_the_place_of_a_draft_stands_on_what_calls_for_it(engine: Engine) -> None:
    [knee] = judged_drafts(engine, KNEE, **CRACK).orders
    assert knee.instead is not None
    assert knee.instead.behind.recommendation.id == "rf3-crack"
    [right] = judged_drafts(engine, order("radiograph-ankle", "right"), **CRACK).orders
    assert right.instead is not None
    assert right.instead.behind.recommendation.id == "io2-other-side"


def test_what_is_missing_is_for_the_side_of_the_red_flag(engine: Engine) -> None:
    without_region = order("mri-ankle", "left", **coded_as("mri-ankle", "mri-foot"))
    both = {"present": [*ON_BOTH, "loud-crack", "bony-tenderness, right"]}
    [missing] = judged_drafts(engine, without_region, **both).work_ups
    assert [(each.call.key, each.side) for each in missing.proposals] == [("radiograph-ankle", "left")]
    assert [each.recommendation.id for each in missing.fired] == ["io1-missing", "rf3-crack"]
    # Not what has its orders.
    placed = [order("mri-ankle", side, status="active") for side in ("left", "right")]
    both["present"].append("fever")
    [missing] = judged_drafts(engine, without_region, orders=placed, **both).work_ups
    assert [each.recommendation.id for each in missing.fired] == ["io1-missing", "rf3-crack"]


def test_a_draft_that_comes_after_and_is_not_selected_counts_as_ordered(engine: Engine) -> None:
    imaging, of, read = judging(engine, [RADIOGRAPH], {"beside": [MRI, RADIOGRAPH], **CRACK})
    for drafts in ([read[2], read[1]], [read[2], read[1], read[0]]):
        [judged] = imaging.judge(of.case, of.assessment, drafts, of.on_chart).rated
        assert judged.placed is read[1].order


def test_a_result_of_the_other_side_or_that_is_absent_is_no_imaging_that_was_done(engine: Engine) -> None:
    shown = {"present": [*ON_BOTH, "slow-start", "broken-on-mri, right, 8 days ago"]}
    assert "io5-done" in drafted(engine, RIGHT_MRI, **shown)[0]
    assert "io5-done" not in drafted(engine, MRI, **shown)[0]
    assert "io5-done" not in drafted(engine, MRI, **SLOW, absent=["broken-on-mri, 8 days ago"])[0]


def test_what_a_critical_red_flag_calls_for_is_missing_on_its_side_alone(engine: Engine) -> None:
    without_region = order("mri-ankle", "left", **coded_as("mri-ankle", "mri-foot"))
    cold = {"present": [*ON_BOTH, "fever", "cold-foot", "loud-crack, right", "bony-tenderness, right"]}

    def missing(*drafts: dict[str, Any]) -> list[tuple[str, str]]:
        [work_up] = judged_drafts(engine, *drafts, **cold).work_ups
        assert work_up.elsewhere == ()
        return [(each.call.key, each.side) for each in work_up.proposals]

    assert missing(without_region) == [("mri-ankle", "left"), ("referral-clinic", "left")]
    assert missing(MRI) == [("referral-clinic", "left")]
    # Put in the place of a draft it is missing no more, and stands there.
    judged = judged_drafts(engine, KNEE, present=[ANKLE, "fever", "cold-foot"])
    [work_up] = judged.work_ups
    assert [call.key for call in work_up.elsewhere] == ["mri-ankle"]
    assert [each.call.key for each in work_up.proposals] == ["referral-clinic"]


def test_what_is_missing_anyway_is_not_ordered_first_as_well() -> None:
    critical = tuple(
        replace(each, critical_when=parse("bony-tenderness", {})) if each.id == "rf3-crack" else each
        for each in toy().recommendations
    )
    engine = Engine(replace(toy(), recommendations=critical))
    tender = ["loud-crack", "bony-tenderness"]
    judged = judged_drafts(engine, CT, present=[ANKLE, *tender])
    [ct], [work_up] = judged.orders, judged.work_ups
    assert (ct.first, [call.key for call in ct.elsewhere]) == (None, ["radiograph-ankle"])
    assert [each.call.key for each in work_up.proposals] == ["radiograph-ankle", "mri-ankle"]
    # On both sides it is, where the red flag is of one of them.
    judged = judged_drafts(engine, CT, present=[*ON_BOTH, *tender, "bony-tenderness, right"])
    [ct], [work_up] = judged.orders, judged.work_ups
    assert ct.first is not None
    assert (ct.first.call.key, ct.first.side) == ("radiograph-ankle", "bilateral")
    assert [each.side for each in work_up.proposals] == ["left", "left"]


def test_what_a_red_flag_of_one_side_calls_for_is_not_missing_on_the_other(engine: Engine) -> None:
    without_region = order("mri-ankle", "left", **coded_as("mri-ankle", "mri-foot"))
    both = {"present": [*ON_BOTH, "loud-crack", "bony-tenderness, right"]}
    placed = [order("radiograph-ankle", "left", status="active"), order("mri-ankle", "left", status="active")]
    assert judged_drafts(engine, without_region, orders=placed, **both).work_ups == ()


def test_an_order_is_done_already_on_its_own_side_and_without_one_on_that_of_the_pain(engine: Engine) -> None:
    def is_done(side: str, of: str) -> bool:
        return "io5-done" in drafted(engine, order("mri-ankle", side), orders=[done("mri-ankle", 3, of)], **OLD)[0]

    assert [is_done(side, of) for side in ("left", "right", "") for of in ("left", "right")] == [
        *(True, False),
        *(False, True),
        *(True, False),
    ]
    # Nothing comes before what has been done.
    long_ago = {"present": [f"{ANKLE}, 40 days ago", "loud-crack, 40 days ago"], "orders": [done("mri-ankle", 20)]}
    said, _judged = drafted(engine, MRI, **long_ago)
    assert ("io5-done" in said, "io4-radiograph-first" in said) == (True, False)


def test_an_order_is_for_the_side_of_what_it_is_as_good_as_after_the_radiograph(engine: Engine) -> None:
    tender = {"present": [*ON_BOTH, "loud-crack", "bony-tenderness"]}
    judged = judged_drafts(engine, order("mri-foot", "right"), RADIOGRAPH, **tender)
    assert [(one.side, one.other_side) for one in judged.rated] == [("left", True), ("left", False)]


def test_a_rating_that_somebody_has_published_is_told_apart(engine: Engine) -> None:
    def published(**chart: Any) -> str:
        [rated] = judged_drafts(engine, MRI, **chart).rated
        return rated.published[0].id if rated.published else ""

    assert published(**CRACK) == ""
    assert published(orders=[done("radiograph-ankle", 0)], **CRACK) == "TOY-B"


def test_an_order_that_does_not_stand_is_not_ordered(engine: Engine) -> None:
    on_hold = [order("radiograph-ankle", "left", status="on-hold")]
    assert "io4-radiograph-first" in drafted(engine, MRI, orders=on_hold, **CRACK)[0]


def test_of_a_child_what_is_appropriate_is_told(engine: Engine) -> None:
    _said, [judged] = drafted(engine, FOOT, age=17, **SLOW)
    assert judged["rating"] == "appropriate"


def test_without_the_complaint_nothing_is_said_of_a_draft_and_nothing_changes_what_is() -> None:
    assert drafted(saying("order-is-an-mri"), MRI, present=["swelling"])[0] == []
    few: dict[str, Any] = {"present": ["swelling"], "withheld": ["conditions"]}
    assert drafted(saying("chart-not-heard"), MRI, **few)[0] == ["io7-more"]


def test_what_has_a_side_that_cannot_be_read_calls_for_none(engine: Engine) -> None:
    def for_the_other_side(unreadable: str, draft: dict[str, Any], *present: str) -> bool:
        imaging, of, read = judging(engine, [draft], {"present": [ANKLE, *present]})
        [said] = of.case.assertions[unreadable]
        without = msgspec.structs.replace(said, side="", remarks=(SIDE_UNREADABLE,))
        case = msgspec.structs.replace(of.case, assertions={**of.case.assertions, unreadable: (without,)})
        [rated] = imaging.judge(case, engine.assessor.assess(case), read, of.on_chart).rated
        return rated.other_side

    right = order("radiograph-ankle", "right")
    assert not for_the_other_side("loud-crack", right, "loud-crack")
    # Of another finding it tells nothing.
    assert for_the_other_side("swelling", right, "loud-crack", "swelling")
    assert not for_the_other_side("swelling", RADIOGRAPH, "loud-crack", "swelling")
    # What nothing calls for is for the side of the pain.
    assert for_the_other_side("loud-crack", order("mri-knee", "right"), "loud-crack")


@pytest.mark.parametrize(
    "when",
    [
        "any of (metal-plate, loud-crack)",
        "loud-crack and metal-plate-on-either-side",
        "any of (loud-crack, absent(bony-tenderness))",
        "any of (loud-crack, unknown(swelling))",
    ],
    ids=["context", "whole-patient", "absent", "unknown"],
)
def test_what_is_there_besides_on_the_other_side_calls_for_nothing_there(when: str) -> None:
    metal = replace(toy().findings["metal-plate"], is_context=True)
    recommendations = tuple(
        replace(each, when=parse(when, {})) if each.id == "rf3-crack" else each for each in toy().recommendations
    )
    with_metal = Engine(replace(toy(), findings={**toy().findings, metal.id: metal}, recommendations=recommendations))
    both: dict[str, Any] = {
        "present": [*ON_BOTH, "loud-crack", "metal-plate, right", "swelling"],
        "absent": ["bony-tenderness, right"],
        "asked": ["swelling, right"],
    }
    [judged] = judged_drafts(with_metal, order("radiograph-ankle", "right"), **both).rated
    assert (judged.side, judged.other_side) == ("left", True)


def test_imaging_is_as_good_only_where_one_rating_finds_both_appropriate_on_that_side(engine: Engine) -> None:
    def missing(**chart: Any) -> list[tuple[str, str]]:
        work_ups = judged_drafts(engine, order("mri-foot", "left"), **chart).work_ups
        return [(each.call.key, each.side) for one in work_ups for each in one.proposals]

    # As little appropriate is not as good.
    assert ("mri-ankle", "left") in missing(present=[ANKLE, "fever", "loud-crack"])
    tender = [*ON_BOTH, "loud-crack", "bony-tenderness"]
    assert ("mri-ankle", "left") in missing(present=tender, orders=[done("radiograph-ankle", 0, "right")])
    assert missing(present=tender, orders=[done("radiograph-ankle", 0)]) == []


def test_a_radiograph_is_to_be_repeated_after_its_days(engine: Engine) -> None:
    def rated(engine: Engine, ago: int, side: str = "left", **more: Any) -> tuple[str, str, str]:
        began: dict[str, Any] = {
            "present": [f"{ANKLE}, 100 days ago", "slow-start, 100 days ago", *more.pop("present", ())]
        }
        began["dates"] = {"injury-date, 100 days ago": day(100)}
        _said, [judged] = drafted(engine, RADIOGRAPH, orders=[done("radiograph-ankle", ago, side)], **began, **more)
        return judged["rating"], judged["because"], judged.get("variant", {}).get("id", "")

    crack: dict[str, Any] = {"present": ["loud-crack, 100 days ago"]}
    assert rated(engine, 95, **crack) == ("appropriate", "called-for", "TOY-A")
    assert rated(engine, 85, **crack) == ("appropriate", "called-for", "")
    crack["present"].append(f"{ANKLE}, right, 100 days ago")
    assert rated(engine, 85, "right", **crack) == ("appropriate", "called-for", "TOY-A")
    # Where a red flag would call for it that is unanswered, and which has no imaging of its own.
    slow = toy().presentations[2]
    usually_not = replace(slow.ratings[0], modality="radiograph")
    knowledge = replace(
        toy(),
        presentations=(*toy().presentations[:2], replace(slow, ratings=(*slow.ratings, usually_not))),
        recommendations=tuple(
            replace(each, imaging=()) if each.id == "rf3-crack" else each for each in toy().recommendations
        ),
    )
    repeated = Engine(knowledge)
    assert rated(repeated, 95, asked=["loud-crack"])[:2] == ("cannot-tell", "red-flag-unanswered")
    assert rated(repeated, 85, asked=["loud-crack"])[:2] == ("usually-not", "rated")


# ---------------------------------------------------------------------------------------------------------------------
# What is so in which variants, for whoever judges something beside the chart


def variant(engine: Engine, finding: str, value: Value) -> int:
    """The variant of a chart with one side in which this is answered alone."""
    answers = enumerate(engine.assessor.questions.answers, start=1)
    [number] = [number for number, answer in answers if answer.values == {finding: value}]
    return 1 << number


def rested(engine: Engine, recommendation: str, resource: str, **chart: Any) -> int:
    [of] = [each for each in toy().recommendations if each.id == recommendation]
    return engine.assessor.rests_on(engine.assess(**chart), of, resource)


def test_a_finding_is_stated_in_each_variant_but_where_another_answer_is_given(engine: Engine) -> None:
    assessment, kidney = engine.assess(present=[ANKLE]), variant(engine, "bad-kidney", True)
    assert assessment.decision is not None
    every, stated_in = assessment.decision.charts.layout.first, engine.assessor.stated_in
    assert stated_in(assessment, "bad-kidney", documented=False) == kidney
    assert stated_in(assessment, "bad-kidney", documented=True) == every & ~variant(engine, "bad-kidney", False)
    # What is known is not answered.
    known = engine.assess(present=[ANKLE, "bad-kidney"])
    assert stated_in(known, "bad-kidney", documented=True) == every
    assert stated_in(known, "bad-kidney", documented=False) == 0
    without = engine.assess(present=["swelling"])
    assert [stated_in(without, "bad-kidney", documented=so) for so in (True, False)] == [1, 0]


def test_what_could_not_be_read_is_unread_until_all_of_it_is_answered(engine: Engine) -> None:
    assessment, still_unread = engine.assess(present=[ANKLE]), engine.assessor.still_unread
    assert assessment.decision is not None
    every = assessment.decision.charts.layout.first

    def answered(finding: str) -> int:
        return sum(
            variant(engine, finding, of.values[finding])
            for of in engine.assessor.questions.answers
            if of.values.keys() == {finding}
        )

    kidney, injury = (Assertion(name, None, "", None, "") for name in ("bad-kidney", "injury-date"))
    assert still_unread(assessment, [kidney]) == every & ~answered("bad-kidney")
    assert still_unread(assessment, [injury]) == every & ~answered("injury-date") != every
    assert still_unread(assessment, [kidney, injury]) == every
    assert still_unread(assessment, []) == 0
    without = engine.assess(present=["swelling"])
    assert [still_unread(without, unread) for unread in ([kidney], [])] == [1, 0]


def test_a_recommendation_rests_on_a_resource_that_all_of_its_evidence_is_of(engine: Engine) -> None:
    known = {"present": [ANKLE, "bad-kidney"]}
    decision = decided(engine, **known)
    every = decision.charts.layout.first & ~decision.charts.closed
    assert rested(engine, "tr8-no-pill", "Observation/r2", **known) & ~decision.charts.closed == every
    for other in ("Observation/r1", "Observation/r9"):
        assert rested(engine, "tr8-no-pill", other, **known) == 0
    # Of two that it stands on neither is all of it, nor is one beside an answer.
    assert rested(engine, "tr8-no-pill", "Observation/r2", present=[ANKLE, "bad-kidney", "toy-pill"]) == 0
    both = {"present": [ANKLE, "both-feet-affected"]}
    blue, every = variant(engine, "blue-toes", True), decided(engine, **both).charts.layout.first
    assert rested(engine, "rf1-blue-foot", "Observation/r2", **both) == every & ~blue
    # Where it fires with an answer alone it stands on that.
    assert rested(engine, "rf1-blue-foot", "Observation/r1", present=[ANKLE]) == 0
    assert rested(engine, "tr8-no-pill", "Observation/r1", present=["swelling"]) == 0


def test_what_is_judged_beside_a_chart_has_in_each_variant_the_gravest_indicator_that_fires(engine: Engine) -> None:
    assessment = engine.assess(present=[ANKLE])
    side, twice, both = 1 << 1, 1 << 2, 1 << 3
    facts = {
        **NO_FACTS,
        "order-is-for-the-other-side": assessment.so_in(side | both),
        "order-repeats-another-order": assessment.so_in(twice | both),
    }
    judgement = engine.assessor.judge(assessment, "imaging-order", facts)
    assert engine.assessor.tiers(judgement) == [0, side | both, twice]
    # With the chart as documented alone there is one variant.
    alone = {**NO_FACTS, "order-is-for-the-other-side": True}
    assert assessment.decision is not None
    every = assessment.decision.charts.layout.first
    assert engine.assessor.tiers(engine.assessor.judge(assessment, "imaging-order", alone)) == [0, every, 0]
    critical = tuple(
        replace(each, critical_when=parse("order-repeats-another-order", {})) if each.id == "io2-other-side" else each
        for each in toy().recommendations
    )
    grave = Engine(replace(toy(), recommendations=critical))
    judgement = grave.assessor.judge(grave.assess(present=[ANKLE]), "imaging-order", facts)
    assert grave.assessor.tiers(judgement) == [both, side, twice]
    without = engine.assess(present=["swelling"])
    assert engine.assessor.tiers(engine.assessor.judge(without, "imaging-order", alone)) == [0, 0, 0]


def test_what_is_so_in_some_variants_is_one_fact_where_nothing_is_asked(engine: Engine) -> None:
    assessment, without = engine.assess(present=[ANKLE]), engine.assess(present=["swelling"])
    assert assessment.fact([("a", 1), ("b", 2), ("a", 4)]) == {"a": 5, "b": 2}
    assert without.fact([("a", 2), ("b", 1)]) == "b"
    so = assessment.so_in(3)
    assert isinstance(so, dict)
    assert (so[True], so.documented) == (3, True)
    assert [without.so_in(variants) for variants in (1, 2, 0)] == [True, False, False]


@pytest.mark.parametrize(
    "chart",
    [
        {"present": [ANKLE, "loud-crack", "bony-tenderness", "drawer-test"]},
        {"present": [*ON_BOTH, "loud-crack, right", "slow-start"], "absent": ["swelling"]},
        {"present": [ANKLE]},
        {"present": ["swelling"]},
    ],
    ids=["one-side", "both-sides", "too-little", "no-complaint"],
)
def test_an_assessment_that_asks_nothing_is_otherwise_the_same(engine: Engine, chart: dict[str, Any]) -> None:
    case = engine.case(**chart)
    asking, silent = engine.assessor.assess(case), engine.assessor.assess(case, asking=False)
    assert silent.ask == ()
    for member in ("complaint", "side", "fired", "rankings", "imaging", "referrals", "treatment", "known"):
        assert getattr(silent, member) == getattr(asking, member), member


# ---------------------------------------------------------------------------------------------------------------------
# Visits, medicines, going home


@pytest.mark.parametrize(("injured", "days"), [(None, 3), (2, 3), (17, 3), (18, 2), (19, 1), (25, 1), (30, 1), (31, 3)])
def test_a_window_since_the_injury_leaves_fewer_days_until_it_is_past(
    engine: Engine, injured: int | None, days: int
) -> None:
    dates = {} if injured is None else {"injury-date": day(injured)}
    assessment = engine.assess(**CRACK, dates=dates)
    limit = limit_of(toy(), assessment)
    assert limit is not None
    assert (limit.days, limit.emergency) == (days, False)
    assert days_allowed(toy(), assessment, limit.fired[0]) == days


def test_the_fewest_days_count_and_an_emergency_allows_none(engine: Engine) -> None:
    fever = limit_of(toy(), engine.assess(present=[ANKLE, "fever"]))
    assert fever is not None
    assert (fever.days, fever.emergency) == (5, False)
    both = limit_of(toy(), engine.assess(present=[ANKLE, "fever", "loud-crack"]))
    assert both is not None
    assert (both.days, [each.recommendation.id for each in both.fired]) == (3, ["rf3-crack"])
    blue = limit_of(toy(), engine.assess(present=[ANKLE, "blue-toes"]))
    assert blue is not None
    assert (blue.days, blue.emergency) == (0, True)
    assert limit_of(toy(), engine.assess(present=[ANKLE, "swelling"])) is None
    # What is not urgent allows any day, and so does what stands beside the plan.
    for chart in ({"present": [ANKLE, "bony-tenderness"]}, {"present": [ANKLE], "numbers": {"pain-severity": 9}}):
        assert limit_of(toy(), engine.assess(**chart)) is None


@pytest.mark.parametrize(
    "chart",
    [
        {"present": [ANKLE]},
        {**CRACK, "dates": {"injury-date": day(25)}},
        {"present": [ANKLE, "fever"], "dates": {"injury-date": "2026-10"}},
        {"present": [*ON_BOTH, "loud-crack, right"], "dates": {"injury-date, right": day(19)}},
        {"present": [ANKLE, "blue-toes"]},
        {"present": [ANKLE, "fever", "cold-foot"]},
        {"present": ["swelling"]},
    ],
    ids=["nothing", "window", "month", "both-sides", "emergency", "critical", "no-complaint"],
)
def test_with_an_answer_a_visit_has_the_days_of_the_chart_that_has_it(engine: Engine, chart: dict[str, Any]) -> None:
    assessment, questions = engine.assess(**chart), engine.assessor.questions
    limits = limits_of_variants(toy(), assessment)
    decision, case = assessment.decision, assessment.case
    if decision is None or case is None:
        assert limits == [(None, 1)]
        return
    for first in [0, *ones(questions._answered_alone(decision))]:
        values = questions.answers[first // decision.charts.layout.charts - 1].values if first else {}
        whole = limit_of(toy(), engine.assessor.assess(case.answered(values) if first else case, asking=False))
        [told] = [limit for limit, variants in limits if variants >> first & 1]
        assert (told and (told.days, told.emergency)) == (whole and (whole.days, whole.emergency)), values


@pytest.mark.parametrize(("injured", "left"), [(None, None), (2, 18), (19, 1), (30, 1), (31, None)])
def test_beside_an_examination_today_the_window_of_the_warning_is_left(injured: int | None, left: int | None) -> None:
    recommendations = tuple(
        replace(each, critical_when=parse("bony-tenderness", {})) if each.id in ("rf3-crack", "rf2-fever") else each
        for each in toy().recommendations
    )
    thresholds = {**toy().thresholds, "seen-within-warning-crack": {"value": 90}}
    knowledge = replace(toy(), recommendations=recommendations, thresholds=thresholds)
    engine = Engine(knowledge)
    dates = {} if injured is None else {"injury-date": day(injured)}
    assessment = engine.assess(present=[ANKLE, "loud-crack", "bony-tenderness", "fever"], dates=dates)
    crack, fever = found(assessment, "rf3-crack"), found(assessment, "rf2-fever")
    assert crack.indicator == fever.indicator == "critical"
    assert window_left(knowledge, assessment, [crack]) == left
    # What is no critical red flag has no say, and one without a window leaves none.
    assert window_left(knowledge, assessment, []) is None
    assert window_left(knowledge, assessment, [found(assessment, "pl1-bony"), crack]) == left
    assert window_left(knowledge, assessment, [crack, fever]) is None


@pytest.mark.parametrize(("injured", "days"), [(0, 2), (1, 1), (2, 0), (3, 3), (18, 2)])
def test_a_window_may_have_a_closer_end_up_to_its_day(injured: int, days: int) -> None:
    knowledge = replace(toy(), thresholds={**toy().thresholds, "seen-by-day-first": {"value": 2}})
    assessment = Engine(knowledge).assess(**CRACK, dates={"injury-date": day(injured)})
    limit = limit_of(knowledge, assessment)
    assert limit is not None
    assert limit.days == days


def test_a_visit_is_too_late_after_the_day_that_is_allowed(engine: Engine) -> None:
    def said(date: str) -> tuple[str, ...]:
        return engine.answered(APPOINTMENT_TIMING, appointment=f"{date}T12:00:00Z", **CRACK).recommendations()

    assert "vp1-late" in said("2026-11-26")
    assert said("2026-11-25") == ()


def test_a_medicine_that_the_chart_holds_is_told(engine: Engine) -> None:
    ibuprofen = {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "5640"}]}
    draft = {
        "resourceType": "MedicationRequest",
        "status": "draft",
        "intent": "order",
        "medicationCodeableConcept": ibuprofen,
        "subject": {"reference": "Patient/1"},
    }
    held = engine.answered(ANALGESIC_SAFETY, present=[ANKLE, "bad-kidney"], drafts=[draft])
    assert held.recommendations()[0] == "ao1-pill-held"
    assert engine.answered(ANALGESIC_SAFETY, present=[ANKLE], drafts=[draft]).recommendations() == ()


def test_what_speaks_against_a_medicine_and_cannot_be_read_is_told(engine: Engine) -> None:
    def unread(*of: Knowledge, **chart: Any) -> list[tuple[str, str]]:
        found = UnreadValues(*of or (toy(),)).of(engine.case(present=[ANKLE], **chart))
        return [(one.finding, one.unreadable) for one in found]

    # A day in place of yes or no: of what takes the medicine away, of what lessens it, and of anything else.
    assert unread(dates={"bad-kidney": day(1)}) == [("bad-kidney", "value")]
    assert unread(dates={"bad-liver": day(1)}) == [("bad-liver", "value")]
    assert unread(dates={"bad-liver": day(1), "swelling": day(1)}) == [("bad-liver", "value")]
    # Not of what offers it.
    assert unread(dates={"foot-pain": day(1)}) == []
    # What was asked and not answered can be read; a measurement has no value then.
    assert unread(asked=["bad-liver"]) == []
    severe = [
        replace(each, when=parse("pain-severity >= severe", {"severe": 5})) if each.id == "tr9-half-pill" else each
        for each in toy().recommendations
    ]
    assert unread(asked=["pain-severity"]) == []
    assert unread(replace(toy(), recommendations=tuple(severe)), asked=["pain-severity"]) == [("pain-severity", "")]
    # What speaks against a treatment that is no medicine of this kind.
    none = replace(toy(), engine=replace(toy().engine, medicines={}))
    assert UnreadValues(none).treatments == frozenset()
    assert unread(none, dates={"bad-liver": day(1)}) == []


def test_at_a_discharge_what_is_offered_and_which_red_flag_is_raised_can_be_read(engine: Engine) -> None:
    assert engine.answered(DISCHARGE_ADVICE, present=[ANKLE, "swelling"]).recommendations() == ("gh1-home",)
    assert set(engine.answered(DISCHARGE_ADVICE, **CRACK).recommendations()) == {"gh1-home", "gh2-crack", "rf3-crack"}


# ---------------------------------------------------------------------------------------------------------------------
# News


def test_only_what_was_not_known_before_is_news(engine: Engine) -> None:
    def changed(since: str, **chart: Any) -> bool:
        moment = read_when(since)
        assert moment is not None
        return engine.assess(**chart).changed_since(moment)

    old = {"present": [ANKLE, "loud-crack, 30 days ago"]}
    assert not changed(day(20), **old)
    assert changed(day(31), **old)
    # What is only recorded again is no news.
    assert not changed(day(20), present=[ANKLE, "loud-crack, 30 days ago", "loud-crack"])
    assert changed(day(20), present=[ANKLE, "loud-crack"], absent=["loud-crack, 30 days ago"])
    # A later injury is, and what is not urgent is not.
    assert changed(day(20), present=[ANKLE, "swelling"], dates={"injury-date": day(10)})
    assert not changed(day(20), present=[ANKLE, "swelling"], dates={"injury-date": day(20)})
    assert not changed(day(20), present=[ANKLE, "swelling"])
    # To the second: what is of that very moment was known then.
    assert not changed(f"{day(20)}T09:00:00Z", present=[f"{ANKLE}, 30 days ago", "loud-crack, 20 days ago"])
    assert changed(f"{day(20)}T08:59:59Z", present=[f"{ANKLE}, 30 days ago", "loud-crack, 20 days ago"])
    at_nine = {"injury-date": f"{day(20)}T09:00:00Z"}
    assert not changed(f"{day(20)}T09:00:00Z", present=[ANKLE, "swelling"], dates=at_nine)


def test_a_date_is_news_by_the_day_that_it_names(engine: Engine) -> None:
    assessment = engine.assess(present=[ANKLE, "swelling"], dates={"injury-date, no side": day(50)})
    [severe] = [each for each in assessment.fired if each.recommendation.id == "pl3-severe"]
    [item] = severe.evidence
    assert item.finding == "injury-date"

    def news(days: int) -> bool:
        moment = read_when(day(days))
        assert moment is not None
        return assessment.is_news(item, moment)

    # It was written down today.
    assert not news(1)
    assert not news(50)
    assert news(51)
    moment = read_when(day(400))
    assert moment is not None
    [age] = [one for one in found(assessment, "tr7-pill").evidence if one.finding == "age"]
    assert not assessment.is_news(age, moment)


def test_what_was_known_of_the_other_side_is_news_of_this_one(engine: Engine) -> None:
    moment = read_when(day(20))
    assert moment is not None
    both = [ANKLE, "ankle-pain, right, 30 days ago"]
    assert engine.assess(present=[*both, "loud-crack", "loud-crack, right, 30 days ago"]).changed_since(moment)
    assert not engine.assess(
        present=[*both, "loud-crack", "loud-crack, 30 days ago", "loud-crack, right, 30 days ago"]
    ).changed_since(moment)


def test_what_is_on_both_sides_since_today_is_news_although_no_resource_says_so(engine: Engine) -> None:
    moment = read_when(day(20))
    assert moment is not None
    right = [ANKLE, "cold-foot, right, 30 days ago"]
    found_today = engine.assess(present=[*right, "cold-foot"])
    assert [item.resource for item in found(found_today, "rf1-blue-foot").evidence] == [""]
    assert found_today.changed_since(moment)
    assert engine.assess(present=[*right, "numb-foot"]).changed_since(moment)
    # Both feet were known before: recorded again, or another symptom of a foot, is no news.
    before = [*right, "cold-foot, 30 days ago"]
    assert not engine.assess(present=before).changed_since(moment)
    assert not engine.assess(present=[*before, "cold-foot", "numb-foot, right"]).changed_since(moment)


def test_a_criterion_holds_on_any_side_and_one_that_there_is_not_nowhere(engine: Engine) -> None:
    assessment = engine.assess(present=[ANKLE, "loud-crack"], dates={"injury-date": day(10)})
    assert assessment.is_true("fresh-injury")
    # What an answer would make so is not so.
    assert not engine.assess(present=[ANKLE], dates={"injury-date": day(10)}).is_true("fresh-injury")
    assert not engine.assess(present=[ANKLE, "loud-crack"], dates={"injury-date": day(11)}).is_true("fresh-injury")
    assert not assessment.is_true("no-such-criterion")
    assert not engine.assess(present=["swelling"]).is_true("fresh-injury")


def test_the_compiled_knowledge_can_be_pickled_after_it_has_run(engine: Engine) -> None:
    decision = engine.assess(present=[ANKLE, "loud-crack"]).decision
    assert decision is not None
    again = pickle.loads(pickle.dumps(decision.kernel))  # noqa: S301 - its own
    assert decide(again, decision.charts).values == decision.values


def test_the_clock_is_that_of_the_toy(engine: Engine) -> None:
    assert engine.assess(present=[ANKLE]).case.now == CLOCK  # type: ignore[union-attr]


def test_the_days_since_the_onset_of_each_side_are_at_hand(engine: Engine) -> None:
    assessment = engine.assess(present=[ANKLE, "loud-crack"], dates={"injury-date": day(4)})
    assert assessment.days_since_onset(found(assessment, "rf3-crack")) == (Interval(4, 4),)
