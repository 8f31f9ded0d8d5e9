"""The base of datasets whose samples are slides."""

from collections.abc import Sequence

from typing_extensions import override

from eva_core.contracts.dataset import Sample
from eva_vision.slide_level.contracts import SlideDataset, SlideFile


class SlideFiles(SlideDataset):
    """A dataset of slides of which each has a label of its own, and is a file that states its micrometres per pixel."""

    @override
    def slides(self, sample: Sample) -> Sequence[SlideFile]:
        """The one slide of a sample."""
        assert sample.path is not None
        return (SlideFile(sample.id, str(sample.path.absolute())),)
