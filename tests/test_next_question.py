"""What to ask next: running again only what reads a finding gives exactly what a whole assessment gives."""

import json
import random
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import timedelta

import pytest

from cds_hooks import read_request
from service.chart.assertions import Assertion
from service.chart.case import Case, CaseReader
from service.chart.derived import FOLLOWS
from service.chart.elements import BILATERAL
from service.chart.fhir_time import When
from service.guideline.conditions import Interval, Value
from service.guideline.model import DAYS_SINCE
from service.guideline.vocabulary import COSTS, INDICATORS
from service.reasoning.answer_index import Answers
from service.reasoning.assessment import Assessment, Assessor
from service.reasoning.next_question import WAITS, Asked, Assessed, NextQuestion, Trials
from service.reasoning.outcome import Outcome, steps
from service.services.catalogue import catalogue
from service.services.consultation import chart_of
from tests.charts import CLOCK, Json, NamedCase, build_request, named_cases, packaged

READER = CaseReader(packaged())
ASSESSOR = Assessor(packaged())
CASES = named_cases()


class _SameSides(Case):
    """A case whose sides stay: an answer is about this pain."""

    fixed: tuple[str, ...]

    def sides(self) -> tuple[str, ...]:
        return self.fixed


SERVICE = catalogue(packaged(), lambda: CLOCK).find("gluteal-hamstring-pain", "patient-view")


def read_json(request: Json) -> Case:
    body = json.dumps({**request, "hook": "patient-view"}).encode()
    return READER.read(chart_of(read_request(body, SERVICE, correlation_id="")), CLOCK)


def read(case: NamedCase) -> Case:
    return read_json(case.request())


def answered(case: Case, answers: Answers) -> Case:
    """The case in which these findings are stated for the whole of this pain."""
    sides = case.sides()
    side = sides[0] if len(sides) == 1 else BILATERAL
    statements, patient = dict(case.assertions), case.patient
    for finding, value in answers.items():
        if finding == "age":
            assert isinstance(value, Interval)
            patient = replace(patient, age=value)
            continue
        said: bool | Interval | When | None
        if FOLLOWS.get(finding) in DAYS_SINCE:
            assert isinstance(value, Interval)
            day = case.now - timedelta(days=value.low)
            said = When(day, day, day.date().isoformat())
        else:
            assert not isinstance(value, str)
            said = value
        whole = case.findings[finding].whole_patient or isinstance(said, When)
        statements[finding] = (Assertion(finding, said, "" if whole else side, None, ""),)
    own = {field.name: getattr(case, field.name) for field in fields(case)}
    other = _SameSides(**own | {"patient": patient, "assertions": statements})
    object.__setattr__(other, "fixed", sides)
    return other


def outcome_of(assessment: Assessment, sides: int) -> Outcome:
    tiers = [3 - INDICATORS.index(fired.indicator) for fired in assessment.fired]
    if assessment.ranking_waits:
        leaders: tuple[str | None, ...] = (WAITS,) * sides
    else:
        leaders = tuple(r.leader.id if r.leader else None for r in assessment.rankings) or (None,) * sides
    return Outcome(
        tier=max(tiers),
        critical=frozenset(
            f.recommendation.red_flag.id
            for f in assessment.fired
            if f.recommendation.red_flag and f.indicator == "critical"
        ),
        imaging=frozenset((i.modality, i.region) for i in assessment.imaging if i.modality != "none-now"),
        referrals=frozenset(referral.to for referral in assessment.referrals),
        leaders=leaders,
        treatment=frozenset((t.id, t.state) for t in assessment.treatment) if max(tiers) < 3 else frozenset(),
    )


class _Kept(NextQuestion):
    """Keeps what it was asked of, and asks nothing."""

    assessed: Assessed | None = None

    def ask(self, assessed: Assessed) -> tuple[Asked, ...]:
        self.assessed = assessed
        return ()


@pytest.fixture(scope="module")
def kept() -> Assessor:
    assessor = Assessor(packaged())
    assessor.next_question = _Kept(packaged(), assessor.informative, assessor.grounds)
    return assessor


def trials_of(kept: Assessor, case: Case) -> Trials | None:
    asker = kept.next_question
    assert isinstance(asker, _Kept)
    asker.assessed = None
    kept.assess(case)
    return Trials(asker, asker.assessed) if asker.assessed else None


def unknown_of(trials: Trials) -> dict[str, tuple[Value, ...]]:
    return {finding: values for finding, values in trials.index.tries.items() if trials.is_unknown(finding)}


