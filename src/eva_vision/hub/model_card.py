"""The page of an export on the hub: a README.md with the metadata that the hub reads, made from the export itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from eva_core.config.files import read_yaml
from eva_core.config.result_config import CONFIG
from eva_core.contracts.cards import ModelCard
from eva_core.results.report import number, span
from eva_core.shown import for_markdown
from eva_vision.hub.scores import Score

TASKS = {"classification": "image-classification", "segmentation": "image-segmentation"}
"""Names that the hub has for kinds of task; others keep their own."""
SECTIONS = ("method", "vit", "data", "sampling", "views", "recipe")
WITHOUT = {"slides", "folder", "table", "start", "exclude", "root"}
"""Settings that name places on the machine of who trained it."""


def model_card(
    repo: str, folder: Path, content: dict[str, Any], card: ModelCard, scores: Sequence[Score], licence: str | None
) -> str:
    """Write README.md.

    Args:
        repo: `owner/name` on the hub.
        folder: The export.
        content: Content of its card.json.
        card: Its card, as evaluation has it.
        scores: Scores of these weights.
        licence: The hub's name of a licence; not stated unless given.
    """
    parts = [
        _metadata(repo, content, scores, licence),
        f"# {repo.partition('/')[2]}",
        f"A foundation model for pathology: {content['arch']}, embedding of {card.dim} numbers, the "
        f"{content['weights_of']} after {content['step']:,} steps of `eva pretrain` (run `{content['name']}`).",
        _use(repo, content),
        _scores(scores),
        _seen(card),
        _recipe(folder),
        _files(content),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _metadata(repo: str, content: dict[str, Any], scores: Sequence[Score], licence: str | None) -> str:
    """The YAML that the hub reads, by its own client."""
    data = ModelCardData(
        library_name="timm",
        license=licence,
        pipeline_tag="image-feature-extraction",
        tags=["pathology", "histology", "foundation-model", "eva-pathology", content["arch"]],
        metrics=list(dict.fromkeys(s.results["main"]["metric"] for s in scores)) or None,
        model_name=repo.partition("/")[2],
        eval_results=[_entry(score) for score in scores] or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def _entry(score: Score) -> EvalResult:
    main = score.results["main"]
    return EvalResult(
        task_type=TASKS.get(score.results["task"], score.results["task"]),
        dataset_type=score.dataset,
        dataset_name=score.dataset + (" (synthetic)" if score.results["synthetic"] else ""),
        dataset_split=main["split"],
        metric_type=main["metric"],
        metric_value=round(score.value, 6),
        metric_name=score.sentence(),
    )


def _use(repo: str, content: dict[str, Any]) -> str:
    arguments = {k: f"timm.layers.{v}" if k == "mlp_layer" else repr(v) for k, v in content["arch_args"].items()}
    extra = "".join(f", {name}={value}" for name, value in arguments.items())
    return f"""## Use it

```sh
eva fit --config bach --model hf-hub:{repo}
```

```python
import timm
from huggingface_hub import hf_hub_download

weights = hf_hub_download("{repo}", "model.safetensors")
model = timm.create_model({content["arch"]!r}, checkpoint_path=weights, num_classes=0{extra})
```

Pixels in 0-1, mean {content["mean"]}, std {content["std"]}, {content["size"]} px. The embedding is the class token."""


def _scores(scores: Sequence[Score]) -> str:
    if not scores:
        return ""
    lines = [
        "## Scores",
        "",
        "| dataset | split | metric | score | 95 % interval | head | protocol | beside it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    remarks: list[str] = []
    for score in scores:
        main, identity = score.results["main"], score.results["identity"]
        cells = (
            score.dataset + (" (synthetic)" if score.results["synthetic"] else ""),
            *(main["split"], main["metric"], number(score.value), span(main["ci95"])),
            *(
                identity["head"],
                identity["protocol"],
                ", ".join(f"{name} {value}" for name, value in score.nulls.items()),
            ),
        )
        lines.append(f"| {' | '.join(map(for_markdown, cells))} |")
        remarks.append(f"- {for_markdown(score.dataset)}: {for_markdown('; '.join(score.remarks()))}.")
    return "\n".join([*lines, "", *remarks])


def _seen(card: ModelCard) -> str:
    collections = "unknown" if card.collections is None else ", ".join(card.collections) or "none"
    mpp = " to ".join(f"{value:g}" for value in dict.fromkeys(card.mpp)) or "unknown"
    return f"""## What it has seen

Trained on {card.trained_on}. Public collections among them: {collections}. Micrometres per pixel of its patches: {mpp}.
Names in `slides.json` that are not TCGA's are salted hashes; eva marks a score on slides that are listed there."""


def _recipe(folder: Path) -> str:
    """The settings that made it, without the places of files; nothing where there is no configuration."""
    if not (folder / CONFIG).is_file():
        return ""
    config = read_yaml(folder / CONFIG)
    rows = []
    for section in SECTIONS:
        value = config.get(section)
        if not isinstance(value, dict):
            continue
        settings = {**value, **(value.get("init_args") or {})}
        settings.pop("init_args", None)
        told = ", ".join(filter(None, [settings.pop("class_path", ""), *_told(settings)]))
        rows.append(f"| {section} | {for_markdown(told)} |")
    return "\n".join(["## Recipe", "", "| | |", "|---|---|", *rows]) if rows else ""


def _told(settings: dict[str, Any]) -> list[str]:
    return [f"{k} {_setting(v)}" for k, v in settings.items() if k not in WITHOUT and v not in (None, {}, [])]


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(_told(value))
    if isinstance(value, list):
        return (" to " if len(value) == 2 else " ").join(map(_setting, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _files(content: dict[str, Any]) -> str:
    code = content.get("code", {})
    made = f"eva {code.get('version', '?')}" + (f", commit {code['commit']}" if code.get("commit") else "")
    return f"""## Files

`model.safetensors` (SHA-256 {content["file_sha256"]}), `card.json` (how to feed it), `slides.json` (what it has seen).
Made with {made}."""
