"""The public faces: each name is there, has types, and costs torch only when it is used."""

import importlib
import inspect
import subprocess
import sys
import typing
from importlib.resources import files

import pytest

FACES = {
    "eva_core": """fit predict compare Backbone ModelCard Geometry Dataset DatasetCard Sample Head Embedded FittingData
        FittedRun Metric Protocol ResolvedProtocol Result Task Scores Job Answer Extraction EvaError UsageError card""",
    "eva_vision": """timm_model open_slide list_slides Slide Patch Level SlideReader ImageFiles SegmentationDataset
        SegmentationHead""",
    "eva_pretrain": "pretrain plan export ExportDetails Plan Method Setup",
    "eva_vision.models": "timm_model",
    "eva_vision.slides": "open_slide list_slides Slide Patch Level",
    "eva_core.types": """Backbone Builder Dataset DatasetCard Embedded FittedRun FittingData Geometry Head ModelCard
        Pooling Sample card sha256_of_weights""",
}
NAMES = [(package, name) for package, names in FACES.items() for name in names.split()]


@pytest.mark.parametrize("package", FACES)
def test_a_face_shows_what_it_promises_and_no_other_name(package: str):
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(FACES[package].split())
    assert set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_a_public_name_is_there_with_its_types(package: str, name: str):
    thing = getattr(importlib.import_module(package), name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        typing.get_type_hints(thing)
        assert thing.__name__ == name
        assert thing.__doc__


@pytest.mark.parametrize("package", ["eva_core", "eva_vision", "eva_pretrain"])
def test_type_checkers_are_told_that_there_are_types(package: str):
    assert files(package).joinpath("py.typed").is_file()


def test_cards_and_kinds_of_task_need_no_torch():
    names = "ModelCard, DatasetCard, Metric, Protocol, Task, Scores, card, compare, UsageError"
    code = f"from eva_core import {names}\nfrom eva_vision import timm_model\nimport eva_pretrain, sys\n"
    code += "dir(eva_pretrain)\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
