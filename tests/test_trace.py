"""The call trace: what is counted, and that a request goes down the rooms once and comes back once."""

from pathlib import Path

import pytest

from bench.trace import REQUEST, Call, Trace, trace

ONE_OF_EACH = (
    "sudden-pop-with-bruising",
    "left-and-right",
    "imaging-referral-sign/tear-with-mri-of-the-lumbar-spine",
    "imaging-referral-sign/lumbar-mri-saddle-unknown",
    "imaging-referral-sign/wrong-side",
    "analgesic-safety-sign/two-nsaids",
    "appointment-timing/worsening-without-a-time",
    "discharge-advice/leg-weakness",
)


def file_of(name: str) -> Path:
    return REQUEST.parent / f"{name}.json"


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_request_passes_chart_reasoning_and_cards_in_this_order_and_never_goes_back(name: str) -> None:
    service = name.rpartition("/")[0]
    traced = trace(file_of(name), service)
    assert traced.goes_back() == 0
    # What is entered from the room of the services stands two steps below the blueprint's.
    rooms = [line.partition(":")[0].strip() for line in traced.lines() if line.startswith("    ") and line[4] != " "]
    entered = [room for room in rooms if room in ("chart", "reasoning", "answers")]
    assert entered[0] == "chart"
    assert entered[-1] == "answers"
    assert "reasoning" in entered


def test_calls_changes_of_file_and_steps_back_are_counted() -> None:
    def call(room: str, file: str, *calls: Call) -> Call:
        looks = [Call(room, file, "look") for _ in range(9)]
        return Call(room, file, "f", [*looks, *calls])

    def under(*calls: Call) -> Trace:
        return Trace(Call("", "", "", [call("services", "s", *calls)]))

    chart, reasoning, answers = call("chart", "c"), call("reasoning", "r"), call("answers", "a")
    traced = under(chart, reasoning, answers)
    assert (traced.calls, traced.changes_of_file, traced.goes_back()) == (40, 3, 0)
    assert under(chart, reasoning, chart, answers, reasoning, answers).goes_back() == 2
    # A look at a value is no entering.
    assert under(answers, Call("chart", "c", "look")).goes_back() == 0
    assert [*traced.lines()] == ["services: f (40)", "  chart: f (10)", "  reasoning: f (10)", "  answers: f (10)"]


def test_a_request_that_is_refused_is_not_traced(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_bytes(REQUEST.read_bytes().replace(b'"hookInstance"', b'"other"'))
    with pytest.raises(RuntimeError, match=r"refuses request\.json"):
        trace(file)
