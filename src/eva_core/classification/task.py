"""Classification of images by their embeddings, as a task."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eva_core.classification.evaluation import Question, class_counts, evaluate, refuse_unfit, reported_splits
from eva_core.classification.metrics import log_odds, probabilities
from eva_core.contracts.protocol import Protocol
from eva_core.errors import some
from eva_core.evaluation.class_checks import refuse_one_class_by_two_names, untrained, untrained_line
from eva_core.extraction.embed import Extraction, extract, store_key
from eva_core.progress import say
from eva_core.results import record
from eva_core.store.store import Store, StoreKey
from eva_core.task import Answer, Job, Task
from eva_core.types import Backbone, Dataset, Head


class Classification(Task):
    """One label for each image."""

    head = Head

    def refuse(self, job: Job, how: Extraction) -> None:
        dataset = job.dataset
        refuse_unfit(dataset, [s.id for s in dataset.samples if s.target is None], "label")
        targets, splits = np.array([s.target for s in dataset.samples]), np.array([s.split for s in dataset.samples])
        counts = class_counts(targets, splits, dataset.card.classes)
        refuse_one_class_by_two_names(dataset.card.classes, counts)
        reported = reported_splits(counts, dataset.card)
        foreign = untrained({split: counts[split] for split in ("train", *reported)}, dataset.card.name)
        for split, classes in foreign.items():
            say(f"{dataset.card.name}: {untrained_line(split, classes)}.")

    def refuse_applying(self, job: Job) -> None:
        """Nothing: every image has an embedding."""

    def key(self, backbone: Backbone, dataset: Dataset, protocol: Protocol) -> StoreKey:
        return store_key(backbone, dataset, protocol)

    def extract(
        self,
        key: StoreKey,
        backbone: Backbone,
        dataset: Dataset,
        protocol: Protocol,
        how: Extraction,
        tell: Callable[[str], None],
    ) -> Store:
        return extract(key, backbone, dataset, protocol, how, tell)

    def evaluate(self, job: Job, store: Store, how: Extraction, folder: Path, key: str) -> Answer:
        assert isinstance(job.head, Head)
        card = job.backbone.card
        question = Question(store, job.model, card, job.dataset.card, job.head, job.head_name, job.protocol)
        return evaluate(question, job.dataset.report)

    def apply(
        self,
        job: Job,
        store: Store,
        heads: dict[int, dict[str, Tensor]],
        classes: list[str],
        how: Extraction,
        output: Path,
    ) -> Path:
        assert isinstance(job.head, Head)
        parts = []
        for split in dict.fromkeys(store.splits.tolist()):
            rows = store.rows(split)
            x = torch.from_numpy(store.read(rows))
            logits = [job.head.logits(p, x) for p in heads.values()]
            scores, ranking = (np.stack([f(z).numpy() for z in logits]) for f in (probabilities, log_odds))
            theirs = job.dataset.card.classes
            targets = _translated(store.targets[rows], theirs, classes)
            foreign = sorted({theirs[t] for t in store.targets[rows][targets < 0] if t >= 0})
            if foreign:
                say(f"{split}: the heads know {some(classes)}, so labels {some(map(repr, foreign))} count as unknown.")
            parts.append(record.Predictions(split, store.ids[rows], store.groups[rows], targets, scores, ranking))
        record.write_predictions(output, record.predictions_table(parts, classes, list(heads)))
        return output / record.PREDICTIONS


def _translated(targets: np.ndarray, theirs: Sequence[str], ours: Sequence[str]) -> np.ndarray:
    """Targets in the class order of the head; -1 where the head does not know the class."""
    table = np.array([*(ours.index(c) if c in ours else -1 for c in theirs), -1])
    return table[targets]
