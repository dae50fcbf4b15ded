"""What becomes of the metrics of several processes on one page."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from kit.metrics_merging import labelled, merged


def page_of(worker: int) -> bytes:
    registry = CollectorRegistry()
    served = Counter("served_total", "Sent, by tier.", ["tier"], registry=registry)
    served.labels("memory").inc(worker + 1)
    served.labels('a "quoted" {brace}').inc()
    Gauge("running", "Now.", registry=registry).set(worker * 10)
    Histogram("seconds", "Took.", registry=registry, buckets=[1]).observe(0.5)
    if worker:
        Gauge("only_of_some", "Rare.", registry=registry).set(7)
    return generate_latest(registry)


def test_every_sample_of_every_process_is_there_and_says_whose_it_is() -> None:
    page = merged(labelled(page_of(worker), "worker", str(worker)) for worker in range(3))
    samples = {
        (sample.name, sample.labels.pop("worker"), tuple(sorted(sample.labels.items()))): sample
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }
    assert samples["served_total", "2", (("tier", "memory"),)].value == 3
    assert samples["served_total", "1", (("tier", 'a "quoted" {brace}'),)].value == 1
    assert [samples["running", str(worker), ()].value for worker in range(3)] == [0, 10, 20]
    assert samples["seconds_bucket", "0", (("le", "1.0"),)].value == 1
    assert ("only_of_some", "0", ()) not in samples
    assert samples["only_of_some", "2", ()].value == 7
    per_page = sum(not line.startswith(b"#") for line in page_of(1).splitlines())
    assert len(samples) == 3 * per_page - 1


def test_all_lines_of_a_metric_stand_together_below_one_head() -> None:
    page = merged(labelled(page_of(worker), "worker", str(worker)) for worker in range(3))
    families = [family.name for family in text_string_to_metric_families(page.decode())]
    assert len(families) == len(set(families))
    assert page.count(b"# HELP running ") == page.count(b"# TYPE running ") == 1
