"""A collector of spans: Rotel, and behind it a server that keeps what the collector has exported."""

import gzip
import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tools.airflow_stack import Service, free_port


@dataclass(frozen=True)
class Span:
    """A span as it was exported."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    is_error: bool
    message: str
    events: int


@dataclass
class Collector:
    """Spans that were sent to the collector.

    :param url: where OTLP is sent to with gRPC.
    """

    url: str
    bodies: list[bytes] = field(default_factory=list)

    @property
    def config(self) -> dict[str, str]:
        """Settings of an Airflow that sends its spans here."""
        return {
            "AIRFLOW__TRACES__OTEL_ON": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_SERVICE_NAME": "airflow",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }

    def spans(self) -> list[Span]:
        """Return all spans so far."""
        requests = [ExportTraceServiceRequest.FromString(body) for body in [*self.bodies]]
        return [
            _read(span)
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def collector(folder: Path) -> Iterator[Collector]:
    """Run the collector."""
    program = Path(next(iter(importlib.util.find_spec("rotel").submodule_search_locations)), "rotel-agent")
    receiver, exported = f"127.0.0.1:{free_port()}", Collector("")
    exported.url = f"http://{receiver}"

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            exported.bodies.append(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        command = [
            *(str(program), "start", "--exporter", "otlp", "--otlp-exporter-protocol", "http"),
            *("--otlp-exporter-endpoint", f"http://127.0.0.1:{server.server_port}"),
            *("--otlp-grpc-endpoint", receiver, "--otlp-http-endpoint", f"127.0.0.1:{free_port()}"),
            *("--pid-file", str(folder / "rotel.pid"), "--log-file", str(folder / "rotel-agent.log")),
        ]
        try:
            with Service("Rotel", command, folder / "rotel.log") as service:
                service.wait_until(lambda: "Starting Rotel" in service.log.read_text(), 30, "Rotel to start")
                yield exported
        finally:
            server.shutdown()
            thread.join()


def _read(span: Any) -> Span:
    kinds = span.DESCRIPTOR.fields_by_name["kind"].enum_type.values_by_number
    return Span(
        name=span.name,
        kind=kinds[span.kind].name.removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes={attribute.key: _value(attribute.value) for attribute in span.attributes},
        is_error=span.status.code == 2,
        message=span.status.message,
        events=len(span.events),
    )


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(item) for item in value.array_value.values] if kind == "array_value" else getattr(value, kind)
