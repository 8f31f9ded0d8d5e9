"""What a run starts from: an export, a checkpoint, or a network of timm."""

import pytest
import torch

from eva_core.errors import EvaError, UsageError
from eva_pretrain.run.initial_weights import seen_by
from eva_vision.models.exported import exported
from tests.pretrain.run.test_pretrain import run


def test_starts(patches, tmp_path, capsys):
    export = run(patches, tmp_path / "first", "--steps", "2")
    capsys.readouterr()
    run(patches, tmp_path / "second", "--steps", "1", "--start", str(export), "--recipe.heads_alone", "1.0")
    said = capsys.readouterr().err
    assert "Loaded" in said
    assert "heads.dino" in said
    ours, theirs = exported(str(tmp_path / "second/export")).state_dict(), exported(str(export)).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)  # heads learnt alone
    checkpoint = tmp_path / "first/checkpoints/step-2.ckpt"
    run(
        patches,
        tmp_path / "third",
        "--steps",
        "1",
        "--start",
        str(checkpoint),
        "--vit.size",
        "48",
        "--views.global_size",
        "48",
    )
    assert "heads" not in capsys.readouterr().err
    with pytest.raises(EvaError, match="other shapes"):
        run(
            patches,
            tmp_path / "fourth",
            "--start",
            str(export),
            "--vit.arguments={depth: 2, embed_dim: 48, num_heads: 3}",
        )
    with pytest.raises(UsageError, match="Expected start to be a pretrained network of timm"):
        run(patches, tmp_path / "fifth", "--start", "nonsense")


def test_what_a_start_has_seen(patches, tmp_path):
    export = run(patches, tmp_path / "run", "--steps", "1")
    checkpoint = tmp_path / "run/checkpoints/step-1.ckpt"
    assert seen_by(None) == seen_by("vit_small_patch16_224.dino") == []
    assert len(seen_by(str(export))) == len(seen_by(str(checkpoint))) == 4  # salted hashes, and names
    assert seen_by(str(tmp_path / "others.pth")) == [("others.pth", None)]  # it does not say


def test_a_file_that_is_not_there_is_one_line(patches, tmp_path):
    with pytest.raises(UsageError, match=r"Expected a file of weights, but /nowhere/x\.pth does not exist"):
        run(patches, tmp_path / "run", "--start", "/nowhere/x.pth")
