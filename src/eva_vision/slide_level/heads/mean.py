"""Heads for classes that see the mean of a bag: those for images, fitted to one vector a sample."""

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from eva_core.classification.metric_names import KAPPA
from eva_core.contracts.head import Embedded, FittedRun, FittingData, Head
from eva_core.contracts.protocol import Protocol
from eva_vision.heads.logreg import LogReg
from eva_vision.heads.neighbours import Knn
from eva_vision.slide_level.classification.outcome import Classes
from eva_vision.slide_level.contracts import BagData, BagHead, Bags
from eva_vision.slide_level.protocol import SlideLevel


class MeanHead(BagHead):
    """A head for images on the mean of a bag."""

    tasks: ClassVar = frozenset({"slide_classification"})

    def __init__(self, head: Head) -> None:
        self.head = head

    @override
    def runs(self, protocol: Protocol, section: SlideLevel) -> range:
        """As many as the head for images makes: one where nothing is random."""
        return self.head.runs(protocol)

    @override
    def fit(self, data: BagData, protocol: Protocol) -> list[FittedRun]:
        outcome = data.outcome
        assert isinstance(outcome, Classes)  # `tasks` says so
        train, select = (Embedded(bags.means, bags.targets) for bags in (data.train, data.select))
        # a head for images knows of no order of classes
        metric = "balanced_accuracy" if outcome.metric == KAPPA else outcome.metric
        fitting = FittingData(train, select, outcome.classes, data.runs, metric, None, data.progress)
        return self.head.fit(fitting, protocol)

    @override
    def outputs(self, params: dict[str, Tensor], bags: Bags) -> Tensor:
        logits = self.head.logits(params, bags.means)
        return logits[:, 1:] - logits[:, :1] if logits.shape[1] == 2 else logits  # one output says two classes


class MeanLogReg(MeanHead):
    """Logistic regression on the mean of a bag; its strength is chosen as `logreg` does."""

    linear: ClassVar = True

    def __init__(self) -> None:
        super().__init__(LogReg())


class MeanKnn(MeanHead):
    """Votes of the nearest bags by the cosine of their means, as `knn` does.

    Args:
        k: Numbers of neighbours to try.
    """

    def __init__(self, k: tuple[int, ...] = (1, 3, 5, 10, 20)) -> None:
        super().__init__(Knn(k))
        self.k = tuple(k)
