"""What to ask next: each answer changes what a whole assessment of the answered chart would change."""

import random
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec
import pytest

from service.chart.assertions import Assertion
from service.chart.case import Case
from service.chart.elements import BILATERAL
from service.chart.fhir_time import When
from service.knowledge_model.conditions import Interval, Value
from service.knowledge_model.vocabulary import COSTS, INDICATORS
from service.reasoning.assessment import Assessment, ImagingCall, ReferralCall
from service.reasoning.questions import Change
from tests.charts import (
    NamedCase,
    assessor,
    build_request,
    case_of,
    case_reader,
    named_cases,
    packaged,
    services,
)
from tests.plain_logic import verdict

Answers = Mapping[str, Value]
READER = case_reader()
ASSESSOR = assessor()
QUESTIONS = ASSESSOR.questions
CASES = named_cases()


SERVICE = services().find("gluteal-hamstring-pain", "patient-view")


def read(case: NamedCase) -> Case:
    return case_of(case.request())


def answered(case: Case, answers: Answers) -> Case:
    """The case in which these findings are stated for the whole of this pain."""
    sides = case.sides()
    side = sides[0] if len(sides) == 1 else BILATERAL
    statements, patient = dict(case.assertions), case.patient
    for finding, value in answers.items():
        if finding == "age":
            assert isinstance(value, Interval)
            patient = msgspec.structs.replace(patient, age=value)
            continue
        said: bool | Interval | When | None
        if finding in case.derived.days_since.values():
            assert isinstance(value, Interval)
            day = case.now - timedelta(days=value.low)
            said = When(day, day, day.date().isoformat())
        else:
            assert not isinstance(value, str)
            said = value
        whole = case.findings[finding].whole_patient or isinstance(said, When)
        statements[finding] = (Assertion(finding, said, "" if whole else side, None, ""),)
    return msgspec.structs.replace(case, patient=patient, assertions=statements, fixed_sides=sides)


class Outcome(NamedTuple):
    """What of a whole assessment an answer can change, see questions.toml; and whether there is any emergency."""

    emergency: bool
    tier: int
    critical: frozenset[str]
    imaging: frozenset[tuple[str, str]]
    referrals: frozenset[str]
    leaders: tuple[str | None, ...]
    treatment: frozenset[tuple[str, str]]


def outcome_of(assessment: Assessment, sides: int, unsaid: frozenset[str] = frozenset()) -> Outcome:
    said = [fired for fired in assessment.all_fired if fired.recommendation.id not in unsaid]
    calls = [call for call in assessment.calls if call.recommendation not in unsaid]
    tiers = [3 - INDICATORS.index(fired.indicator) for fired in said]
    held = {of.id for fired in assessment.all_fired for of in fired.recommendation.treatment if of.state == "hold"}
    treatment = {(of.id, of.state) for fired in said for of in fired.recommendation.treatment}
    if assessment.ranking_waits:
        leaders: tuple[str | None, ...] = ("the ranking waits",) * sides
    else:
        leaders = tuple(r.leader.id if r.leader else None for r in assessment.rankings) or (None,) * sides
    return Outcome(
        emergency=any(fired.indicator == "critical" for fired in assessment.all_fired),
        tier=max(tiers, default=0),
        critical=frozenset(
            f.recommendation.red_flag.id for f in said if f.recommendation.red_flag and f.indicator == "critical"
        ),
        imaging=frozenset(
            (call.modality, call.region)
            for call in calls
            if isinstance(call, ImagingCall) and call.modality != "none-now"
        ),
        referrals=frozenset(call.to for call in calls if isinstance(call, ReferralCall)),
        leaders=leaders,
        treatment=frozenset(
            (id_, state) for id_, state in treatment if state == "hold" or (state == "offer" and id_ not in held)
        ),
    )


def gains(before: Outcome, after: Outcome) -> dict[str, int]:
    """The terms in which two outcomes differ -> their points."""
    points = {term: of.points for term, of in packaged().question_terms.items()}
    both_critical = before.tier == after.tier == 3
    changed = {
        "severity": int(before.critical != after.critical) if both_critical else abs(after.tier - before.tier),
        "imaging": before.imaging != after.imaging,
        "referrals": before.referrals != after.referrals,
        "leader": before.leaders != after.leaders,
        "treatment": not (before.emergency or after.emergency) and before.treatment != after.treatment,
    }
    return {term: points[term] * by for term, by in changed.items() if by}


