"""What Prometheus reads: counts and times of the service, with no customer in any label."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One gateway's numbers."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "modelyard_requests", "Replies by route and HTTP status.", ("route", "status"), registry=registry
        )
        self.input_tokens = Counter(
            "modelyard_input_tokens", "Tokens read, as in the usage events.", registry=registry
        )
        self.output_tokens = Counter(
            "modelyard_output_tokens", "Tokens written, as in the usage events.", registry=registry
        )
        self.finishes = Counter(
            "modelyard_answers", "Answers by how they ended.", ("finish",), registry=registry
        )
        self.waiting = Gauge("modelyard_waiting", "Requests that wait for the engine.", registry=registry)
        self.running = Gauge("modelyard_running", "Requests under way.", registry=registry)
        self.restarts = Counter(
            "modelyard_engine_restarts", "Times the engine ended by itself.", registry=registry
        )
        self.unsettled = Counter(
            "modelyard_unsettled", "Answers whose event could not be written.", registry=registry
        )
        self.release = Gauge(
            "modelyard_release", "1 for the release served.", ("release",), registry=registry
        )
        self.queue = self._seconds("modelyard_queue_seconds", "Wait for the engine.")
        self.first = self._seconds("modelyard_first_token_seconds", "From arrival to the first token.")
        self.whole = self._seconds("modelyard_request_seconds", "From arrival to the settlement.")

    def _seconds(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, buckets=SECONDS, registry=self._registry)

    def serves(self, release: str) -> None:
        """Say which release is served."""
        self.release.clear()
        self.release.labels(release).set(1)

    def text(self) -> bytes:
        """All of it, in Prometheus's text form."""
        return generate_latest(self._registry)
