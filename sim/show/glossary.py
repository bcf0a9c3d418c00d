"""The words of the report: what its metrics are called, and what its terms mean."""

LABELS = {
    "throughput_per_s": "throughput",
    "lag_s_p50": "lag, median",
    "lag_s_p95": "lag, p95",
    "lag_s_p99": "lag, p99",
    "unhandled": "never handled",
    "attempts_mean": "attempts per message",
    "dead_letters": "dead letters",
    "duplicates": "handled twice",
    "utilisation": "utilisation",
    "wait_s_mean": "wait for a slot, mean",
    "queue_mean": "calls that wait, mean",
    "queue_max": "calls that wait, most",
    "backlog_mean": "backlog, mean",
    "backlog_max": "backlog, largest",
    "batch_size_mean": "messages in a call, mean",
    "circuit_opened": "circuit breakers opened",
    "paused": "paused by circuit breakers",
    "consumers_mean": "consumers, mean",
    "consumers_max": "consumers, most",
    "consumer_hours": "consumer-hours",
    "recovery_s": "recovery from the fault",
    "round_trip_s_p50": "round trip, median",
    "round_trip_s_p95": "round trip, p95",
    "round_trip_s_p99": "round trip, p99",
    "timed_out": "timed out",
    "replies_lost": "replies lost",
    "found_after_return": "replies found after a return",
    "abandoned": "never asked for again",
    "answer_s_p50": "time to answer, median",
    "answer_s_p95": "time to answer, p95",
    "answer_s_p99": "time to answer, p99",
    "answered": "answered",
    "asked_again": "asked again",
    "given_up": "given up",
    "requests_mean": "messages per request",
    "passed_by": "passed by, most",
    "completed": "sagas completed",
    "compensated": "sagas compensated",
    "parked": "sagas parked",
    "half_done": "sagas half done",
    "duration_s_p50": "saga's duration, median",
    "duration_s_p95": "saga's duration, p95",
    "little_residual": "distance from Little's law",
    "lateness_s_p50": "lateness of the load, p50",
    "lateness_s_p99": "lateness of the load, p99",
    "oversleep_s_p50": "oversleep of handlers, p50",
    "oversleep_s_p99": "oversleep of handlers, p99",
    "sent_late": "sent 5 ms late or later",
    "skipped": "not sent before the run was over",
}
GLOSSARY = {
    "attempt": "One try at handling a message. The first is number 1.",
    "backlog": "Messages a service has yet to settle: waiting in the stream, being handled, or put aside for a retry.",
    "consumer-hours": "The time of all consumers that a service was to have, which is what they cost. One that a fault "
    "has taken out counts until it is back.",
    "dead letter": "A message that was given up and kept, with the reason, in the dead-letter queue.",
    "error": "Simulated minus live, seed by seed, then averaged; its share of the live value is judged. Runs of one "
    "seed have the same arrivals, service times and failures in both worlds, so none of these makes the error; the "
    "jitter of retries may.",
    "handled twice": "At-least-once delivery may hand a message out again, after a consumer died for instance.",
    "interval": "95 % confidence interval of the mean over runs (Student's t). One run has none.",
    "lag": "Time from when the load meant to send a message until a handler was done with it for the first time. The "
    "system's lag ends at the services that emit nothing.",
    "last run": "A baseline: how far a live run of the seed before is off, which had other arrivals at the same rates.",
    "lateness": "How much later than intended the load generator sent. Where its p99 reaches 5 ms, the run is invalid.",
    "lease": "How long a consumer may be silent about a message it holds before another one takes it over.",
    "Little's law": "Mean backlog = arrival rate x mean stay. The distance from it shows whether the backlog that the "
    "server counted and the times that the processes noted agree.",
    "live": "Real processes, the real library, a real server. A kill is SIGKILL, a pause SIGSTOP and then SIGCONT.",
    "M/M/c": "A baseline: how far the formula for exponential times is off. It knows the measured rate and mean alone.",
    "never handled": "Messages that were neither handled nor given up when the run ended. Their lag counts as at least "
    "the length of the run, so a quantile that falls among them is a lower bound: >= 30 s, 97 % unhandled.",
    "noise": "The 95 % error bar that the error has because live runs of one seed differ (Student's t over n live "
    "runs). It shrinks with more repeats.",
    "oversleep": "How much longer than its service time a live handler slept: an error of the instrument itself.",
    "p50, p95, p99": "Half, 95 % and 99 % of the messages had at most this lag. Dead letters are counted apart.",
    "passed by": "How many dispatches of others came in a row while a task of this priority waited: the most in a run. "
    "The others of a tenant are those of its priority. The weights of a queue bound it.",
    "recovery": "Time from a service's first fault until its backlog is back at what it was before. With several "
    "faults there is one for each as well, by its kind and its place in the scenario, from the end of that fault.",
    "repeat": "Another live run of the same seed.",
    "replies found after a return": "Replies that a killed caller got all the same: the process that took its place "
    "asked for them by their correlation ids. Those of a caller that never came back are never asked for again.",
    "replies lost": "Requests without a reply, although it was there 100 ms and more before the caller's time was "
    "over.",
    "round trip": "Time from when a request was meant to be sent until its caller had the reply. A request that timed "
    "out counts with the time that its caller waited for it.",
    "saga": "A business act of several steps. It is completed; or compensated, where a step failed for good and what "
    "was done has been undone in reverse order; or parked, where it waits for an operator. Its duration is the time "
    "from its first act to its end.",
    "sagas half done": "Sagas whose acts do not agree with their end, or that have none and that no worker will go on "
    "with.",
    "run": "One pass through the scenario in one world.",
    "seed": "The number that decides everything random in a run.",
    "simulated": "The same rules in virtual time; only how long things take is modelled.",
    "time to answer": "Time from when a request was first meant to be sent until a reply came to one of its messages, "
    "or it was given up.",
    "tolerance": "How far a prediction may be off, as a share of the live value. Within: the whole error bar is. "
    "Outside: none of it is. Too noisy: the bar reaches across the tolerance, or no seed ran live twice.",
    "utilisation": "The share of the run in which a handler is busy, averaged over the handlers of a service; of a "
    "dependency, in which a slot is busy.",
}
