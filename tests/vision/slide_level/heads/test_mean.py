from dataclasses import replace

import torch

from eva_core import registry
from eva_core.config.protocols import load_protocol
from eva_vision.slide_level.bags.stored_bags import MeanBags
from eva_vision.slide_level.classification.outcome import Classes
from eva_vision.slide_level.contracts import BagData
from eva_vision.slide_level.protocol import SlideLevel


def test_means_are_learnt_as_images_are():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(30) % 2
    bags = MeanBags(torch.randn(30, 4, generator=generator) + 3 * y[:, None], y)
    protocol = replace(load_protocol("strict"), C=(0.1, 1.0))
    for name in ("mean_logreg", "mean_knn"):
        head = registry.heads.build(name)
        (run,) = head.fit(BagData(bags, bags, Classes(2, "balanced_accuracy"), [0], SlideLevel()), protocol)
        outputs = head.outputs(run.params, bags)
        said = outputs[:, 0] > 0 if outputs.shape[1] == 1 else outputs.argmax(1) == 1
        assert (said == (y == 1)).float().mean() > 0.95
