"""What is counted: values fall into the first bucket that holds them, and the counts of several consumers add up."""

from eventlib.counts import ConsumerCounts, Histogram, summed


def test_a_value_counts_in_the_first_bucket_that_is_not_below_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value, times in ((0.0, 1), (1.0, 2), (1.5, 4), (2.0, 8), (2.1, 16)):
        histogram.add(value, times)
    assert histogram.counts == [3, 12, 16]
    assert histogram.total == 0.0 + 2.0 + 6.0 + 16.0 + 33.6


def test_counts_add_up() -> None:
    first, second = ConsumerCounts(handled=1, dead=2), ConsumerCounts(handled=10, lost=20)
    first.lag.add(0.001)
    second.lag.add(1e9, 3)
    total = summed([first, second])
    assert (total.handled, total.failed, total.dead, total.lost) == (11, 0, 2, 20)
    assert (total.lag.counts[0], total.lag.counts[-1], sum(total.handling.counts)) == (1, 3, 0)
    assert (first.handled, sum(first.lag.counts)) == (1, 1)  # what was added stays as it is
