"""The page of `eva demo`: what was drawn, what the network learned of it, and real tissue, in one HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from pathlib import Path

import numpy as np

from eva_core.contracts.results import Results
from eva_core.files.atomic_files import write_text
from eva_core.page_theme import read_template
from eva_core.results.record import REPORT
from eva_pretrain.run.demo_pictures import AVERAGED, COLOURS, PatternMap, as_uri
from eva_vision.slides.example_slide import LICENCE, LICENCE_PAGE, SOURCE, SOURCE_PAGE
from eva_vision.synthetic.patterns import CLASSES

TEMPLATE = Path(__file__).with_name("demo_page.html")


@dataclass(frozen=True)
class Scored:
    """A model of the demo, and what came out.

    Attributes:
        words: What it is.
        folder: Folder of its result.
        results: Content of its results.json.
    """

    words: str
    folder: Path
    results: Results

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds of the 95 % interval; not numbers where there is none."""
        low, high = self.results["main"]["ci95"] or (float("nan"), float("nan"))
        return low, high


@dataclass(frozen=True)
class Unseen:
    """A synthetic slide that no network was trained on: small, what was drawn, and what the networks tell."""

    slide: np.ndarray
    drawn: np.ndarray
    maps: Sequence[PatternMap]


@dataclass(frozen=True)
class Shown:
    """All that the page shows.

    Attributes:
        about: A line of facts.
        steps: Optimiser steps of the pretraining.
        slides: Number of slides that were trained on.
        models: The pretrained network, the same with random weights, and colour.
        training: A slide that was trained on, in small.
        patients: A patch of each class, by patient.
        unseen: Other slides.
        tissue: The real slide with its tissue outlined, as the address of an image.
        real: Patches of it.
        slide: Where it lies, relative to the page.
    """

    about: str
    steps: int
    slides: int
    models: Sequence[Scored]
    training: np.ndarray
    patients: Sequence[Sequence[np.ndarray]]
    unseen: Sequence[Unseen]
    tissue: str
    real: Sequence[np.ndarray]
    slide: Path


def write_page(path: Path, shown: Shown) -> Path:
    """Write the page, and return where it is."""
    body = "\n".join([_learned(shown, path.parent), _synthetic(shown), _maps(shown), _real(shown), _next(path, shown)])
    about = f"{shown.about} · eva {version('eva-pathology')}"
    text = read_template(TEMPLATE).replace("__ABOUT__", escape(about)).replace("__BODY__", body)
    write_text(path, text)
    return path


def verdict(models: Sequence[Scored]) -> tuple[bool, str]:
    """Whether the first model's interval lies above those of all others, and that in words."""
    (low, high), others = models[0].interval, models[1:]
    if low > max(other.interval[1] for other in others):
        return True, (
            f"It did. The interval of its score ({low:.3f} – {high:.3f}) lies above those of the same network with "
            "random weights and of colour alone."
        )
    return False, (
        f"This run does not show it: the interval of its score ({low:.3f} – {high:.3f}) is not above those of the same "
        "network with random weights and of colour alone."
    )


def _learned(shown: Shown, folder: Path) -> str:
    learned, words = verdict(shown.models)
    main = shown.models[0].results["main"]
    chance = main["chance"] or 0.0
    rows = "".join(_row(model, chance, folder) for model in shown.models)
    metric = main["metric"].replace("_", " ")
    return f"""<p class="verdict{" yes" * learned}">{escape(words)}</p>
<p>It was pretrained here without any label: {shown.steps} steps of DINOv2 on patches of {shown.slides} synthetic
slides. Then a logistic regression on its frozen embeddings told four tissue patterns apart, on patches of other
synthetic patients.</p>
<div class="scores">{rows}</div>
<p class="soft"><small>{escape(metric)} on the test split; bar: 95 % bootstrap interval by patient; dashed: chance,
{chance:.2f}. A name leads to the report of its result, with confusions and the worst images;
<a href="leaderboard.html">the board</a> has all of them.</small></p>"""


def _row(model: Scored, chance: float, folder: Path) -> str:
    value, (low, high) = model.results["main"]["mean"] or 0.0, model.interval
    report = (model.folder / REPORT).relative_to(folder).as_posix()
    return (
        f'<div><a href="{escape(report)}">{escape(model.words)}</a>'
        f'<span class="track"><u style="left:{chance:.1%}"></u><i style="left:{low:.1%};width:{high - low:.1%}"></i>'
        f'<b style="left:{value:.1%}"></b></span>'
        f"<span><b>{value:.3f}</b> <small>{low:.3f} – {high:.3f}</small></span></div>"
    )


