"""Spans for whoever collects them (OpenTelemetry); nothing, and at no cost, where nobody does.

A request has one, and each request to an upstream that it causes has one within it: the context travels with tasks,
and to upstreams as `traceparent` (W3C Trace Context).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Protocol

from edgeproxy import __version__

Kind = Literal["server", "client"]


class Span(Protocol):
    def set_attribute(self, key: str, value: Any) -> object: ...


class NotInstalled(Exception):
    """What to install."""


class _NoSpan:
    def set_attribute(self, key: str, value: Any) -> None:
        pass


_NONE = _NoSpan()
_tracing: "_Tracing | None" = None


def set_up(endpoint: str, name: str) -> None:
    """From now on spans go to `endpoint`, a collector of OTLP; `name` is this proxy's. Raises `NotInstalled`."""
    global _tracing
    _tracing = _Tracing(endpoint, name)


def shut_down() -> None:
    """Send what there is. Blocks."""
    global _tracing
    tracing, _tracing = _tracing, None
    if tracing is not None:
        tracing.provider.shutdown()


def is_on() -> bool:
    return _tracing is not None


@contextmanager
def span(name: str, kind: Kind, carrier: Mapping[str, str] | None = None) -> Iterator[Span]:
    """One from here to the block's end. `carrier`: header fields of who asked, who may have a trace already."""
    if _tracing is None:
        yield _NONE
        return
    with _tracing.span(name, kind, carrier) as found:
        yield found


def carry(fields: dict[str, str]) -> None:
    """Tell whoever is asked which trace this belongs to."""
    if _tracing is not None:
        _tracing.propagator.inject(fields)


class _Tracing:
    def __init__(self, endpoint: str, name: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace import SpanKind
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise NotInstalled(
                f"trace.endpoint needs more than is installed: pip install 'edgeproxy[otel]' ({error.name})"
            ) from error
        self._kinds = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT}
        about = {"service.name": "edgeproxy", "service.version": __version__, "service.instance.id": name}
        self.provider = TracerProvider(resource=Resource.create(about))
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self.provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self.provider.get_tracer("edgeproxy", __version__)
        self.propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(self, name: str, kind: Kind, carrier: Mapping[str, str] | None) -> Iterator[Span]:
        context = self.propagator.extract({key.lower(): each for key, each in carrier.items()}) if carrier else None
        with self._tracer.start_as_current_span(name, context=context, kind=self._kinds[kind]) as found:
            yield found
