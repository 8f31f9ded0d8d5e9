import pytest
import torch

from eva_core.evaluation.site_bias import confounds


def made(of_class: float, of_site: float, n: int = 240) -> tuple[torch.Tensor, ...]:
    """Embeddings in which class and site weigh as told; 2 classes, 3 sites, 4 images a patient, one site a patient."""
    generator = torch.Generator().manual_seed(0)
    groups = torch.arange(n) // 4
    sites, targets = groups % 3, torch.arange(n) % 2
    x = torch.randn(n, 16, generator=generator) * 0.3
    x[:, :2] += of_class * torch.eye(2)[targets]
    x[:, 2:5] += of_site * torch.eye(3)[sites]
    return x, targets, sites, groups


def test_biology_alone_is_robust_and_site_alone_is_not():
    biology, site = confounds(*made(5, 0)), confounds(*made(0, 5))
    assert biology is not None
    assert site is not None
    assert biology.robustness_index > 0.95
    assert biology.class_accuracy > 0.95
    assert biology.site_accuracy < 0.55
    assert site.robustness_index < 0.1
    assert site.site_accuracy > 0.95


def test_the_index_by_hand():
    """Four images on a line, each its own patient: nearest neighbours are 0-1 and 2-3."""
    x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    targets, sites = torch.tensor([0, 0, 1, 0]), torch.tensor([0, 1, 1, 1])
    found = confounds(x, targets, sites, torch.arange(4))
    assert found is not None
    # at k = 1: 0-1 share the class, not the site, twice; 2-3 share the site, not the class, twice
    assert found.k in (1, 3)
    if found.k == 1:
        assert found.robustness_index == pytest.approx(0.5)


def test_neighbours_of_the_same_patient_do_not_count():
    x, targets, sites, _ = made(0, 0)
    groups = torch.arange(240) // 4
    x = x + 10 * torch.nn.functional.one_hot(groups % 11, 16).float()  # patients are recognised
    found = confounds(x, targets, sites, groups)
    assert found is not None
    assert found.class_accuracy < 0.7


def test_one_site_says_nothing():
    x, targets, sites, groups = made(1, 0)
    assert confounds(x, targets, torch.zeros_like(sites), groups) is None
