"""Models that a run is made from: by name, through an export, and in the card of what is exported."""

import json

import pytest
import timm

from eva_pretrain.run.derivation import derived_from
from eva_pretrain.run.export import ExportDetails, export
from eva_vision.models.exported import exported


@pytest.mark.parametrize("config", ["", "seed: 0", "vit: {start: vit_small_patch16_224.dino}", "vit: {start: null}"])
def test_what_has_no_card_is_not_listed(config):
    assert derived_from(config) == []


def test_starts_and_frozen_models_are_in_the_card_and_in_that_of_what_starts_from_it(tmp_path):
    config = "vit: {start: kaiko_vits16}\nmethod: {class_path: distill, init_args: {backbone: uni}}\n"
    names = [model["name"] for model in derived_from(config)]
    assert names == ["kaiko_vits16", "uni"]
    small = {"depth": 1}
    state = timm.create_model("test_vit", num_classes=0, **small).state_dict()
    details = ExportDetails("mine", (0.5,) * 3, (0.5,) * 3, 160, None, config, 1, [])
    folder = export(tmp_path / "export", state, "test_vit", small, details)
    card = exported(str(folder)).card
    assert "made from kaiko_vits16 (Kaiko Non-Commercial" in card.trained_on
    assert "made from uni (CC-BY-NC-ND-4.0)" in card.trained_on
    assert card.collections == ("TCGA", "GTEx", "others")  # what it saw itself is not known
    assert derived_from(f"vit: {{start: {json.dumps(str(folder))}}}") == derived_from(config)


def test_a_checkpoint_is_made_from_what_its_run_is_made_from(tmp_path):
    def begun_from(run: str, start: object) -> str:
        (tmp_path / run).mkdir(exist_ok=True)
        text = f"vit: {{start: {json.dumps(str(start))}}}\n"
        (tmp_path / run / "config.yaml").write_text(text)
        return text

    begun_from("a", "uni")
    begun_from("b", tmp_path / "a/checkpoints/step-9.ckpt")
    third = begun_from("c", tmp_path / "b/checkpoints/step-9.ckpt")
    assert [model["name"] for model in derived_from(third)] == ["uni"]
    assert derived_from(begun_from("c", tmp_path / "c/checkpoints/step-9.ckpt")) == []
