"""`eva slides index` and `eva slides show`."""

import os
from functools import partial
from pathlib import Path

from eva_core.config.argparser import Parser
from eva_core.errors import EvaError, UsageError, some
from eva_core.files.file_names import as_name
from eva_core.progress import say
from eva_core.shown import visible

_HELP = """usage: eva slides {index,show} [...]

Whole slides, on disk or in blob storage.

  index PATTERN --output DIR   find the tissue of many slides, so that patches are sampled without opening them first
  show FILE                    one slide: metadata, tissue mask (as GeoJSON, too), and patches at each magnification

`eva slides index --help` tells more."""


def main(argv: list[str]) -> int:
    """Run `eva slides` with these arguments; returns the exit status."""
    commands = {"index": index, "show": show}
    if not argv or argv[0] in ("-h", "--help"):
        print(_HELP)
        return 0
    if argv[0] not in commands:
        raise UsageError(f"Expected index or show after `eva slides`, but got {argv[0]}.")
    return commands[argv[0]](argv[1:])


def index(argv: list[str]) -> int:
    """Index slides, and list those that do not work."""
    parser = Parser(
        prog="eva slides index",
        description="Find size, magnification, tiles and tissue of slides. The same command goes on where it was "
        "stopped, takes in what is new or has changed, and tries again what failed.",
    )
    parser.add_argument("pattern", help="files or URLs, such as 's3://bucket/**/*.svs', in quotes")
    parser.add_argument("--output", type=Path, required=True, help="folder of the index; others that are in it stay")
    parser.add_argument("--tissue", default="hsv", help="how tissue is found: hsv, otsu, or a plugin's name")
    parser.add_argument("--mpp", type=float, help="micrometres per pixel of slides that state none")
    parser.add_argument("--workers", type=int, help="processes; one for each core unless given")
    parser.add_argument("--strict", action="store_true", help="exit 1 where a slide could not be indexed")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="ray: slides over a cluster")
    parser.add_argument("--address", help="of the Ray cluster; a local one unless given")
    arguments = parser.parse_args(argv)
    from eva_vision.slides.build_index import build, on_ray, on_this_machine
    from eva_vision.slides.listing import find_slides

    if arguments.mpp is not None and not 0 < arguments.mpp < float("inf"):
        raise UsageError(f"Expected --mpp above 0, but got {arguments.mpp}. Give micrometres per pixel.")
    workers = arguments.workers if arguments.workers is not None else len(os.sched_getaffinity(0))
    if workers < 1:
        raise UsageError(f"Expected --workers of at least 1, but got {workers}.")
    run = partial(on_ray, address=arguments.address) if arguments.engine == "ray" else on_this_machine(workers)
    listed = find_slides(arguments.pattern)
    slides = build(listed.paths, arguments.output, arguments.tissue, arguments.mpp, run, listed.root)
    fast = sum(entry.reader == "tiff" for entry in slides.entries)
    area = sum(entry.area for entry in slides.entries)
    tissue = f"{area:,.{0 if area >= 100 else 2}f} mm2 of tissue"
    count = "1 slide" if len(slides) == 1 else f"{len(slides):,} slides"
    print(f"{count} in {arguments.output}: {tissue}, {fast} by the fast path.")
    differ = [entry.name for entry in slides.entries if entry.agreed is False]
    if differ:
        say(f"{len(differ)} are read by OpenSlide, because the fast path gave other pixels: {some(differ)}.")
    uncompared = [entry.name for entry in slides.entries if entry.reader == "tiff" and entry.agreed is None]
    if uncompared:
        say(f"{len(uncompared)} were not compared with OpenSlide, which does not open them: {some(uncompared)}.")
    failed = {**{entry.path: entry.error for entry in slides.failed}, **listed.failed}
    for path, reason in failed.items():
        say(f"{path}: {reason}")
    if failed and (arguments.strict or not len(slides)):
        raise EvaError(f"Expected every slide to be indexed, but {len(failed)} were not: see above.")
    return 0


def show(argv: list[str]) -> int:
    """Print what is known of a slide, and draw it."""
    parser = Parser(prog="eva slides show", description="Metadata of a slide, and a picture of its tissue and patches.")
    parser.add_argument("file", help="a slide: path or URL")
    parser.add_argument("--output", type=Path, help="PNG to write; NAME.png here unless given")
    parser.add_argument("--geojson", type=Path, help="also write the outline of the tissue, for QuPath and others")
    parser.add_argument("--mpp", type=float, help="micrometres per pixel of a slide that states none")
    parser.add_argument("--tissue", default="hsv", help="how tissue is found: hsv, otsu, or a plugin's name")
    arguments = parser.parse_args(argv)
    from eva_vision.slides.geojson import write_tissue
    from eva_vision.slides.names import stem
    from eva_vision.slides.reading.open import open_as_stated
    from eva_vision.slides.show import describe, draw
    from eva_vision.slides.tissue_detection import tissue_mask

    with open_as_stated(arguments.file, arguments.mpp) as slide:
        mask = tissue_mask(slide, arguments.tissue)
        for name, value in describe(slide, mask).items():
            print(f"{name:<10} {visible(value)}")
        output = arguments.output or Path(f"{as_name(stem(slide.name))}.png")
        draw(slide, mask, output)
        pieces = None if arguments.geojson is None else write_tissue(arguments.geojson, mask)
    print(f"{'picture':<10} {output}")
    if pieces is not None:
        print(f"{'outline':<10} {arguments.geojson}: {'1 piece' if pieces == 1 else f'{pieces:,} pieces'} of tissue")
    return 0
