"""What heads are scored for, by parts; `test_task.py` goes the whole way."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typing_extensions import override

from eva_core import fit
from eva_core.config.jobs import job_of
from eva_core.config.protocols import load_protocol
from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.head import FittedRun
from eva_core.contracts.protocol import Protocol
from eva_core.errors import EvaError
from eva_core.evaluation.splits import make_plan
from eva_core.extraction.settings import Extraction
from eva_core.task import task_named
from eva_vision.models.baselines import colour_stats
from eva_vision.multilabel.contracts import LabelData, LabelHead
from eva_vision.multilabel.evaluation import rarest_label
from tests.conftest import Pictures

TASK = task_named("multilabel")


class Fixed(LabelHead):
    """Says the same of every image."""

    def __init__(self, odds: tuple[float, ...] = (0.0, 1.0)) -> None:
        self.odds = odds

    @override
    def fit(self, data: LabelData, protocol: Protocol) -> list[FittedRun]:
        params, last = ({"odds": torch.tensor(self.odds) + more} for more in (0.0, 1.0))
        return [FittedRun(run, params, last, 0.5, {}) for run in data.runs]

    @override
    def logits(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        return params["odds"].repeat(len(x), 1)


def fitted(folder: Path, head: LabelHead, targets: list[Any]) -> Any:
    dataset = Pictures()
    dataset.card = DatasetCard("labels", "multilabel", ("a", "b"), metric="brier", synthetic=True)
    dataset.samples = [
        replace(s, target=targets[n % len(targets)], split="train" if n < 20 else "test")
        for n, s in enumerate(dataset.samples)
    ]
    protocol = replace(load_protocol("eva-0.4"), runs=2)
    how = Extraction(device="cpu", workers=0)
    return fit(colour_stats(), dataset, head, protocol, folder, how, tell=lambda line: None)


def test_a_head_of_somebody_else_is_scored_in_each_run_and_after_its_last_step(tmp_path: Path):
    results = fitted(tmp_path, Fixed(), [(0.0, 1.0), (1.0, np.nan)])
    brier = results["splits"]["test"]["metrics"]["brier/a"]
    assert brier["values"] == pytest.approx([0.25, 0.25])
    assert brier["last"] == pytest.approx(((1 / (1 + np.exp(-1))) ** 2 + (1 / (1 + np.exp(1))) ** 2) / 2)
    prevalence = results["baselines"]["prevalence"]["splits"]["test"]["metrics"]
    assert prevalence["brier/a"]["mean"] == pytest.approx(0.25)
    assert prevalence["auprc/a"]["mean"] == pytest.approx(0.5)
    assert results["untrained"] == {}


def test_a_rare_label_is_on_both_sides_of_the_hold_out(tmp_path: Path):
    dataset = Pictures()
    dataset.card = DatasetCard("labels", "multilabel", ("often", "rare"), metric="auprc", synthetic=True)
    split = ["train"] * 24 + ["test"] * 6
    dataset.samples = [
        replace(s, target=(float(n % 2), float(n in (3, 7, 25))), split=split[n], group=f"p{n}")
        for n, s in enumerate(dataset.samples)
    ]
    for seed in range(3):
        protocol = replace(load_protocol("strict"), seed=seed)
        job = job_of("colour_stats", dataset, protocol=protocol, how=Extraction(device="cpu", workers=0))
        store = TASK.extract(TASK.key(job), job, lambda line: None)
        plan = make_plan(store, protocol, dataset.card, strata=rarest_label(store.targets[store.rows("train")]))
        assert store.targets[plan.train, 1].sum() == store.targets[plan.select, 1].sum() == 1


@pytest.mark.parametrize(("odds", "said"), [((0.0, np.nan), "it diverged"), ((0.0,), r"Expected log-odds \(10, 2\)")])
def test_scores_that_are_none_are_refused(tmp_path: Path, odds: tuple[float, ...], said: str):
    with pytest.raises(EvaError, match=said):
        fitted(tmp_path, Fixed(odds), [(0.0, 1.0), (1.0, 0.0)])
