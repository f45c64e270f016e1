"""OpenTelemetry traces, where the environment asks for them and the extra `otel` is installed; else nothing runs.

They are asked for by the variables of OpenTelemetry itself: OTEL_EXPORTER_OTLP_ENDPOINT, or the one for traces alone.
A span holds method, route, status and time. FHIR searches are not traced: a patient's id stands in their addresses.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from flask import Flask, request

ASKING = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http", "opentelemetry.instrumentation.flask")
_UNTRACED = "healthz,readyz,metrics"
_WITHHELD = ("http.url", "http.target", "url.full", "url.path", "url.query")
"""Attributes in which a caller may write anything; the route says enough."""


def asked_by() -> str | None:
    """The variable that asks for traces; None where none does."""
    return next((name for name in ASKING if os.environ.get(name)), None)


def why_not() -> str | None:
    """What is missing for the traces that were asked for; None where they were not, or nothing is."""
    variable = asked_by()
    if variable is None or all(map(_is_installed, NEEDED)):
        return None
    return (
        f"{variable} asks for traces, and the extra otel is not installed: "
        "install ketamine-cds[otel], or take the variable away"
    )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it
        return False


def start(app: Flask) -> None:
    """Trace the requests of `app`, if asked to. Raises RuntimeError where `why_not` has something to say."""
    if asked_by() is None:
        return
    missing = why_not()
    if missing:
        raise RuntimeError(missing)
    _trace(app)


def _trace(app: Flask) -> None:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.flask import FlaskInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "ketamine-cds"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    FlaskInstrumentor().instrument_app(app, excluded_urls=_UNTRACED, response_hook=_withhold)


def _withhold(span: Any, status: str, headers: list[tuple[str, str]]) -> None:
    """Leave of a span's address only the route. At the answer, because its attributes are written after its start."""
    if span is None or not span.is_recording():
        return
    rule = request.url_rule
    span.update_name(f"{request.method} {rule.rule}" if rule else request.method)
    for name in _WITHHELD:
        if name in (span.attributes or ()):
            span.set_attribute(name, rule.rule if rule else "")
