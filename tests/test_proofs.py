"""What `sitbone knowledge prove` decides: on a few recommendations made for it, and on the packaged knowledge."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import z3
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from service.cli import main
from service.commands.prove import Proof, Replayer, counterexample, prove_folder, write_requests
from service.knowledge_model.condition_text import parse
from service.knowledge_model.conditions import CONTRADICTORY, Interval
from service.knowledge_model.model import PACKAGED, Knowledge, KnowledgeError
from service.knowledge_model.properties import Demand, Exempted, KnownFailure, Properties, Property, read_properties
from service.proof import prover as prover_module
from service.proof.described import Bounds, Described, in_words
from service.proof.properties import propositions_of
from service.proof.propositions import Charted, Claim, Proposition
from service.proof.prover import PROVED, REFUTED, UNDECIDED, Prover
from service.proof.report import EXCEPTION, KNOWN_FAILURE, MENDED, NEEDLESS, NO_PROPOSITION, Result, decided, prove
from service.proof.terms import Terms
from service.reasoning.assessment import Assessment, ImagingCall
from service.reasoning.decision import Decision
from service.reasoning.kernel import compiled
from service.release.hazard_log import read_hazards
from service.service_ids import DIAGNOSIS, IMAGING_REFERRAL_SIGN
from service.services.explanation import Explainer
from tests.charts import CLOCK, build_request, packaged


@cache
def toy(*flags: str) -> Knowledge:
    """Red flags with these conditions, and nothing else."""
    knowledge = packaged()
    limits = {name: float(threshold["value"]) for name, threshold in knowledge.thresholds.items()}
    plain = next(r for r in knowledge.recommendations if r.red_flag and r.critical_when is None and not r.treatment)
    made = (
        replace(plain, id=f"flag-{number}", when=parse(text, limits), imaging=(), referrals=())
        for number, text in enumerate(flags, start=1)
    )
    return replace(knowledge, recommendations=tuple(made))


_NO_PROPERTIES = Properties({}, {}, (), (), (), (), ())
_CHARTED_TOYS: dict[int, Charted] = {}


def charted_toy(knowledge: Knowledge) -> Charted:
    """A toy as a formula, made once: toy() keeps each."""
    if id(knowledge) not in _CHARTED_TOYS:
        _CHARTED_TOYS[id(knowledge)] = Charted(knowledge, compiled(knowledge), _NO_PROPERTIES)
    return _CHARTED_TOYS[id(knowledge)]


def of_property(
    knowledge: Knowledge,
    id_: str = "red-flags-kept",
    *,
    exceptions: Sequence[Exempted] = (),
    failures: Sequence[str] = (),
    milliseconds: int = prover_module.MILLISECONDS,
) -> dict[str, Result]:
    """The results of one property about this knowledge, by the names of its propositions."""
    charted = charted_toy(knowledge)
    of = Property(
        id_, 1, "", "", (), tuple(exceptions), tuple(KnownFailure(failing, "as it is told") for failing in failures)
    )
    return {result.of: result for result in decided({id_: of}, charted, Prover(charted.chart, milliseconds))[id_]}


def test_a_property_that_holds_on_every_chart_is_proved() -> None:
    results = of_property(toy("fever and any of (chills, warm-red-swelling)"))
    assert {result.state for result in results.values()} == {PROVED}
    assert "chills: flag-1" in results


def test_a_property_that_a_chart_breaks_is_refuted_with_the_smallest_chart_in_words() -> None:
    refuted = of_property(toy("fever and not-present(chills)"))["chills: flag-1"]
    assert refuted.state == REFUTED
    words = counterexample(packaged(), refuted)
    assert "Fever: present; " in words
    assert words.endswith("; then Chills or rigors: present")
    # Beside the fever there is but what makes it a chart of this complaint: a finding, or two.
    assert words.count(": present") in (3, 4)


def test_no_chart_is_made_of_what_cannot_be() -> None:
    # A finding is not present and absent at once, and no age is below 16 and above 20.
    impossible = toy("fever and absent(fever)", "age < paediatric-below and age > adolescent-last-year")
    results = of_property(impossible, "can-fire")
    assert {result.state for result in results.values()} == {REFUTED}


def test_many_charts_are_read_at_once_as_each_of_them_alone() -> None:
    terms = Terms()
    first, second, third = map(terms.variable, "abc")
    term = terms.either((terms.both((first, -second)), terms.both((second, third))))
    # A bit for each chart that there can be.
    charts = {"a": 0b11110000, "b": 0b11001100, "c": 0b10101010}
    together = terms.reader(charts.__getitem__, 0b11111111)
    for number in range(8):
        alone = terms.reader({name: bool(bits >> number & 1) for name, bits in charts.items()}.__getitem__)
        assert [bool(together(each) >> number & 1) for each in (term, -term)] == [alone(term), alone(-term)]


def test_two_red_flags_that_answer_for_each_other_are_the_same_red_flag() -> None:
    results = of_property(toy("fever and not-present(chills)", "fever and chills"))
    assert {result.state for result in results.values()} == {PROVED}


def test_a_known_failure_stands_and_leaves_the_list_once_it_is_mended() -> None:
    name = "chills: flag-1"
    assert of_property(toy("fever and not-present(chills)"), failures=[name])[name].state == KNOWN_FAILURE
    assert of_property(toy("fever"), failures=[name])[name].state == MENDED


def test_an_exception_is_needed_and_holds_only_where_it_says() -> None:
    name, knowledge = "chills: flag-1", toy("fever and not-present(chills)")

    def state(where: str) -> str:
        meant = Exempted((name,), "as the test has it", "[J]", parse(where, {}) if where else None)
        return of_property(knowledge, exceptions=[meant])[name].state

    assert state("") == EXCEPTION
    assert state("fever") == EXCEPTION
    # Where it is about too few charts the others still break the property.
    assert state("palpable-gap") == REFUTED
    needless = Exempted(("fever: flag-1",), "as the test has it", "[J]", None)
    assert of_property(knowledge, exceptions=[needless])["fever: flag-1"].state == NEEDLESS


def demanding(*demands: Demand) -> list[Result]:
    """The results of what these demands ask of a red flag with a fever."""
    knowledge = toy("fever and not-present(chills)")
    charted = copy(charted_toy(knowledge))
    charted.properties = replace(_NO_PROPERTIES, demands=demands)
    of = Property("demanded", 1, "", "", (), (), ())
    return [*decided({of.id: of}, charted, Prover(charted.chart))[of.id]]


def test_a_demand_is_proved_or_refuted_on_every_chart_on_which_its_condition_is_so() -> None:
    def demand(where: str, **what: Any) -> Demand:
        nothing = {"urgency": "", "calls": (), "imaging": False, "not_offered": (), "never": (), "never_leads": ()}
        return Demand("a-fever", parse(where, {}), where, "[J]", **{**nothing, **what})

    calm = "fever and absent(chills)"
    assert [result.state for result in demanding(demand(calm, urgency="critical"))] == [PROVED]
    assert [result.state for result in demanding(demand("fever", urgency="critical"))] == [REFUTED]
    assert [result.state for result in demanding(demand("chills", never=("flag-1",)))] == [PROVED]
    assert [result.state for result in demanding(demand(calm, never=("flag-1",)))] == [REFUTED]
    # The red flag of the test calls for nothing and offers nothing.
    called = demanding(demand(calm, calls=("mri-pelvis urgent or mri-thigh urgent",), imaging=True))
    assert [result.state for result in called] == [REFUTED, REFUTED]
    assert [result.state for result in demanding(demand(calm, not_offered=("nsaid",)))] == [PROVED]
    cause = next(iter(packaged().causes))
    assert [result.state for result in demanding(demand("pain-on-the-other-side", never_leads=(cause,)))] == [PROVED]
    assert [result.state for result in demanding(demand("gradual-onset", never_leads=(cause,)))] == [REFUTED]


def test_what_cannot_be_decided_in_time_is_a_failure_and_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(z3.Solver, "check", lambda self, *assumptions: z3.unknown)
    results = of_property(toy("fever and not-present(chills)"), failures=["chills: flag-1"])
    assert results["chills: flag-1"].state == UNDECIDED
    assert {result.state for result in of_property(toy("fever"), "can-fire").values()} == {UNDECIDED}


def test_a_name_that_is_no_statement_is_a_failure() -> None:
    assert of_property(toy("fever"), failures=["hiccups: flag-1"])["hiccups: flag-1"].state == NO_PROPOSITION


def test_a_part_that_follows_from_the_rest_is_found() -> None:
    results = of_property(toy("fever and any of (fever, chills)"), "parts-matter")
    of_flag = {name: result.state for name, result in results.items() if name.startswith("flag-1")}
    assert of_flag == {
        "flag-1: fever is present": PROVED,
        "flag-1: fever is present (2)": PROVED,
        "flag-1: chills is present": REFUTED,
    }


def test_a_property_that_is_not_named_stops_the_proof() -> None:
    properties = read_properties(packaged())
    lacking = {id_: of for id_, of in properties.properties.items() if id_ != "not-both"}
    with pytest.raises(KnowledgeError, match="lacks not-both"):
        prove(toy("fever"), replace(properties, properties=lacking))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("group = 1\n", "group = 9\n", "there is no group 9"),
        ('source = "[J]"', 'source = "as I say"', "names [J] or a source"),
        ('when = "nsaid-allergy"', 'when = "nsaid-alergy"', "there is no 'nsaid-alergy'"),
        ('when = "nsaid-allergy"', 'when = "nsaid-allergy and"', "properties.toml"),
        ('id = "a-foot-drop"', 'id = "a-child"', "demands.a-child: stands twice"),
        ('"referral-spine urgent"]', '"referral-spine soon"]', "names an order and its priority"),
        ('"referral-spine urgent"]', '"referral-wizard urgent"]', "there is no order 'referral-wizard'"),
        ('not_offered = ["physiotherapy", "nsaid"]', 'not_offered = ["dancing"]', "there is no treatment 'dancing'"),
        ('never = ["rl11-no-imaging-yet"', 'never = ["rl99"', "there is no recommendation 'rl99'"),
        ('never_leads = ["lumbar-referred-pain"]', 'never_leads = ["the-moon"]', "there is no cause 'the-moon'"),
        ('worse = "higher"', 'worse = "taller"', "Must be one of"),
        (
            '"rl09-lumbar-imaging-waits", "rl10-lumbar-mri"',
            '"rl09-lumbar-imaging-waits", "rl99"',
            "no recommendation 'rl99'",
        ),
        ("[groups]", "groups]", "is no TOML"),
    ],
)
def test_a_mistake_in_the_properties_is_told_with_its_key(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = (PACKAGED / "properties.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "properties.toml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(KnowledgeError) as error:
        read_properties(packaged(), tmp_path)
    assert error.value.file == "properties.toml"
    assert says in str(error.value)


def test_a_folder_without_properties_starts_and_is_not_proved(tmp_path: Path) -> None:
    properties = read_properties(packaged(), tmp_path)
    assert properties.properties == {}
    with pytest.raises(KnowledgeError, match="lacks benign-quiet"):
        prove(toy("fever"), properties)


# ---------------------------------------------------------------------------------------------------------------------
# The packaged knowledge


@pytest.fixture(scope="module")
def proof() -> Proof:
    return prove_folder(None, CLOCK)


def test_the_packaged_knowledge_keeps_its_properties(proof: Proof) -> None:
    assert [(failure.of, failure.state) for failure in proof.report.failures] == []
    # Each of the groups has propositions that are proved.
    of_group: dict[int, int] = {}
    for id_, results in proof.report.results.items():
        group = proof.properties.properties[id_].group
        of_group[group] = of_group.get(group, 0) + sum(result.state == PROVED for result in results)
    assert of_group.keys() == proof.properties.groups.keys() == {1, 2, 3, 4, 5, 6, 7, 8}
    assert all(of_group.values())


def test_the_service_shows_every_counterexample(proof: Proof) -> None:
    assert proof.not_replayed == {}
    assert [*proof.report.refuted()]


def test_a_counterexample_is_a_request_that_is_explained(proof: Proof, tmp_path: Path) -> None:
    write_requests(proof, tmp_path)
    file = next(tmp_path.glob("no-imaging-alone-rs04*.json"))
    explained = CliRunner().invoke(main, ["explain", "--at", CLOCK.isoformat(), str(file)])
    assert explained.exit_code == 0, explained.output
    assert "rs04-radiating-nerve-symptoms" in explained.output


def test_every_property_controls_a_hazard_that_there_is(proof: Proof) -> None:
    hazards = {hazard.id for hazard in read_hazards(None)}
    for of in proof.properties.properties.values():
        assert {*of.controls} <= hazards


def test_what_is_sampled_only_names_a_test_that_there_is(proof: Proof) -> None:
    for sampled in proof.properties.sampled:
        for test in sampled.tests:
            path, _, name = test.partition("::")
            assert f"def {name}(" in (Path(__file__).parent / path).read_text(encoding="utf-8"), test


# ---------------------------------------------------------------------------------------------------------------------
# The prover beside the engine

_REPLAYER = Replayer(packaged(), CLOCK)
_EXPLAINER = Explainer(packaged(), lambda: CLOCK)
_CHARTED = Charted(packaged(), compiled(packaged()), read_properties(packaged()))
_FORMULA = _CHARTED.formula
_BOOLEAN = st.sampled_from(_FORMULA.boolean)
_OF_RED_FLAGS = packaged().base_findings(
    name for r in packaged().recommendations if r.red_flag for name in r.when.findings()
)
_READ = st.sampled_from(sorted(_OF_RED_FLAGS & {*_FORMULA.boolean}))
_SIDE = st.sampled_from(["left", "right"])
_STATES = st.sampled_from(["present", "present", "absent", CONTRADICTORY])


_NUMBERS = sorted(name for name, limits in _FORMULA.limits.items() if limits and name not in _FORMULA.facts)


@st.composite
def charts(draw: st.DrawFn) -> Described:
    """Charts of this complaint, of one side; numbers are at a limit of the knowledge, or beside it."""
    states = draw(st.dictionaries(st.one_of(_BOOLEAN, _READ), _STATES, max_size=12)) | {"buttock-pain": "present"}
    present, absent, twice = (
        tuple(name for name, said in states.items() if said == state) for state in ("present", "absent", CONTRADICTORY)
    )
    sided = tuple(name for name in present if name in _FORMULA.of_both_sides and draw(st.booleans()))
    sex = draw(st.sampled_from(["", "female", "male"]))
    numbers = draw(st.lists(st.sampled_from(_NUMBERS), max_size=3, unique=True))
    bounds = {name: draw(_bounds(name)) for name in numbers}
    return Described(present, absent, twice, bounds, sex, sided, bool(sided) and draw(st.booleans()))


def _bounds(name: str) -> st.SearchStrategy[Bounds]:
    limits = _FORMULA.limits[name]
    low, high = _FORMULA.plausible[name]
    values = {bound + by for bound, _above in limits for by in (-1, 0, 1)}

    def exactly(value: float) -> Bounds:
        reaches = {(bound, above): (value > bound if above else value >= bound,) * 2 for bound, above in limits}
        return Bounds(Interval(value, value), Interval(value, value), name in _FORMULA.spans, reaches)

    return st.sampled_from(sorted(value for value in values if low <= value <= high)).map(exactly)


def _decision(chart: Described) -> Decision:
    decision = _REPLAYER.assessment(chart).decision
    assert decision is not None
    return decision


@settings(max_examples=100)
@given(charts())
def test_the_formula_has_the_verdict_of_the_engine_at_every_place(chart: Described) -> None:
    decision, formula = _decision(chart), _CHARTED.chart
    stated = {f"{name} present" for name in chart.present} | {f"{name} absent" for name in chart.absent}
    stated |= {f"{name} {CONTRADICTORY}" for name in chart.contradictory}
    stated |= {f"{name} on a leg" for name in chart.sided} | {f"sex {chart.sex}"}
    stated |= {"bilateral"} if chart.bilateral else set()
    stated |= {f"leads {cause}" for cause, bits in decision.leads.items() if bits & 1}
    # A finding that is on either side where it is on this one.
    if "hip-prosthesis" in chart.present:
        stated |= {"hip-prosthesis-on-either-side present"}
        stated -= {"hip-prosthesis-on-either-side absent", f"hip-prosthesis-on-either-side {CONTRADICTORY}"}
    elif "hip-prosthesis" in chart.absent and "hip-prosthesis-on-either-side" not in chart.present:
        stated -= {f"hip-prosthesis-on-either-side {CONTRADICTORY}"}
        stated |= {"hip-prosthesis-on-either-side absent"}
    for name, bounds in chart.numbers.items():
        stated |= {f"{name} known"} | {f"{name} low {limit}" for limit, (low, _high) in bounds.reaches.items() if low}
        stated |= {f"{name} high {limit}" for limit, (_low, high) in bounds.reaches.items() if high}
    # Of a number that is not known the upper end reaches every limit.
    stated |= {
        f"{name} high {limit}"
        for name, limits in _FORMULA.limits.items()
        if name not in chart.numbers
        for limit in limits
    }
    reads = _FORMULA.terms.reader(stated.__contains__)
    differing: list[Any] = [
        atom
        for atom, places in decision.kernel.atoms.items()
        if not (atom.finding.startswith("flag-") or atom.finding in _FORMULA.facts)
        for place in places
        if reads(formula.values[place]) is not bool(decision.values[place] & 1)
    ]
    # What is judged of a draft comes later.
    made = range(decision.kernel.size, len(decision.values))
    differing += [place for place in made if reads(formula.values[place]) is not bool(decision.values[place] & 1)]
    assert differing == [], in_words(packaged(), chart)
    assert all(map(reads, formula.constraints))


@settings(max_examples=30)
@given(charts(), st.sampled_from(sorted(_CHARTED.directed("worrying"))), st.booleans())
def test_the_service_keeps_the_proved_properties_on_charts_that_it_reads(
    chart: Described, finding: str, absent: bool
) -> None:
    without = replace(
        chart,
        present=tuple(name for name in chart.present if name != finding),
        absent=(*(name for name in chart.absent if name != finding), *([finding] if absent else [])),
        contradictory=tuple(name for name in chart.contradictory if name != finding),
        sided=tuple(name for name in chart.sided if name != finding),
    )
    still_absent = tuple(name for name in without.absent if name != finding)
    worse = replace(without, present=(*without.present, finding), absent=still_absent)
    assessments = [_REPLAYER.assessment(each) for each in (without, worse)]
    for id_ in ("urgency-kept", "red-flags-kept", "calls-kept", "holds-kept"):
        for proposition in _of_finding(id_, finding):
            claimed = [_seen(claim, assessments[claim.chart]) is claim.holds for claim in proposition.broken_by]
            assert not all(claimed), in_words(packaged(), worse)


@settings(max_examples=30)
@given(charts(), st.sampled_from(sorted(_CHARTED.directed("worrying"))), st.data())
def test_with_both_sides_too_a_worrying_finding_takes_nothing_grave_away(
    chart: Described, finding: str, data: st.DataObject
) -> None:
    def entries(names: Sequence[str]) -> list[str]:
        whole = {name for name in names if packaged().findings[name].whole_patient}
        return [name if name in whole else f"{name}, {data.draw(_SIDE)}" for name in names]

    # Both sides are documented without it as well.
    others = entries([name for name in chart.present if name not in (finding, "buttock-pain")])
    present = ["buttock-pain, left", "buttock-pain, right", *others]
    absent = entries([name for name in chart.absent if name != finding])
    assessments = [_assessed({"present": [*present, *more], "absent": absent}) for more in ([], entries([finding]))]
    for proposition in (*_of_finding("urgency-kept", finding), *_of_finding("red-flags-kept", finding)):
        claimed = [_seen(claim, assessments[claim.chart]) is claim.holds for claim in proposition.broken_by]
        assert not all(claimed), (present, absent)


def _assessed(case: dict[str, Any]) -> Assessment:
    return _EXPLAINER.answer(DIAGNOSIS, json.dumps(build_request(case)).encode())[-1].assessment


@settings(max_examples=30)
@given(charts(), st.sampled_from(sorted(_OF_RED_FLAGS & {*_CHARTED.directed("worrying")})))
def test_imaging_that_a_red_flag_calls_for_is_never_rated_as_wrong(chart: Described, finding: str) -> None:
    case = {"present": [*{*chart.present, finding}], "absent": [name for name in chart.absent if name != finding]}
    called = {
        call.key
        for call in _assessed(case).calls
        if isinstance(call, ImagingCall) and call.modality != "none-now" and _raises_a_flag(call.recommendation)
    }
    drafts = [{"id": key, "order": f"orders|{key}"} for key in sorted(called)]
    if not drafts:
        return
    body = json.dumps(build_request({**case, "service": IMAGING_REFERRAL_SIGN, "drafts": drafts})).encode()
    explained = _EXPLAINER.explain(IMAGING_REFERRAL_SIGN, body)
    assert "usually-not" not in {judgement.facts.get("order-rating") for judgement, _verdicts in explained.judged}


def _raises_a_flag(recommendation: str) -> bool:
    return any(r.id == recommendation and r.red_flag for r in packaged().recommendations)


def _seen(claim: Claim, assessment: Assessment) -> bool:
    return assessment.complaint == "present" and claim.observed.seen(assessment)


def _of_finding(id_: str, finding: str) -> list[Proposition]:
    of = _CHARTED.properties.properties[id_]
    unproved = {name for entry in of.exceptions for name in entry.of} | {entry.of for entry in of.known_failures}
    if id_ not in _PROPOSITIONS:
        _PROPOSITIONS[id_] = [s for s in propositions_of(id_, _CHARTED) if isinstance(s, Proposition)]
    return [s for s in _PROPOSITIONS[id_] if s.of.startswith(f"{finding}: ") and s.of not in unproved]


_PROPOSITIONS: dict[str, list[Proposition]] = {}


# ---------------------------------------------------------------------------------------------------------------------
# The command


def test_without_z3_the_command_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.commands.find_spec", lambda _name: None)
    told = CliRunner().invoke(main, ["knowledge", "prove"])
    assert told.exit_code == 2
    assert "pip install 'sitbone[prove]'" in told.output


def test_the_command_prints_what_was_proved(monkeypatch: pytest.MonkeyPatch, proof: Proof) -> None:
    monkeypatch.setattr("service.commands.prove.prove_folder", lambda _folder, _now: proof)
    told = CliRunner().invoke(main, ["knowledge", "prove"])
    assert told.exit_code == 0
    held = sum(result.state == PROVED for result in proof.report.results["hold-stands"])
    assert f"hold-stands: {held} proved" in told.output
    machine: dict[str, Any] = json.loads(CliRunner().invoke(main, ["knowledge", "prove", "--json"]).output)
    assert machine["holds"] is True
    assert {each["id"] for each in machine["properties"]} == proof.properties.properties.keys()


def test_a_failure_ends_the_command_with_1(monkeypatch: pytest.MonkeyPatch, proof: Proof) -> None:
    shown = next(result for of in proof.report.results.values() for result in of if result.state == EXCEPTION)
    missed = replace(proof, not_replayed={(shown.property, shown.of): "chart 1: a card is not there"})
    monkeypatch.setattr("service.commands.prove.prove_folder", lambda _folder, _now: missed)
    told = CliRunner().invoke(main, ["knowledge", "prove"])
    assert told.exit_code == 1
    assert "the service does not show this: chart 1: a card is not there" in told.output


def test_the_service_starts_without_z3() -> None:
    program = "import sys; sys.modules['z3'] = None; import service.app, service.cli, service.services.explanation"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
