"""The page of an export: metadata that the hub's client reads, scores with intervals, and no place of files."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from eva_vision.hub.model_card import model_card
from eva_vision.models.exported import exported
from tests.vision.hub.test_scores import score


def page(folder: Path, scores: list[Any], licence: str | None = None) -> str:
    content = json.loads((folder / "card.json").read_text())
    return model_card("me/fm", folder, content, exported(str(folder)).card, scores, licence)


def test_the_metadata_are_the_hub_s(export_folder: Path):
    other = score(synthetic=True, identity={"model": "fm", "dataset": "phantom", "head": "linear", "protocol": "p"})
    data = ModelCard(page(export_folder, [score(), other], "mit")).data
    assert (data.license, data.library_name, data.pipeline_tag) == ("mit", "timm", "image-feature-extraction")
    first, second = data.eval_results or []
    assert (first.task_type, first.dataset_name, first.metric_value) == ("image-classification", "tree", 0.812346)
    assert second.dataset_name == "phantom (synthetic)"


def test_scores_stand_with_intervals_nulls_and_remarks(export_folder: Path):
    text = page(export_folder, [score()])
    nulls = "colour_stats 0.600, chance 0.500"
    assert f"| tree | test | balanced_accuracy | 0.812 | 0.700 to 0.900 | linear | strict | {nulls} |" in text
    assert "- tree: n = 100; " in text
    assert "the model was trained on 3 of these images" in text


def test_it_says_what_it_saw_and_how_to_use_it(export_folder: Path):
    text = page(export_folder, [])
    assert "Trained on 2 slides of 2 patients, listed in its slides.json. Public collections among them: TCGA" in text
    assert "--model hf-hub:me/fm" in text
    assert "timm.create_model('test_vit', checkpoint_path=weights, num_classes=0, depth=2)" in text
    assert "## Scores" not in text
    assert "license" not in text


def test_the_recipe_names_no_place_of_files(export_folder: Path):
    text = page(export_folder, [])
    assert "| method | dinov2, prototypes 1024, spread kde |" in text
    assert "| recipe | steps 7, lr 0.002, momentum 0.99 to 1 |" in text
    assert "hospital" not in text
    assert "somebody" not in text
    (export_folder / "config.yaml").unlink()
    assert "## Recipe" not in page(export_folder, [])


def test_names_from_outside_are_no_markup(export_folder: Path):
    identity = {"model": "fm", "dataset": "a|b", "head": "[x](y)", "protocol": "<b>"}
    text = page(export_folder, [score(identity=identity)])
    assert "| a\\|b |" in text
    assert "&lt;b&gt;" in text