class Open(NamedTuple):
    """A case with a question to ask, and each answer to a finding that nothing is known of."""

    case: Case
    assessment: Assessment
    answers: dict[int, Answers]

    def change(self, number: int, unsaid: frozenset[str] = frozenset()) -> Change:
        """What the decision holds of one answer."""
        assert self.assessment.decision is not None
        layout = self.assessment.decision.charts.layout
        variant = 1 << (number + 1) * layout.charts
        [change] = QUESTIONS.changes(self.assessment.decision, variant, unsaid)
        return change


def opened(case: Case) -> Open | None:
    assessment = ASSESSOR.assess(case)
    if assessment.decision is None or assessment.ranking_waits:
        return None
    known = assessment.decision.charts.open
    answers = {
        number: {f: value for f, value in answer.values.items() if QUESTIONS.read_as[f] in known}
        for number, answer in enumerate(QUESTIONS.answers)
    }
    return Open(case, assessment, {number: values for number, values in answers.items() if values})


def thinned(case: Case, seed: int) -> Case:
    """The case without some of its statements."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    share = chance.random()
    return msgspec.structs.replace(
        case, assertions={n: s for n, s in case.assertions.items() if chance.random() > share}
    )


def charts() -> Iterator[Case]:
    for number, case in enumerate(CASES):
        whole = read(case)
        if case.fixture:
            yield whole
        # A case without part of its statements, so that red flags, ranking and plan come and go in every mixture.
        if number % 4 == 0:
            yield thinned(whole, number)


@pytest.mark.parametrize(("share", "tries"), [(0.0, 12), (0.3, 4)])
def test_every_answer_is_decided_as_a_whole_assessment_of_the_answered_chart_decides_of_what_is_said(
    share: float, tries: int
) -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    compared = 0
    ids = sorted(each.id for each in packaged().recommendations)
    for case in charts():
        unsaid = frozenset(chance.sample(ids, int(len(ids) * share)))
        chart = opened(case)
        if chart is None:
            continue
        sides = len(case.sides())
        before = outcome_of(chart.assessment, sides, unsaid)
        for number in chance.sample(sorted(chart.answers), min(len(chart.answers), tries)):
            after = outcome_of(ASSESSOR.assess(answered(case, chart.answers[number])), sides, unsaid)
            gained, change = gains(before, after), chart.change(number, unsaid)
            assert change.points == sum(gained.values()), (chart.answers[number], case.assertions.keys())
            assert change.terms() == tuple(sorted(gained, key=lambda term: -gained[term]))
            compared += 1
    assert compared > 50 * tries


def due_of(chart: Open) -> set[int]:
    """The questions, by their numbers, that are asked of this patient at all."""
    assert chart.assessment.decision is not None
    of_red_flags = chart.assessment.decision.charts.charts[: len(chart.case.sides())]
    return {
        number
        for number, question in enumerate(packaged().questions)
        if question.when is None
        or any(verdict(question.when, c.known, c.contradictory, packaged()) is True for c in of_red_flags)
    }


def plausible(chart: Open, number: int) -> int:
    """How plausible an answer to this question is, in percent, by conditions that are evaluated one by one."""
    assert chart.assessment.decision is not None
    of_patient = chart.assessment.decision.charts.charts[: len(chart.case.sides())]
    for percent, when in packaged().questions[number].priors:
        if when is None or any(verdict(when, c.known, c.contradictory, packaged()) is True for c in of_patient):
            return percent
    return 100


def naive(chart: Open) -> list[tuple[str, str]]:
    """The wording and the finding of every question that can change something, by whole assessments, best first."""
    knowledge, sides = packaged(), len(chart.case.sides())
    before = outcome_of(chart.assessment, sides)
    best: dict[int, tuple[int, str]] = {}
    for number, values in chart.answers.items():
        after = outcome_of(ASSESSOR.assess(answered(chart.case, values)), sides)
        question, value = QUESTIONS.answers[number].question, sum(gains(before, after).values())
        if value > best.get(question, (0, ""))[0]:
            best[question] = value, next(f for f in knowledge.questions[question].findings if f in values)
    due = due_of(chart)
    found = [
        (-best[n][0] * plausible(chart, n), COSTS.index(knowledge.questions[n].cost), n) for n in best.keys() & due
    ]
    return [(knowledge.questions[n].ask, best[n][1]) for _value, _cost, n in sorted(found)]


@pytest.mark.parametrize("case", [case for case in CASES if case.fixture][::12], ids=lambda case: case.fixture)
def test_the_questions_are_those_whose_answers_change_most(case: NamedCase) -> None:
    chart = opened(read(case))
    if chart is None:
        return
    asked = [(item.ask, item.finding) for item in chart.assessment.ask]
    first = [(ask, finding) for ask, finding in asked if ask in {q.ask for q in packaged().questions if q.first}]
    assert asked == [*first, *naive(chart)][:3]


# What has to be known so that no red flag is left to ask for.
EMERGENCIES = [
    "saddle-numbness",
    "urinary-retention",
    "urinary-incontinence",
    "altered-urinary-sensation",
    "faecal-incontinence",
    "new-sexual-dysfunction",
    "fever",
    "chills",
    "unilateral-leg-swelling",
    "unable-to-bear-weight",
    "high-energy-trauma",
]
INJURY = ["pop-at-injury", "sudden-onset", "sharp-pain", "significant-bruising", "leg-weakness", "foot-drop"]
URGENT = [
    "skin-break-over-ischium",
    "warm-red-swelling",
    "immunosuppressed",
    "injecting-drug-use",
    "cancer-history",
    "palpable-mass",
    "unexplained-weight-loss",
    "night-or-rest-pain",
    "palpable-gap",
    "knee-flexion-weakness",
    "radiating-numbness-or-tingling",
    "numbness-below-knee",
    "morning-stiffness",
    "worsening",
    "no-improvement-with-self-care",
]
SAFE = [*EMERGENCIES, *INJURY, *URGENT]
MEDICINES = ["anticoagulated", "bleeding-disorder", "nsaid-allergy", "peptic-ulcer-or-bleeding", "heart-failure"]
SITTING = ["buttock-pain", "pain-with-sitting"]


# What is plausible of any such pain: where all of it is known, what is rare is asked for.
EXAMINED = [
    *("ischial-tenderness", "sciatic-notch-tenderness", "trochanteric-tenderness", "psis-tenderness"),
    *("straight-leg-raise", "slump", "crossed-straight-leg-raise", "trendelenburg", "hip-abduction-weakness"),
    *("modified-bent-knee-stretch", "bent-knee-stretch", "puranen-orava", "active-piriformis"),
    *("seated-piriformis-stretch", "single-leg-stance", "resisted-external-derotation"),
    *("faber", "gaenslen", "thigh-thrust", "sacroiliac-compression", "sacroiliac-distraction", "sacral-thrust"),
]
COURSE: dict[str, Any] = {"onset_days_ago": 20, "quantities": {"physiotherapy-weeks": 0, "egfr": 80}}


def asked(absent: list[str], present: list[str] = SITTING, **more: object) -> list[str]:
    chart = {"age": 45, "sex": "male", "side": "left", "present": present, "absent": absent, **more}
    return [item.finding for item in ASSESSOR.assess(case_of(build_request(chart))).ask]


def without(names: list[str], *left: str) -> list[str]:
    return [name for name in names if name not in left]


@pytest.mark.parametrize(
    ("finding", "before", "after"),
    [
        ("saddle-numbness", [], EMERGENCIES),
        ("altered-urinary-sensation", without(EMERGENCIES, "altered-urinary-sensation"), EMERGENCIES),
        ("new-sexual-dysfunction", without(EMERGENCIES, "new-sexual-dysfunction"), EMERGENCIES),
        ("pop-at-injury", [], [*INJURY]),
        ("palpable-gap", without(SAFE, "palpable-gap", "knee-flexion-weakness"), SAFE),
        ("significant-bruising", without(SAFE, "significant-bruising"), SAFE),
        ("leg-weakness", without(SAFE, "leg-weakness"), SAFE),
        ("radiating-numbness-or-tingling", without(SAFE, "radiating-numbness-or-tingling"), SAFE),
        ("fever", without(SAFE, "fever"), SAFE),
        ("cancer-history", without(SAFE, "cancer-history"), SAFE),
        ("unilateral-leg-swelling", without(SAFE, "unilateral-leg-swelling"), SAFE),
        ("unable-to-bear-weight", without(SAFE, "unable-to-bear-weight"), SAFE),
    ],
)
def test_a_question_is_asked_while_its_answer_is_open_and_no_more_once_it_is_known(
    finding: str, before: list[str], after: list[str]
) -> None:
    rest = [*EXAMINED, *MEDICINES, *without(URGENT, finding, "palpable-gap", "knee-flexion-weakness")]
    assert finding in asked([*rest, *without(before, *rest)], **COURSE)
    assert finding not in asked([*rest, *without(after, *rest)], **COURSE)


def test_the_age_is_asked_for_where_a_sudden_injury_would_change_the_imaging() -> None:
    present = ["buttock-pain", "sudden-onset"]
    absent = without(SAFE, "sudden-onset")
    chart = {"sex": "male", "side": "left", "present": present, "absent": absent}
    unknown = ASSESSOR.assess(case_of(build_request(chart)))
    assert unknown.ask[0].finding == "age"
    assert {"severity", "imaging"} <= set(unknown.ask[0].changes)
    assert "age" not in asked(absent, present)


def test_beside_a_tear_another_emergency_is_asked_for_and_medicines_are_not() -> None:
    found = asked([], ["buttock-pain", "significant-bruising", "palpable-gap", "sudden-onset"])
    assert {"leg-weakness", "unable-to-bear-weight"} & set(found)
    assert not set(found) & {"egfr", "nsaid-allergy"}


def test_in_an_emergency_nothing_is_asked() -> None:
    assert asked([], ["buttock-pain", "saddle-numbness"]) == []


def test_a_contradictory_onset_is_asked_for_first() -> None:
    assert asked([], ["buttock-pain", "gradual-onset", "pop-at-injury"])[0] == "sudden-onset"


def test_with_the_pain_alone_its_course_and_its_beginning_are_asked_for() -> None:
    assert asked([], ["buttock-pain"])[:2] == ["onset-date", "pop-at-injury"]


def test_a_reason_says_what_the_answer_can_change_the_weightiest_first() -> None:
    first = ASSESSOR.assess(case_of(build_request({"age": 45, "present": SITTING}))).ask[0]
    points = {term: of.points for term, of in packaged().question_terms.items()}
    assert "severity" in first.changes
    assert list(first.changes) == sorted(first.changes, key=lambda term: -points[term])


def test_every_finding_that_is_asked_for_can_change_something() -> None:
    for question in packaged().questions:
        for finding in question.findings:
            assert len(QUESTIONS.tries[finding]) > 1, finding


def topics(assessment: Assessment) -> dict[str, set[str]]:
    """The topics of the cards of a whole assessment, with the recommendations on each."""
    of_tier = packaged().engine.topics
    found: dict[str, set[str]] = {}
    for fired in assessment.fired:
        found.setdefault(of_tier.get(fired.indicator, fired.recommendation.topic), set()).add(fired.recommendation.id)
    if of_tier["critical"] in found:
        found.pop(of_tier["treatment"], None)
    return found


def changed_by(card: str, before: dict[str, set[str]], after: dict[str, set[str]]) -> str:
    """What becomes of a card, by the cards of whole assessments: raised, removed, or nothing."""
    urgent = [packaged().engine.topics[tier] for tier in INDICATORS[:2]]
    above = urgent[: urgent.index(card)] if card in urgent else urgent
    graver = before[card] & after.get(urgent[0], set()) if card != urgent[0] else set()
    if graver or (card not in after and any(tier in after for tier in above)):
        return "raised"
    return "" if card in after else "removed"


def test_what_would_change_a_card_is_what_whole_assessments_of_the_answered_chart_make_of_it() -> None:
    chance = random.Random(5)  # noqa: S311 - no secret
    compared = 0
    for case in charts():
        chart = opened(case)
        if chart is None:
            continue
        due, answers = due_of(chart), QUESTIONS.answers
        alone = {n: of for n, of in chart.answers.items() if len(answers[n].values) == 1 and answers[n].question in due}
        told = {change.topic: change for change in ASSESSOR.would_change(chart.assessment)}
        before = topics(chart.assessment)
        for number in chance.sample(sorted(alone), min(len(alone), 8)):
            [(finding, value)] = alone[number].items()
            after = topics(ASSESSOR.assess(answered(case, {finding: value})))
            for card in before:
                found = "raised" if (finding, value) in told[card].raised_by else ""
                found = "removed" if (finding, value) in told[card].removed_by else found
                assert found == changed_by(card, before, after), (card, finding, value, case.assertions.keys())
                compared += 1
    assert compared > 600


def test_a_sudden_pop_with_bruising_is_not_taken_back_by_any_single_answer() -> None:
    chart = {
        "age": 45,
        "side": "left",
        "present": ["buttock-pain", "pop-at-injury", "sudden-onset", "significant-bruising"],
    }
    [card] = ASSESSOR.would_change(ASSESSOR.assess(case_of(build_request(chart))))
    assert card.removed_by == card.raised_by == ()


def test_a_loss_of_bladder_control_alone_raises_every_card_of_an_ordinary_pain() -> None:
    for card in ASSESSOR.would_change(ASSESSOR.assess(case_of(build_request({"age": 45, "present": SITTING})))):
        assert ("urinary-retention", True) in card.raised_by


def test_of_what_is_not_asked_of_a_patient_nothing_is_said_to_change_a_card() -> None:
    chart = {"age": 45, "sex": "male", "present": SITTING}
    for card in ASSESSOR.would_change(ASSESSOR.assess(case_of(build_request(chart)))):
        assert not {"pregnancy", "gestational-age"} & {finding for finding, _as in (*card.removed_by, *card.raised_by)}
