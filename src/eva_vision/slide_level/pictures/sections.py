"""The pictures of single samples in a report."""

from typing import cast

from eva_core.contracts.sections import PicturesSection, Section
from eva_core.reports.pictures import shown_pictures
from eva_core.reports.sources import Sources
from eva_vision.slide_level.schema import SlideResults


def picture_sections(sources: Sources) -> list[Section]:
    """What heads see in the patches of a few samples, where their pictures were drawn; plots a report draws itself."""
    results = cast(SlideResults, sources.results)
    stems = {file.rpartition(".")[0] for file in results.get("shapes", [])}
    pictures = [p for p in results.get("pictures", []) if p["file"].rpartition(".")[0] in stems]
    if not pictures:
        return []
    note = (
        "A few samples by heads that were not trained on them: the slide, what the heads see or say of its patches, "
        "and the patches at both ends. Attention says where a head looks, not that what is there is a cause. Beside "
        "each picture of the result lies a .geojson of its patches in level-0 pixels, which QuPath takes by drag and "
        "drop."
    )
    section: PicturesSection = {
        "kind": "pictures",
        "title": "What heads look at",
        "note": note,
        "items": shown_pictures(sources, pictures),
    }
    return [section]
