"""The compiled knowledge: bits say of each chart what the words of a condition say, however many charts there are."""

import pickle
import random
from collections.abc import Iterator
from itertools import product

import pytest

from service.app import create_app
from service.chart.case import Case
from service.chart.side_chart import Chart
from service.knowledge_model.condition_text import parse
from service.knowledge_model.conditions import STATES, Condition
from service.knowledge_model.model import Knowledge
from service.knowledge_model.vocabulary import CHART_KINDS
from service.reasoning.decision import charts_of, decide, layout, ones, screen
from service.reasoning.kernel import Kernel, Node, compiled
from service.settings import Settings
from tests.charts import CLOCK, SERVICE, build_request, named_cases, packaged
from tests.compiled import verdicts
from tests.plain_logic import verdict
from tests.test_next_question import ASSESSOR, read, thinned


@pytest.fixture(scope="module")
def knowledge() -> Knowledge:
    return packaged()


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return compiled(packaged())


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [thinned(read(case), number) for number, case in enumerate(named_cases()[::6])]


def nodes(condition: Condition, node: Node) -> Iterator[tuple[Condition, Node]]:
    yield condition, node
    for parts in zip(condition.parts, node.parts, strict=True):
        yield from nodes(*parts)


def chart_conditions(knowledge: Knowledge, kernel: Kernel) -> Iterator[tuple[Condition, Node]]:
    """Every part of every condition that reads the chart alone, with its compiled form."""
    made = {
        name
        for name in knowledge.definitions
        if any("considers" in n or "red-flag" in n for n in knowledge.opened([name]))
    }
    for name, criterion in kernel.criteria.items():
        if name not in made or name == "red-flag-contradictory":
            yield from nodes(knowledge.definitions[name][1], criterion)
    for rule in knowledge.recommendations:
        if rule.kind == "red-flag":
            yield from nodes(rule.when, kernel.recommendations[rule.id].when)


def test_every_part_of_every_condition_comes_out_as_its_words_say(
    knowledge: Knowledge, kernel: Kernel, cases: list[Case]
) -> None:
    compared = 0
    for case in cases:
        for side in case.sides():
            chart = Chart(case, side, with_sideless=True)
            decision = screen(kernel, charts_of(kernel, layout(kernel, 1), [chart])).told({})
            for condition, node in chart_conditions(knowledge, kernel):
                said = verdict(condition, chart.known, chart.contradictory, knowledge)
                assert decision.on(node.true, 0) is (said is True), condition
                assert decision.on(node.false, 0) is (said is False), condition
                compared += 1
    assert compared > 50_000


def test_the_whole_language_comes_out_as_its_words_say_on_many_charts_at_once(knowledge: Knowledge) -> None:
    names = ("fever", "chills", "night-or-rest-pain")
    leaves = [f"{state}({name})" for name in names for state in STATES]
    joints = ("{} and {}", "any of ({}, {})", "none of ({}, {})")
    pairs = [joint.format(one, other) for joint in joints for one in leaves for other in leaves]
    nested = [
        joint.format(f"({pair})", leaves[number % len(leaves)])
        for joint in (joints[0], joints[2])
        for number, pair in enumerate(pairs)
    ]
    conditions = {text: parse(text, {}) for text in (*leaves, *pairs, *nested)}
    charts = [
        {name: value for name, value in zip(names, values, strict=True) if value is not None}
        for values in product((True, False, None), repeat=3)
    ]
    for text, found in verdicts(conditions, charts).items():
        assert found == [verdict(conditions[text], known, (), knowledge) for known in charts], text


def test_no_verdict_is_both_true_and_false(knowledge: Knowledge, kernel: Kernel, cases: list[Case]) -> None:
    for case in cases:
        decision = ASSESSOR.assess(case).decision
        if decision:
            about_charts = (r.id for r in knowledge.recommendations if r.kind in CHART_KINDS)
            of_all = [*kernel.criteria.values(), *(kernel.recommendations[id_].when for id_ in about_charts)]
            values = decision.told({}).values
            assert not any(values[node.true] & values[node.false] for node in of_all)


def test_a_pickled_kernel_decides_the_same(kernel: Kernel, cases: list[Case]) -> None:
    other = pickle.loads(pickle.dumps(kernel))  # noqa: S301 - made here
    for case in cases[::10]:
        charts = charts_of(kernel, layout(kernel, 1), [Chart(case, "", with_sideless=True)], informed=True)
        assert decide(other, charts).values == decide(kernel, charts).values


def test_a_variant_that_answers_nothing_new_changes_nothing(kernel: Kernel, cases: list[Case]) -> None:
    chance = random.Random(3)  # noqa: S311 - no secret
    for case in cases:
        chart = Chart(case, "", with_sideless=True)
        if not chart.known:
            continue
        name = chance.choice(sorted(chart.known))
        decision = decide(kernel, charts_of(kernel, layout(kernel, 1, [{name: True}]), [chart]))
        assert all(bits & 1 == bits >> 1 for bits in decision.values), name


def test_the_numbers_of_the_bits_that_are_set_begin_with_the_lowest() -> None:
    assert ones(0b101001) == [0, 3, 5]
    assert ones(0) == []


def test_each_operation_stands_once_and_after_what_it_reads(kernel: Kernel) -> None:
    done = set(range(kernel.size))
    operations = [operation for stage in kernel.stages for operation in stage]
    for operation in operations:
        assert done.issuperset(operation.of)
        done.add(operation.place)
    assert len({(operation.word, operation.of) for operation in operations}) == len(operations)


def test_an_application_has_made_what_decides_before_processes_are_forked_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    application = create_app(Settings(), clock=lambda: CLOCK)

    def never(_operations: object) -> None:
        raise AssertionError("each process would make it for itself, and keep what that takes")

    monkeypatch.setattr("service.reasoning.kernel._function", never)
    assert application.test_client().post(SERVICE, json=build_request({"present": ["buttock-pain"]})).status_code == 200
