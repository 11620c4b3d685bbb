"""Traces of calls for a collector that speaks OTLP over HTTP, where OTEL_EXPORTER_OTLP_ENDPOINT names one.

A call is one span with a span for each stage, under the trace of the caller where it sends a `traceparent`. Attributes
are what the log holds of a call, without its hookInstance: names, states of prefetch keys, status. The spans are made
when the call is over, so that the stages know nothing of them. The other OTEL_* variables are those of the SDK.
Specification: W3C Trace Context.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import TYPE_CHECKING

from cds_hooks import CallRecord
from service.settings import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from service.answers.answered import Answered

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_NAME = "sitbone"


def open_tracing(environ: Mapping[str, str]) -> Tracing | None:
    """None where no endpoint is named; raises SettingsError where one is, and the packages for it are missing."""
    named = next((name for name in _ENDPOINTS if environ.get(name, "").strip()), None)
    if named is None:
        return None
    try:
        import opentelemetry.exporter.otlp.proto.http  # noqa: PLC0415
        import opentelemetry.sdk  # noqa: F401, PLC0415
    except ImportError:
        raise SettingsError(
            f"{named} is set, and the packages that send traces are not installed: install sitbone[otel]."
        ) from None
    return Tracing(_provider)


def _provider() -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", _NAME)}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Tracing:
    """Tells a provider of each call. It is made with the first one: it has threads, and workers are forked before."""

    def __init__(self, make: Callable[[], TracerProvider]) -> None:
        self._make, self._lock = make, Lock()
        self._provider: TracerProvider | None = None

    def call(self, call: CallRecord[Answered], headers: Mapping[str, str]) -> None:
        """The spans of a call that has just ended; `headers` are those of its request, in lower case."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        tracer = self._opened().get_tracer(_NAME)
        end = time.time_ns()
        at = end - sum(map(_nanoseconds, call.seconds.values()))
        attributes = {
            "http.request.method": "POST",
            "http.response.status_code": call.status,
            "sitbone.correlation_id": call.correlation_id,
            "sitbone.client": call.client,
            "sitbone.service": call.service_id,
            "sitbone.hook": call.hook,
            **{f"sitbone.state.{key}": state for key, state in call.states.items()},
        }
        whole = tracer.start_span(
            f"POST /cds-services/{call.service_id}",
            TraceContextTextMapPropagator().extract(headers),
            SpanKind.SERVER,
            {name: value for name, value in attributes.items() if value is not None},
            start_time=at,
        )
        inside = set_span_in_context(whole)
        for stage, seconds in call.seconds.items():
            span = tracer.start_span(stage, inside, start_time=at)
            at += _nanoseconds(seconds)
            span.end(at)
        if call.status >= 500:
            whole.set_status(Status(StatusCode.ERROR))
        whole.end(end)

    def close(self) -> None:
        """Send what waits; for a process that ends."""
        if self._provider is not None:
            self._provider.shutdown()

    def _opened(self) -> TracerProvider:
        if self._provider is None:
            with self._lock:
                if self._provider is None:
                    self._provider = self._make()
        return self._provider


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
