"""Models that a run is made from: by name, through an export, and in the card of what is exported."""

import json

import pytest
import timm

from eva_core.errors import UsageError
from eva_pretrain.run import derivation
from eva_pretrain.run.derivation import derived_from
from eva_pretrain.run.export import ExportDetails, export
from eva_vision.models.exported import exported
from eva_vision.models.hub_exports import HubExport


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
    assert card.licence.endswith("; made from uni (CC-BY-NC-ND-4.0)")
    assert card.collections == ("TCGA", "GTEx", "others")  # what it saw itself is not known
    for inside in ("", "model.safetensors"):
        assert derived_from(f"vit: {{start: {json.dumps(str(folder / inside))}}}") == derived_from(config)
    (folder / "card.json").write_text('{"schema": "of another program"}')
    assert derived_from(f"vit: {{start: {json.dumps(str(folder / 'model.safetensors'))}}}") == []


def test_what_an_export_on_the_hub_is_made_from_is_in_its_card(tmp_path, monkeypatch):
    state = timm.create_model("test_vit", num_classes=0, depth=1).state_dict()
    details = ExportDetails("mine", (0.5,) * 3, (0.5,) * 3, 160, None, "vit: {start: uni}", 1, [])
    folder = export(tmp_path / "export", state, "test_vit", {"depth": 1}, details)

    def fetched(address: str, needed: object) -> HubExport:
        if address != "hf-hub:lab/mine":
            raise UsageError("no card")
        return HubExport(folder, "lab/mine", "c0ffee")

    monkeypatch.setattr(derivation, "fetch_export", fetched)
    assert [each["name"] for each in derived_from("vit: {start: 'hf-hub:lab/mine'}")] == ["uni"]
    assert derived_from("vit: {start: 'hf-hub:timm/vit'}") == []


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
    frozen = (
        f"method: {{init_args: {{backbone: {json.dumps(str(tmp_path / 'b'))}}}}}"  # a whole run stands for its export
    )
    assert [model["name"] for model in derived_from(frozen)] == ["uni"]
    assert derived_from(begun_from("c", tmp_path / "c/checkpoints/step-9.ckpt")) == []
