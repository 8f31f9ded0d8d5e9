"""What every registered head promises."""

import inspect
from dataclasses import replace
from typing import Literal

import pytest
import torch

from eva_core import registry
from eva_core.classification.metric_names import NAMES as METRICS
from eva_core.classification.metrics import probabilities, selection_metric
from eva_core.contracts.head import Embedded, FittedRun, FittingData, Head
from eva_core.contracts.protocol import Protocol

ENTRIES = [e for e in registry.heads.entries() if e.package == "eva-pathology" and issubclass(e.load(), Head)]
NAMES = [e.name for e in ENTRIES]
RECIPE = Protocol("contract", lr=(0.05,), batch_size=16, steps=40, C=(0.1, 10.0), runs=3)
FEATURES = 8


def clusters(classes: int, per_class: int, seed: int) -> Embedded:
    """Embeddings round one corner for each class: easy to part."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(classes * per_class) % classes
    return Embedded(torch.randn(len(y), FEATURES, generator=generator) * 0.2 + 3 * torch.eye(FEATURES)[y], y)


def fitted(head: Head, runs: list[int], classes: int = 3, recipe: Protocol = RECIPE) -> list[FittedRun]:
    return head.fit(FittingData(clusters(classes, 20, 0), clusters(classes, 6, 1), classes, runs), recipe)


def guesses(logits: torch.Tensor) -> torch.Tensor:
    return logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()


def is_seeded(head: Head) -> bool:
    return len(head.runs(RECIPE)) > 1


def assert_same(a: FittedRun, b: FittedRun) -> None:
    assert (a.run, a.selected_value, a.selected) == (b.run, b.selected_value, b.selected)
    for mine, theirs in ((a.params, b.params), (a.last, b.last)):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.fixture(params=NAMES)
def head(request: pytest.FixtureRequest) -> Head:
    return registry.heads.build(request.param)


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_the_name_is_legal_and_unique(entry: registry.Entry):
    assert registry.NAME.fullmatch(entry.name)
    assert registry.heads.find(entry.name) == entry
    assert issubclass(entry.load(), Head)


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_documented_typed_and_have_defaults(name: str):
    cls = registry.heads.load(name)
    for parameter in inspect.signature(cls).parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty
        assert parameter.default is not inspect.Parameter.empty  # a head is asked for by its name alone
        assert f"{parameter.name}:" in f"{cls.__doc__}{cls.__init__.__doc__}"


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_clusters_are_told_apart(head: Head, classes: int):
    unseen = clusters(classes, 10, 2)
    for run in fitted(head, [0], classes):
        logits = head.logits(run.params, unseen.x)
        assert logits.shape in {(len(unseen), classes), (len(unseen), 1 if classes == 2 else classes)}
        assert torch.isfinite(logits).all()
        assert (guesses(logits) == unseen.y).float().mean() >= 0.9
        assert run.selected_value >= 0.9


def test_runs_come_as_asked_for(head: Head):
    asked = [2, 0]
    assert [r.run for r in fitted(head, asked)] == (asked if is_seeded(head) else asked[:1])


def test_the_same_runs_give_the_same_bits(head: Head):
    torch.manual_seed(1)
    first = fitted(head, [0, 1])
    torch.manual_seed(2)
    for a, b in zip(first, fitted(head, [0, 1]), strict=True):
        assert_same(a, b)


def test_a_run_alone_is_the_run_among_others(head: Head):
    together = {r.run: r for r in fitted(head, [0, 1, 2])}
    for run in together:
        (alone,) = fitted(head, [run])
        assert_same(alone, together[run])


def test_runs_differ_where_they_are_seeded_and_only_by_seed_plus_run(head: Head):
    runs = fitted(head, [0, 1])
    if not is_seeded(head):
        assert len(runs) == 1
        return
    zeroth, first = runs
    assert any(not torch.equal(zeroth.params[name], first.params[name]) for name in zeroth.params)
    (moved,) = fitted(head, [0], recipe=Protocol(**{**vars(RECIPE), "seed": 1}))
    assert all(torch.equal(moved.params[name], first.params[name]) for name in first.params)


def test_parameters_are_float32_on_the_cpu_and_stand_alone(head: Head):
    (run,) = fitted(head, [0])
    for params in (run.params, run.last):
        assert all(p.dtype == torch.float32 and p.device.type == "cpu" for p in params.values())
        assert not any(p.requires_grad for p in params.values())
    assert all(isinstance(value, int | float) for value in run.selected.values())


def test_logits_of_a_row_do_not_depend_on_the_others(head: Head):
    (run,), x = fitted(head, [0]), clusters(3, 10, 2).x
    alone = torch.cat([head.logits(run.params, row[None]) for row in x])
    torch.testing.assert_close(head.logits(run.params, x), alone)


@pytest.mark.parametrize(("classes", "label"), [(2, 0), (2, 1), (3, 1), (5, 4)])
@pytest.mark.parametrize("selection", ["heldout", "holdout"])
def test_a_class_without_training_images_is_never_predicted(
    head: Head, classes: int, label: int, selection: Literal["heldout", "holdout"]
):
    parts = [clusters(classes, n, seed) for seed, n in enumerate((12, 6))]
    train, select = (Embedded(part.x[part.y != label], part.y[part.y != label]) for part in parts)
    anywhere = 10 * torch.randn(200, FEATURES, generator=torch.Generator().manual_seed(2))
    for run in head.fit(FittingData(train, select, classes, [0, 1]), replace(RECIPE, selection=selection, steps=2)):
        for params in (run.params, run.last):
            scores = probabilities(head.logits(params, anywhere))
            assert scores.isfinite().all()
            assert label not in scores.argmax(1)


def test_fitting_leaves_the_embeddings_alone(head: Head):
    train, select = clusters(3, 12, 0), clusters(3, 6, 1)
    head.fit(FittingData(train, select, 3, [0]), RECIPE)
    assert torch.equal(train.x, clusters(3, 12, 0).x)
    assert torch.equal(select.x, clusters(3, 6, 1).x)


def test_progress_ends_at_the_whole(head: Head):
    told: list[tuple[int, int]] = []
    head.fit(
        FittingData(clusters(3, 12, 0), clusters(3, 6, 1), 3, [0, 1], progress=lambda *now: told.append(now)), RECIPE
    )
    done, total = told[-1]
    assert done == total > 0
    assert [d for d, _ in told] == sorted(d for d, _ in told)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("classes", [2, 3])
def test_the_value_selected_by_is_the_metric_asked_for(head: Head, metric: str, classes: int):
    select = clusters(classes, 6, 1)
    (run,) = head.fit(FittingData(clusters(classes, 12, 0), select, classes, [0], metric=metric), RECIPE)
    by_hand = selection_metric(metric)(head.logits(run.params, select.x)[None], select.y)
    assert run.selected_value == pytest.approx(float(by_hand[0]), abs=1e-6)
