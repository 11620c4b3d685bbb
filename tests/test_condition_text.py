"""Conditions as text: what is printed is read as the same, and every state and bound says what it says."""

from __future__ import annotations

import re
from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.knowledge_model.condition_text import as_text, from_table, is_name, parse
from service.knowledge_model.conditions import STATES, Condition, Interval, Value, comparison, joint
from tests.charts import packaged
from tests.compiled import verdicts

THRESHOLDS = {"adult": 18.0, "fever": 38.0}
NAMES = st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True).filter(is_name)


def _bounds(name: str, word: str, threshold: str) -> Condition:
    return comparison(name, word, THRESHOLDS[threshold], threshold)


COMPARISONS = st.one_of(
    st.builds(comparison, NAMES, st.just("is"), st.sampled_from(STATES)),
    st.builds(comparison, NAMES, st.just("one_of"), st.frozensets(NAMES, min_size=1, max_size=3)),
    st.builds(_bounds, NAMES, st.sampled_from(["at_least", "at_most"]), st.sampled_from(sorted(THRESHOLDS))),
)


def _joints(parts: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    several = st.lists(parts, min_size=1, max_size=4).map(tuple)
    return st.one_of(
        # There is no way, and no need, to write an `all` of one part.
        st.builds(joint, st.just("all"), st.lists(parts, min_size=2, max_size=4).map(tuple)),
        st.builds(joint, st.sampled_from(["any", "none"]), several),
    )


@given(st.recursive(COMPARISONS, _joints, max_leaves=12))
def test_what_is_printed_is_read_as_the_same_condition(condition: Condition) -> None:
    text = as_text(condition)
    assert parse(text, THRESHOLDS) == condition
    assert as_text(parse(text, None)) == text


@given(st.text(alphabet='ab-(), \n#<>=7A"andyofnie', max_size=30))
def test_any_text_is_a_condition_or_is_refused_with_line_and_column(text: str) -> None:
    try:
        condition = parse(text, THRESHOLDS)
    except ValueError as error:
        said = str(error)
    else:
        said = ""
        assert parse(as_text(condition), THRESHOLDS) == condition
    assert not said or re.match(r"line \d+, column \d+: ", said), text


def test_every_condition_of_the_knowledge_is_printed_as_what_it_is() -> None:
    knowledge = packaged()
    numbers = {name: float(threshold["value"]) for name, threshold in knowledge.thresholds.items()}
    conditions = list(knowledge.conditions())
    assert len(conditions) > 400
    for condition in conditions:
        assert parse(as_text(condition), numbers) == condition


def test_a_bound_keeps_the_name_of_its_number() -> None:
    bound = parse("age >= adult", THRESHOLDS)
    assert (bound.operand, bound.threshold) == (18.0, "adult")


@pytest.mark.parametrize(
    ("text", "value", "verdict"),
    [
        ("fever", True, True),
        ("fever", False, False),
        ("fever", None, None),
        ("present(fever)", True, True),
        ("absent(fever)", False, True),
        ("absent(fever)", None, None),
        ("not-absent(fever)", None, True),
        ("not-absent(fever)", False, False),
        ("not-present(fever)", None, True),
        ("not-present(fever)", True, False),
        ("unknown(fever)", None, True),
        ("unknown(fever)", True, False),
        ("unknown(fever)", False, False),
        ("unknown(fever)", Interval(1, 2), False),
        ("contradictory(fever)", None, False),
        ("fever >= adult", Interval(18, 18), True),
        ("fever >= adult", Interval(17, 18), None),
        ("fever > adult", Interval(18, 18), False),
        ("fever > adult", Interval(18.5, 19), True),
        ("fever <= adult", Interval(18, 18), True),
        ("fever < adult", Interval(18, 18), False),
        ("fever < adult", Interval(17, 17), True),
        ("fever < adult", Interval(17, 18), None),
        ("fever in (high, low)", "low", True),
        ("fever in (high, low)", "middling", False),
        ("fever in (high, low)", None, None),
        ("none of (fever)", True, False),
        ("none of (fever)", None, None),
        ("none of (absent(fever), unknown(fever))", True, True),
    ],
)
def test_each_word_says_this_of_a_value(text: str, value: Value, verdict: bool | None) -> None:
    # A finding that has such values.
    name = "body-temperature" if isinstance(value, Interval) else "sex" if isinstance(value, str) else "fever"
    condition = parse(text.replace("fever", name), THRESHOLDS)
    assert verdicts({text: condition}, [{} if value is None else {name: value}]) == {text: [verdict]}


def test_commas_bind_less_than_and() -> None:
    condition = parse("any of (a and b, c)", {})
    assert [part.word for part in condition.parts] == ["all", "is"]


def test_line_breaks_remarks_and_a_last_comma_mean_nothing() -> None:
    laid_out = """
    a
    # Why not b.
    and any of (
      b,  # and of which kind
      c,
    )
    """
    assert parse(laid_out, {}) == parse("a and any of (b, c)", {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, column 1: expected a name, 'any of', 'none of', '('; found the end"),
        ("a\nand", "line 2, column 4: expected a name, 'any of', 'none of', '('; found the end"),
        ("a\n  and b c", "line 2, column 9: expected 'and', 'in', '>=', '<=', '<', '>', '(', the end; found 'c'"),
        ("any (a)", "line 1, column 5: expected 'of'; found '('"),
        ("any of a", "line 1, column 8: expected '('; found 'a'"),
        ("any of ()", "line 1, column 9: expected a name, 'any of', 'none of', '('; found ')'"),
        ("a or b", "line 1, column 3: there is no 'or': write any of (…, …)"),
        ("Fever", "line 1, column 1: 'F' is no part of a condition"),
        ("a = b", "line 1, column 3: '=' is no part of a condition"),
        ("age >= 18", "line 1, column 8: expected the name of a number in guideline.toml, found '18'"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place_and_what_was_expected(text: str, said: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the whole sentence is compared
        parse(text, THRESHOLDS)
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"finding": "fever", "is": "present"}, "fever"),
        ({"finding": "fever", "is": "not-absent"}, "not-absent(fever)"),
        ({"finding": "sex", "one_of": ["other", "female"]}, "sex in (female, other)"),
        ({"finding": "age", "at_least": "adult"}, "age >= adult"),
        ({"none": [{"finding": "age", "at_least": "adult"}]}, "age < adult"),
        ({"all": [{"finding": "age", "at_most": "adult"}]}, "age <= adult"),
        (
            {"all": [{"finding": "a", "is": "present"}, {"any": [{"finding": "b", "is": "absent"}] * 2}]},
            "a and any of (absent(b), absent(b))",
        ),
    ],
)
def test_a_condition_in_the_form_of_version_0_3_0_has_its_text(table: object, text: str) -> None:
    assert from_table(table) == text


@pytest.mark.parametrize(
    "table", [None, 7, {}, {"finding": "a"}, {"all": []}, {"all": "a"}, {"is": "present"}, {"finding": "a", "was": "b"}]
)
def test_what_was_no_condition_has_none(table: object) -> None:
    with pytest.raises(ValueError, match="is no condition"):
        from_table(table)


def test_without_numbers_any_name_is_one() -> None:
    bound = parse("age >= of-age", None)
    assert bound.threshold == "of-age"
    assert isnan(bound.operand)
