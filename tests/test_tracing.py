"""Traces: one span for a call, one for each stage, under the trace of the caller, and nothing of the chart in them."""

import json
import sys
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from service.app import create_app
from service.server.tracing import Tracing, open_tracing
from service.settings import Settings, SettingsError
from tests.charts import CLOCK, named_cases
from tests.serving import PATH

CALL_ID = "0f3b1ba2-7c41-4c0e-9a3e-2f6f0d3f8f11"

ENDPOINT = "http://127.0.0.1:4318"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def request() -> dict[str, Any]:
    return next(case for case in named_cases() if case.fixture == "sudden-tear").request()


def spans_of(body: Any, headers: dict[str, str] | None = None, *, broken: bool = False) -> list[ReadableSpan]:
    """The spans of a call, in the order in which they ended: that of the call is the last."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def clock() -> Any:
        if broken and made:
            raise RuntimeError
        return CLOCK

    made: list[Tracing] = []
    app = create_app(Settings(), clock, tracing=Tracing(lambda: provider))
    made.append(Tracing(lambda: provider))
    app.test_client().post(PATH, json=body, headers=headers)
    return list(exporter.get_finished_spans())


def test_a_call_is_a_span_with_a_span_for_each_stage_inside_it() -> None:
    *stages, whole = spans_of(request())
    assert [span.name for span in stages] == ["read", "fetch", "answer", "send"]
    assert whole.name == "POST /cds-services/gluteal-hamstring-pain"
    for span in stages:
        assert span.parent is not None
        assert span.parent.span_id == whole.context.span_id
        assert whole.start_time <= span.start_time <= span.end_time <= whole.end_time  # type: ignore[operator]


def test_it_says_service_hook_status_and_states() -> None:
    attributes = dict(spans_of(request(), {"X-Correlation-Id": CALL_ID})[-1].attributes or {})
    assert attributes["sitbone.service"] == "gluteal-hamstring-pain"
    assert attributes["sitbone.hook"] == "patient-view"
    assert attributes["http.response.status_code"] == 200
    assert attributes["sitbone.correlation_id"] == CALL_ID
    assert attributes["sitbone.state.observations"] == "supplied"


def texts(node: Any) -> set[str]:
    if isinstance(node, dict):
        return {text for value in node.values() for text in texts(value)}
    if isinstance(node, list):
        return {text for value in node for text in texts(value)}
    return {node} if isinstance(node, str) else set()


def test_nothing_of_the_request_is_in_a_trace_but_its_hook() -> None:
    body = request()
    said = {str(value) for span in spans_of(body) for value in (span.attributes or {}).values()}
    assert said & texts(body) == {"patient-view"}
    whole = json.dumps([json.loads(span.to_json()) for span in spans_of(body)])
    assert body["context"]["patientId"] not in whole
    assert body["hookInstance"] not in whole


def test_the_trace_of_the_caller_goes_on() -> None:
    whole = spans_of(request(), {"Traceparent": f"00-{TRACE}-{PARENT}-01"})[-1]
    assert whole.parent is not None
    assert (f"{whole.context.trace_id:032x}", f"{whole.parent.span_id:016x}") == (TRACE, PARENT)


def test_a_caller_who_does_not_want_a_trace_gets_none() -> None:
    assert spans_of(request(), {"traceparent": f"00-{TRACE}-{PARENT}-00"}) == []


@pytest.mark.parametrize("given", ["nonsense", f"00-{'0' * 32}-{PARENT}-01"])
def test_a_traceparent_that_is_none_begins_a_trace_of_its_own(given: str) -> None:
    assert spans_of(request(), {"traceparent": given})[-1].parent is None


def test_a_refused_call_has_the_stages_it_came_to_and_no_error() -> None:
    (whole,) = spans_of({})
    assert (whole.attributes or {})["http.response.status_code"] == 400
    assert whole.status.status_code is StatusCode.UNSET


def test_a_fault_of_the_service_is_an_error_without_words() -> None:
    whole = spans_of(request(), broken=True)[-1]
    assert (whole.attributes or {})["http.response.status_code"] == 500
    assert (whole.status.status_code, whole.status.description) == (StatusCode.ERROR, None)
    assert not whole.events


def test_without_an_endpoint_there_are_no_traces() -> None:
    assert open_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}) is None


def test_no_thread_is_started_before_the_first_call() -> None:
    made = []
    tracing = Tracing(lambda: made.append(1) or TracerProvider())  # type: ignore[func-returns-value]
    tracing.close()
    assert not made
    assert open_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT}) is not None


def test_an_endpoint_without_the_packages_ends_the_start_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(SettingsError, match=r"^OTEL_EXPORTER_OTLP_ENDPOINT is set, .* install sitbone\[otel\]\.$"):
        open_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT})
