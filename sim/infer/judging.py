"""Does a prediction say that what is expected will hold?"""

from collections.abc import Sequence

from sim.declare.expectations import Expectation
from sim.evidence.expectations import Judged, judge_values, open_above
from sim.evidence.export import own_name
from sim.infer.prediction import NOT_PREDICTED, Predicted, Prediction


def judge_prediction(expectations: Sequence[Expectation], prediction: Prediction) -> list[Judged]:
    """What is expected beside where 95 in 100 live runs of the prediction's seeds should lie."""
    found = [_predicted(prediction, wanted.metric).interval(prediction.replications) for wanted in expectations]
    return [
        judge_values(wanted, open_above(one, one.unhandled) if one.unhandled else one)
        for wanted, one in zip(expectations, found, strict=True)
    ]


def _predicted(prediction: Prediction, metric: str) -> Predicted:
    return prediction.metrics.get(own_name(metric, prediction.metrics), NOT_PREDICTED)
