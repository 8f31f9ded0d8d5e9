"""The types of results.json are what `fit` writes: no field more, none less, each of its kind."""

import types
import typing
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from eva_core import fit
from eva_core.contracts.results import Results
from eva_core.extraction.settings import Extraction
from eva_vision.datasets.folder import Folder
from eva_vision.segmentation.schema import SegmentationResults
from tests.vision.segmentation.tiny import Painted, Pixels, protocol

CPU = Extraction(device="cpu", workers=0)


def misfits(value: Any, kind: Any, at: str = "results") -> list[str]:
    """Where a value is not of a type, as paths; empty where all of it is."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return []
    if is_typeddict(kind):
        if not isinstance(value, dict):
            return [f"{at}: {value!r} is no {kind.__name__}"]
        hints, required = get_type_hints(kind), kind.__required_keys__
        extra = [f"{at}.{name}: not in {kind.__name__}" for name in value if name not in hints]
        missing = [f"{at}.{name}: missing" for name in required if name not in value]
        return extra + missing + [m for n in value if n in hints for m in misfits(value[n], hints[n], f"{at}.{n}")]
    if origin in (Union, types.UnionType):
        tried = [misfits(value, one, at) for one in inner]
        return [] if [] in tried else max(tried, key=len)
    if origin is Literal:
        return [] if value in inner else [f"{at}: {value!r}"]
    if origin in (NotRequired, typing.Required):
        return misfits(value, inner[0], at)
    if not isinstance(value, origin or kind) and not (kind is float and isinstance(value, int)):
        return [f"{at}: {value!r} is no {kind}"]
    if origin is list:
        return [m for n, one in enumerate(value) for m in misfits(one, inner[0], f"{at}[{n}]")]
    if origin is dict:
        return [m for name, one in value.items() for m in misfits(one, inner[1], f"{at}.{name}")]
    return []


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A finished result of each kind of task that eva has."""
    from tests.conftest import write_tree

    root = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVA_CACHE", str(root / "cache"))
        images = Folder(str(write_tree(root / "tree")))
        masks = Painted(train=[(20, 24)] * 12, val=[(20, 24)] * 2, test=[(30, 18)] * 4)
        return {
            "classification": fit("colour_stats", images, "knn", "strict", root / "a", CPU),
            "segmentation": fit(Pixels(), masks, protocol=protocol(lr=0.3), output=root / "b", how=CPU),
        }


@pytest.mark.parametrize(("task", "kind"), [("classification", Results), ("segmentation", SegmentationResults)])
def test_a_result_is_of_its_type(results: dict[str, Any], task: str, kind: Any):
    assert misfits(results[task], kind) == []


def test_what_is_of_another_type_is_seen(results: dict[str, Any]):
    result = results["classification"]
    assert misfits({**result, "more": 1}, Results) == ["results.more: not in Results"]
    assert misfits({**result, "main": {**result["main"], "mean": "0.9"}}, Results)
    assert misfits({name: value for name, value in result.items() if name != "key"}, Results)
