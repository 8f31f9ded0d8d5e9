"""What a report is made from: a finished result, and the embeddings and images behind it where they are here."""

from dataclasses import dataclass, field
from pathlib import Path

from eva_core.contracts.results import Results
from eva_core.reports.thumbnails import Thumbnails
from eva_core.store.store import VectorStore


@dataclass(frozen=True)
class Sources:
    """A result, and what is behind it.

    Attributes:
        folder: The folder of the result.
        results: The content of its results.json.
        store: The embeddings; None where there are none, or not here.
        thumbnails: Small pictures of its images.
        missing: A sentence for each thing that is not here.
    """

    folder: Path
    results: Results
    store: VectorStore | None
    thumbnails: Thumbnails
    missing: list[str] = field(default_factory=list)