def _synthetic(shown: Shown) -> str:
    names = "".join(f"<b>{name}</b>" for name in CLASSES)
    patches = "".join(
        _image(patch, f"synthetic {name}")
        for patient in shown.patients
        for name, patch in zip(CLASSES, patient, strict=True)
    )
    return f"""<h2>What it saw <span class="kind synthetic">SYNTHETIC</span></h2>
<p>Everything here is drawn by a program; none of it ever was tissue. The four patterns differ in the shape and the
arrangement of what is in them. Stain, the share of nuclei and of holes are drawn without regard to the pattern, so that
colour says next to nothing.</p>
<div class="seen"><figure>{_image(shown.training, "a synthetic slide")}
<figcaption>One of the {shown.slides} slides that it was trained on, about 1 mm wide. <code>pretrain/crops.png</code>
shows the crops that it saw.</figcaption></figure>
<figure><div class="patches">{names}{patches}</div>
<figcaption>Patches of the task. Each row is a patient, with a stain of its own.</figcaption></figure></div>"""


def _maps(shown: Shown) -> str:
    legend = "".join(
        f'<span><i style="background:{colour}"></i>{name}</span>' for name, colour in zip(CLASSES, COLOURS, strict=True)
    )
    rows = "".join(_unseen(slide) for slide in shown.unseen)
    return f"""<h2>What it learned <span class="kind synthetic">SYNTHETIC</span></h2>
<p>Slides that neither network has seen, window by window: which pattern does its logistic regression tell? Answers of
{AVERAGED} × {AVERAGED} neighbouring windows are averaged, for both networks alike.</p>
<p class="legend">{legend}</p>
{rows}
<p class="soft"><small>White: less than 80 % tissue in the window. There is no picture of principal components: this
recipe trains the class token alone, and those of the patch tokens show stain and noise.</small></p>"""


def _unseen(slide: Unseen) -> str:
    figures = [
        _figure(slide.slide, "A slide", ""),
        _figure(slide.drawn, "What was drawn where", "map"),
        *(
            _figure(found.picture, f"{words}: {found.right:.0%} of the windows right", "map")
            for words, found in zip(("Pretrained here", "Random weights"), slide.maps, strict=True)
        ),
    ]
    return f'<div class="four">{"".join(figures)}</div>'


def _real(shown: Shown) -> str:
    patches = "".join(_image(patch, "a patch of real tissue") for patch in shown.real)
    return f"""<h2>Real tissue <span class="kind real">REAL</span></h2>
<p>A piece of an H&amp;E slide, read by the code that reads yours: where it finds tissue, and patches of 224 pixels from
it at 0.5 micrometres per pixel. The network above has seen none of it, and says nothing about it.</p>
<div class="tissue"><figure><img alt="a real slide, its tissue outlined" src="{shown.tissue}">
<figcaption>Blue: outline of the tissue. Orange: the patches.</figcaption></figure>
<figure><div class="patches">{patches}</div>
<figcaption>112 micrometres wide each. <code>{escape(shown.slide.name)}</code>,
<a href="{SOURCE_PAGE}">{SOURCE}</a>, <a href="{LICENCE_PAGE}">{LICENCE}</a>.</figcaption></figure></div>"""


def _next(path: Path, shown: Shown) -> str:
    slide = escape((path.parent / shown.slide).as_posix())
    return f"""<h2>Go on</h2>
<p>With the real slide, or any of yours: metadata, tissue and patches at each magnification.</p>
<pre>eva slides show {slide}</pre>
<p>With your own images, in folders <code>train|val|test/class/image</code>: a score with its interval, and a
report.</p>
<pre>eva fit --config folder --dataset.root DIR --model imagenet_dino_vits16 --output out/mine</pre>
<p>With your own slides: pretrain on them.</p>
<pre>eva pretrain --config dinov2_vits14 --slides 'DIR/*.svs' --output out/my_fm</pre>"""


def _figure(picture: np.ndarray, caption: str, kind: str) -> str:
    image = _image(picture, caption, bool(kind))
    return f'<figure class="{kind}">{image}<figcaption>{escape(caption)}</figcaption></figure>'


def _image(picture: np.ndarray, words: str, flat: bool = False) -> str:
    return f'<img alt="{escape(words)}" src="{as_uri(picture, flat)}">'
