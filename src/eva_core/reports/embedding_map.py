"""Where the images of a split lie among each other: embeddings on a plane, and the nearest ones of train."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse.linalg import svds

from eva_core.contracts.sections import Colouring, MapSection, Projection
from eva_core.reports.thumbnails import Thumbnails
from eva_core.reports.umap_layout import installed, umap_places
from eva_core.store.store import VectorStore

POINTS = 1200
"""Most points of a map: more hide each other, and each has a picture."""
LABELS = 11
"""Most labels with a colour of their own; the rest share one."""
_ROWS = 8192
_SMALL = 16  # below it all components cost nothing


def spread_out(n: int, most: int) -> np.ndarray:
    """Numbers from 0 to n - 1, evenly spread where there are more than `most`.

    Examples:
        >>> spread_out(10, 4).tolist()
        [0, 3, 6, 9]
    """
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).round().astype(np.int64)


def embedding_map(
    store: VectorStore,
    rows: np.ndarray,
    colours: Mapping[str, Sequence[str]],
    thumbnails: Thumbnails,
    unit: str = "images",
) -> MapSection:
    """A map of some images, at most `POINTS` of them.

    Args:
        store: Their embeddings.
        rows: Their rows in it, (N,).
        colours: What they can be coloured by: a name, and a label for each, (N,).
        thumbnails: Gives the pictures.
        unit: What is counted.
    """
    chosen = spread_out(len(rows), POINTS)
    names = [str(name) for name in store.ids[rows[chosen]]]
    x = store.vectors(rows[chosen])
    projections, missing = _projections(x)
    left_out = "" if len(chosen) == len(rows) else f", {len(chosen):,} of {len(rows):,} {unit}"
    return {
        "kind": "map",
        "title": "Embeddings",
        "note": f"Near each other lies what the model takes for alike{left_out}. Point at one to see it.{missing}",
        "ids": names,
        "projections": projections,
        "colourings": [colouring(name, [labels[n] for n in chosen]) for name, labels in colours.items()],
        "tiles": thumbnails.sheet(names),
    }


def colouring(name: str, labels: Sequence[str]) -> Colouring:
    """Colours by label; the rarest share one where there are many."""
    counts = Counter(labels)
    common = [label for label, _ in counts.most_common(LABELS if len(counts) <= LABELS else LABELS - 1)]
    shown = sorted(common)
    number = {label: place for place, label in enumerate(shown)}
    if len(common) < len(counts):
        shown = [*shown, f"{len(counts) - len(common)} others"]
    return {"name": name, "labels": shown, "values": [number.get(label, len(shown) - 1) for label in labels]}


def principal_components(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two principal components, (N, 2), and their shares of the variance, (2,)."""
    centred = x - x.mean(0)
    total = float((centred**2).sum())
    if min(centred.shape) <= _SMALL:
        u, s, _ = np.linalg.svd(centred, full_matrices=False)
    else:
        u, s, _ = svds(centred, k=2, v0=np.ones(min(centred.shape), centred.dtype))
    u, s = u[:, np.argsort(-s)[:2]], np.sort(s)[::-1][:2]
    places = np.zeros((len(x), 2))
    places[:, : len(s)] = u * s
    sides = np.where(np.abs(places.max(0)) < np.abs(places.min(0)), -1, 1)  # a sign means nothing, but it stays
    shares = np.zeros(2)
    shares[: len(s)] = s**2 / total if total > 0 else 0
    return places * sides, shares


def nearest_in_train(store: VectorStore, rows: np.ndarray, train: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest training images by cosine.

    Args:
        store: The embeddings.
        rows: Rows of the images to look from, (n,).
        train: Rows of the training images, ascending, (N,).
        k: How many for each.
    Returns:
        Their rows, nearest first, (n, k), and their cosines, (n, k).
    """
    k = min(k, len(train))
    best, at = np.full((len(rows), k), -np.inf, np.float32), np.zeros((len(rows), k), np.int64)
    query = store.vectors(rows)
    query /= np.maximum(np.linalg.norm(query, axis=1, keepdims=True), 1e-12)
    for first in range(0, len(train), _ROWS):
        block = train[first : first + _ROWS]
        keys = store.vectors(block)
        cosines = query @ keys.T / np.maximum(np.linalg.norm(keys, axis=1), 1e-12)
        joined, places = np.hstack([best, cosines]), np.hstack([at, np.broadcast_to(block, cosines.shape)])
        top = np.argsort(-joined, axis=1, kind="stable")[:, :k]
        best, at = np.take_along_axis(joined, top, 1), np.take_along_axis(places, top, 1)
    return at, best


def _projections(x: np.ndarray) -> tuple[list[Projection], str]:
    """Each way to lay embeddings out, and a sentence where one of them failed."""
    places, shares = principal_components(x)
    axes = (f"first component, {shares[0] * 100:.0f} % of the variance", f"second, {shares[1] * 100:.0f} %")
    projections: list[Projection] = [{"name": "PCA", "axes": axes, "points": _whole(places)}]
    if not installed() or len(x) <= _SMALL:
        return projections, ""
    try:
        laid = umap_places(x)
    except Exception as error:  # numba and numpy must fit each other, and a map costs no report
        return projections, f" By PCA alone: umap-learn is installed, but failed with {type(error).__name__}."
    axes = ("UMAP keeps neighbours; distances between clusters mean little", "")
    return [*projections, {"name": "UMAP", "axes": axes, "points": _whole(laid)}], ""


def _whole(places: np.ndarray) -> list[tuple[int, int]]:
    """Places on a square of 1000."""
    low, high = places.min(0), places.max(0)
    scaled = (places - low) / np.maximum(high - low, 1e-12) * 1000
    return [(int(a), int(b)) for a, b in np.nan_to_num(scaled).round()]