def thinned(case: Case, seed: int) -> Case:
    """The case without some of its statements."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    share = chance.random()
    return replace(case, assertions={n: s for n, s in case.assertions.items() if chance.random() > share})


def charts() -> Iterator[Case]:
    for number, case in enumerate(CASES):
        whole = read(case)
        if case.fixture:
            yield whole
        # A case without part of its statements, so that red flags, ranking and plan come and go in every mixture.
        if number % 4 == 0:
            yield thinned(whole, number)


def test_running_again_what_reads_a_finding_gives_what_a_whole_assessment_gives(kept: Assessor) -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    compared = 0
    for case in charts():
        trials = trials_of(kept, case)
        if trials is None:
            continue
        unknown = unknown_of(trials)
        sides = len(case.sides())
        tried: list[Answers] = [{finding: value} for finding, values in unknown.items() for value in values]
        tried = chance.sample(tried, min(len(tried), 12))
        if len(unknown) > 1:
            tried.append({finding: unknown[finding][-1] for finding in chance.sample(sorted(unknown), 2)})
        for answers in tried:
            whole = outcome_of(kept.assess(answered(case, answers)), sides)
            assert trials.supposing(answers) == whole, (answers, case.assertions.keys())
            assert trials.gains(answers) == trials.points_of(whole), (answers, case.assertions.keys())
            compared += 1
    assert compared > 600


def test_no_answer_changes_more_than_it_can_at_most(kept: Assessor) -> None:
    chance = random.Random(11)  # noqa: S311 - no secret
    compared = 0
    for case in charts():
        trials = trials_of(kept, case)
        if trials is None:
            continue
        asked_for = [question for question in trials.index.guideline.questions if not question.first]
        for question in chance.sample(asked_for, 10):
            unknown = [finding for finding in question.findings if trials.is_unknown(finding)]
            if not unknown:
                continue
            limit = trials.most_of(question, unknown)
            for answers in trials.answers(question, unknown):
                value = sum(trials.gains(answers).values())
                assert value <= limit <= trials.most(question.findings), answers
                if len(answers) == 1:
                    ((finding, said),) = answers.items()
                    assert not isinstance(said, bool) or value <= trials.at_most(finding, said), answers
                compared += 1
    assert compared > 600


def naive(trials: Trials, kept: Assessor, case: Case) -> list[tuple[str, int]]:
    """First finding and value of every question, by whole assessments, best first; those asked first are left out."""
    terms, sides, before = trials.index.points, len(case.sides()), trials.outcome
    unknown = unknown_of(trials)
    found = []
    for number, question in enumerate(packaged().questions):
        due = question.when is None or any(question.when.test(c) is True for c in trials.assessed.patient_charts)
        if question.first or not due:
            continue
        open_ = [finding for finding in question.findings if finding in unknown]
        tried: list[Answers] = [{finding: value} for finding in open_ for value in unknown[finding]]
        if question.together and open_:
            tried += [{finding: unknown[finding][end] for finding in open_} for end in (0, -1)]
        best = 0
        for answers in tried:
            after = outcome_of(kept.assess(answered(case, answers)), sides)
            value = (
                terms["severity"] * steps(before, after)
                + terms["imaging"] * (before.imaging != after.imaging)
                + terms["referrals"] * (before.referrals != after.referrals)
                + terms["leader"] * (before.leaders != after.leaders)
                + terms["treatment"] * (max(before.tier, after.tier) < 3 and before.treatment != after.treatment)
            )
            best = max(best, value)
        if best:
            found.append((-best, COSTS.index(question.cost), number))
    return [(packaged().questions[number].ask, -value) for value, _cost, number in sorted(found)]


@pytest.mark.parametrize("case", [case for case in CASES if case.fixture][::12], ids=lambda case: case.fixture)
def test_leaving_out_what_cannot_win_asks_what_trying_everything_asks(case: NamedCase, kept: Assessor) -> None:
    whole = read(case)
    trials = trials_of(kept, whole)
    if trials is None:
        return
    asked = [item.ask for item in trials.ask()]
    first = [q.ask for q in packaged().questions if q.first and q.ask in asked]
    assert asked == [*first, *(ask for ask, _value in naive(trials, kept, whole))][:3]


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


def asked(absent: list[str], present: list[str] = SITTING, **more: object) -> list[str]:
    chart = {"age": 45, "sex": "male", "side": "left", "present": present, "absent": absent, **more}
    return [item.finding for item in ASSESSOR.assess(read_json(build_request(chart))).ask]


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
        ("significant-bruising", EMERGENCIES, [*EMERGENCIES, "significant-bruising"]),
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
    assert finding in asked(before)
    assert finding not in asked(after)


def test_the_age_is_asked_for_where_a_sudden_injury_would_change_the_imaging() -> None:
    present = ["buttock-pain", "sudden-onset"]
    absent = without(SAFE, "sudden-onset")
    chart = {"sex": "male", "side": "left", "present": present, "absent": absent}
    unknown = ASSESSOR.assess(read_json(build_request(chart)))
    assert unknown.ask[0].finding == "age"
    assert {"severity", "imaging"} <= set(unknown.ask[0].changes)
    assert "age" not in asked(absent, present)


def test_beside_a_tear_another_emergency_is_asked_for_and_medicines_are_not() -> None:
    found = asked([], ["buttock-pain", "significant-bruising", "palpable-gap", "sudden-onset"])
    assert found[0] == "saddle-numbness"
    assert not set(found) & {"egfr", "nsaid-allergy"}


def test_in_an_emergency_nothing_is_asked() -> None:
    assert asked([], ["buttock-pain", "saddle-numbness"]) == []


def test_a_contradictory_onset_is_asked_for_first() -> None:
    assert asked([], ["buttock-pain", "gradual-onset", "pop-at-injury"])[0] == "sudden-onset"


def test_with_the_pain_alone_the_three_most_valuable_questions_are_asked() -> None:
    assert asked([], ["buttock-pain"]) == ["saddle-numbness", "pop-at-injury", "significant-bruising"]


def test_a_reason_says_what_the_answer_can_change_the_weightiest_first() -> None:
    first = ASSESSOR.assess(read_json(build_request({"age": 45, "present": SITTING}))).ask[0]
    assert first.changes == ("severity", "imaging", "referrals", "leader")


def test_every_finding_that_is_asked_for_can_change_something() -> None:
    index = ASSESSOR.next_question
    for question in packaged().questions:
        for finding in question.findings:
            values = index.tries[finding]
            assert len(values) > 1, finding
