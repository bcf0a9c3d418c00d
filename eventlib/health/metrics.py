"""A program's numbers in the format of Prometheus. They are read when they are asked for; between, nothing is done.

No series is left of a process that ended. `instance` is Prometheus' own label.
"""

from collections.abc import Iterable
from itertools import accumulate

from eventlib.counts import Histogram
from eventlib.extras import needs_extra
from eventlib.health.numbers import DURATIONS, NUMBERS, Seen
from eventlib.health.verdicts import Verdict
from eventlib.health.watch import Look, Watch
from eventlib.operate.serving import Answer

with needs_extra("metrics", "/metrics"):
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector

_PROCESS = CollectorRegistry()
ProcessCollector(registry=_PROCESS)


def exposition(watch: Watch, look: Look, ready: Verdict, accept: str) -> Answer:
    """All metrics, in the text format that the scraper accepts."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Metrics(Seen.of(watch.parts, watch.snapshot, look, ready.good)))
    return Answer(200, content_type, encode(registry))


class _Metrics(Collector):
    """The metrics of one scrape."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def collect(self) -> Iterable[Metric]:
        """Every metric, with its samples."""
        yield from _PROCESS.collect()
        for number in NUMBERS:
            family = CounterMetricFamily if number.kind == "counter" else GaugeMetricFamily
            made = family(number.name, number.about, labels=number.labels)
            for labels, value in number.samples(self._seen):
                made.add_metric(labels, value)
            yield made
        for durations in DURATIONS:
            histograms = HistogramMetricFamily(durations.name, durations.about, labels=durations.labels)
            for labels, histogram in durations.samples(self._seen):
                histograms.add_metric(labels, *_buckets(histogram))
            yield histograms


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    counts = list(accumulate(list(histogram.counts)))  # a copy: the loop adds meanwhile
    bounds = [*(str(bound) for bound in histogram.bounds), "+Inf"]
    return list(zip(bounds, map(float, counts), strict=True)), histogram.total
