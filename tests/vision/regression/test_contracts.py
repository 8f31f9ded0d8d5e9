from collections.abc import Sequence

from typing_extensions import override

from eva_vision.regression.contracts import FoldedDataset, GivenFold
from tests.conftest import Pictures


class Folded(Pictures, FoldedDataset):
    given: Sequence[GivenFold] = ()

    @override
    def folds(self) -> Sequence[GivenFold]:
        return self.given


def test_the_folds_are_part_of_what_a_dataset_is_known_by():
    one, two, like = Folded(), Folded(), Folded()
    one.given = like.given = [GivenFold(["a", "b"], ["c"])]
    two.given = [GivenFold(["a"], ["c"])]
    assert one.fingerprint() == like.fingerprint() != two.fingerprint()
