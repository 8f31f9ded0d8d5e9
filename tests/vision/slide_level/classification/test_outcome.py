import torch
import torch.nn.functional as F

from eva_vision.slide_level.classification.outcome import Classes


def test_two_classes_have_one_output_and_more_have_one_each():
    two, four = Classes(2, "balanced_accuracy"), Classes(4, "balanced_accuracy")
    assert (two.outputs, four.outputs) == (1, 4)
    logits, targets = torch.randn(5, 1), torch.tensor([0, 1, 1, 0, 1])
    assert torch.isclose(two.loss(logits, targets), F.binary_cross_entropy_with_logits(logits[:, 0], targets.float()))
    wide = torch.randn(5, 4)
    assert torch.isclose(four.loss(wide, targets), F.cross_entropy(wide, targets))


def test_the_greatest_value_is_the_best_whatever_the_metric():
    right, wrong = torch.tensor([[5.0], [-5.0]]), torch.tensor([[-5.0], [5.0]])
    targets = torch.tensor([1, 0])
    for metric in ("balanced_accuracy", "ece"):
        outcome = Classes(2, metric)
        assert outcome.value(right, targets) > outcome.value(wrong, targets)


def test_grades_can_be_selected_by_kappa():
    targets = torch.tensor([0, 1, 2])
    outcome = Classes(3, "quadratic_kappa")
    near, far = torch.eye(3)[[1, 1, 2]], torch.eye(3)[[2, 1, 2]]
    assert outcome.value(torch.eye(3), targets) == 1
    assert outcome.value(near, targets) > outcome.value(far, targets)
    assert Classes(2, "quadratic_kappa").value(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1])) == 1
