import torch
from torch import Tensor
from typing_extensions import override

from eva_core.config.protocols import load_protocol
from eva_core.contracts.head import Embedded, FittedRun
from eva_core.contracts.protocol import Protocol
from eva_vision.multilabel.contracts import LabelData, LabelHead


class Constant(LabelHead):
    @override
    def fit(self, data: LabelData, protocol: Protocol) -> list[FittedRun]:
        params = {"mean": data.train.y.nanmean(0)}
        return [FittedRun(run, params, params, 0.0, {}) for run in data.runs]

    @override
    def logits(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        return params["mean"].logit().repeat(len(x), 1)


def test_a_head_of_somebody_else_makes_as_many_runs_as_the_protocol_unless_it_says_otherwise():
    assert Constant().runs(load_protocol("strict")) == range(5)
    data = LabelData(*[Embedded(torch.zeros(2, 3), torch.tensor([[0.0], [1.0]]))] * 2, "auprc", range(2))
    assert [run.run for run in Constant().fit(data, load_protocol("strict"))] == [0, 1]
