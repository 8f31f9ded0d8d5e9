"""Protocols by name: read once, with a section for each kind of task, resolved to what a task reads."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from eva_core import registry
from eva_core.cli import main
from eva_core.config import protocols
from eva_core.config.protocols import heads_of, load_protocol, plain, protocol_class, published, resolve, section_of
from eva_core.contracts.cards import DatasetCard
from eva_vision.segmentation.protocol import Segmentation

PATCHES, NUCLEI = DatasetCard("patches"), DatasetCard("nuclei", "segmentation", metric="dice")


def test_each_kind_has_its_section_and_its_heads():
    strict = load_protocol("strict")
    assert section_of(strict, PATCHES) is None
    assert isinstance(section_of(strict, NUCLEI), Segmentation)
    assert heads_of(strict, PATCHES) == ("logreg", "linear")
    assert heads_of(strict, NUCLEI) == ("linear_seg", "conv_seg_image")


def test_a_task_reads_its_own_fields_alone():
    strict = load_protocol("strict")
    other = replace(strict, segmentation=replace(strict.segmentation, overlap=8))
    assert resolve(other, PATCHES).fields == resolve(strict, PATCHES).fields
    assert resolve(other, NUCLEI).fields["segmentation"] == {
        **resolve(strict, NUCLEI).fields["segmentation"],
        "overlap": 8,
    }
    shorter = replace(strict, steps=7)
    assert resolve(shorter, NUCLEI) == resolve(strict, NUCLEI)
    assert resolve(shorter, PATCHES).fields["steps"] == 7
    assert resolve(shorter, PATCHES).title == "strict+steps=7"


def test_patience_counts_for_its_own_dataset():
    with_patience = replace(load_protocol("eva-0.4"), patience={"patches": 3, "others": 4})
    assert resolve(with_patience, PATCHES).fields["patience"] == {"patches": 3}
    assert "patience" not in resolve(with_patience, DatasetCard("third")).fields


def test_a_whole_protocol_survives_a_pickle():
    strict = load_protocol("strict")
    assert pickle.loads(pickle.dumps(strict)) == strict
    assert plain(strict)["segmentation"]["heads"] == ["linear_seg", "conv_seg_image"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        protocols.__getattr__("nothing")


def test_a_broken_kind_of_task_hurts_nobody_else(monkeypatch: pytest.MonkeyPatch):
    broken = ("eva.tasks", registry.Entry("broken", "no_such_package:Task", "theirs", "1.0", ""))
    points = registry._entry_points()
    monkeypatch.setattr(registry, "_entry_points", lambda: (*points, broken))
    made = protocol_class.__wrapped__()  # anew: protocols of two such classes are not equal
    assert "segmentation" in made.__dataclass_fields__
    assert "broken" not in made.__dataclass_fields__


def test_a_fit_reads_the_file_of_its_protocol_once(tree: Path, monkeypatch: pytest.MonkeyPatch):
    published.cache_clear()
    read, seen = protocols.read_protocol, []
    monkeypatch.setattr(protocols, "read_protocol", lambda name: seen.append(Path(name).stem) or read(name))
    asked = ["--model", "colour_stats", "--dataset", "folder", f"--dataset.root={tree}", "--protocol", "strict"]
    assert main(["fit", *asked, "--head", "knn"]) == 0
    assert sorted(seen) == ["eva-0.4", "strict"]  # the defaults of the parser, and the one asked for


def test_a_section_of_another_task_leaves_a_finished_result_done(tree: Path, capsys: pytest.CaptureFixture):
    asked = ["fit", "--model", "colour_stats", "--dataset", "folder", f"--dataset.root={tree}", "--protocol", "strict"]
    assert main([*asked, "--head", "knn", "--output", "out"]) == 0
    assert main([*asked, "--head", "knn", "--output", "out", "--protocol.segmentation.overlap", "8"]) == 0
    assert "Already done" in capsys.readouterr().err
    assert main([*asked, "--head", "knn", "--output", "out", "--protocol.holdout", "0.25", "--head.k", "[1, 3]"]) == 2
    said = capsys.readouterr().err
    assert "protocol_settings.holdout default" in said
    assert "protocol_settings.holdout 0.25" in said
    assert "head_settings.k [1, 3]" in said
