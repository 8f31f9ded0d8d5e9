import pytest
import torch

from eva_core.contracts.head import Embedded, FittedRun, FittingData, Head
from eva_core.contracts.protocol import Protocol


class Nearest(Head):
    """Scores by the distance to the mean of each class."""

    def fit(self, data, protocol):
        means = torch.stack([data.train.x[data.train.y == c].mean(0) for c in range(data.classes)])
        return [FittedRun(run, {"means": means}, {"means": means}, 1.0, {}) for run in data.runs]

    def logits(self, params, x):
        return -torch.cdist(x, params["means"])


def test_a_head_makes_as_many_runs_as_the_protocol_says():
    assert Nearest().runs(Protocol("p", runs=3)) == range(3)


def test_a_head_needs_no_more_than_fit_and_logits():
    x, y = torch.tensor([[0.0], [0.2], [1.0], [1.2]]), torch.tensor([0, 0, 1, 1])
    data = FittingData(Embedded(x, y), Embedded(x, y), 2, runs=(4,))
    (run,) = Nearest().fit(data, Protocol("p"))
    assert (run.run, len(data.train)) == (4, 4)
    assert Nearest().logits(run.params, x).argmax(1).tolist() == y.tolist()
    with pytest.raises(TypeError, match="abstract"):
        Head()
