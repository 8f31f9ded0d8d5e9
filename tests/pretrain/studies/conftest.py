"""A study of tiny networks on a folder of tiny patches, and its trainings in this process, counted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

from eva_core.boards.run import run_pair
from eva_core.files.sealed_records import write_record
from eva_pretrain.run.config import parse
from eva_pretrain.run.pretrain import pretrain
from eva_pretrain.studies import runner
from eva_pretrain.studies.plan import COST, Run
from tests.pretrain.studies.results import BASE, BETTER, START, make_run, result

TINY = [
    *("--base", "demo", "--steps", "2", "--batch_size", "4", "--monitor.every", "0", "--data.workers", "0"),
    *("--vit.size", "32", "--views.global_size", "32", "--views.local_size", "16", "--views.local_crops", "2"),
    *("--vit.arguments={depth: 1, embed_dim: 24, num_heads: 3}", "--sampling.size", "40"),
    *("--method.prototypes", "32", "--method.hidden", "32", "--method.bottleneck", "16"),
]
PHANTOM = {"class_path": "phantom", "init_args": {"train": 16, "val": 4, "test": 16, "size": 32}}
PROTOCOL = {"name": "quick", "geometry": "card", "heads": ["logreg"], "selection": "heldout", "C": [1.0]}


@pytest.fixture
def study_file(tmp_path: Path):
    """Write a study: variants `short` and `long`, unless told otherwise."""
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(PROTOCOL))

    def write(**changes: object) -> Path:
        content = {
            "name": "tiny",
            "base": "demo",
            "variants": {"short": {}, "long": {"recipe": {"steps": 3}}},
            "protocol": str(tmp_path / "quick.yaml"),
            "tasks": {"in_distribution": [PHANTOM]},
            **changes,
        }
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False))
        return path

    return write


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folders of the runs that are trained, in this process, one after another."""
    found: list[str] = []

    def train(arguments: Sequence[str], log: Path, lock: object, threads: int | None) -> None:
        plan = parse(list(arguments))
        found.append("/".join(plan.output.parts[-2:]))
        pretrain(plan)

    monkeypatch.setattr(runner, "_train", train)
    monkeypatch.setattr(runner, "run_pair", lambda pair, how, threads: run_pair(pair, {"workers": 0}, threads))
    return found


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    """Base 0.5, 0.6, 0.7 by seed; better by 0.1, 0.11, 0.12; the start has one seed at 0.4. Task b is 0.02 above a."""
    wobble = np.random.default_rng(0).normal(0, 0.01, 2000)  # of test groups, the same for all
    means = ((START, [0.4]), (BASE, [0.5, 0.6, 0.7]), (BETTER, [0.6, 0.71, 0.82]))
    found = []
    for variant, values in means:
        for seed, value in enumerate(values):
            run = make_run(tmp_path, variant, seed)
            for pair, more in zip(run.pairs, (0, 0.02, 0), strict=True):
                result(pair.folder / "default", value + more, value + more + wobble)
            if not variant.untrained:
                write_record(run.folder / COST, {"patches": 100, "seconds": 10.0 + 10 * seed})
            found.append(run)
    return found
