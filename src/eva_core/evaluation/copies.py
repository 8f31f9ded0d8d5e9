"""Images of train that a reported split has too, turned or not: a head may know them by heart."""

import numpy as np

from eva_core.evaluation.splits import Plan
from eva_core.evaluation.turned_copies import turned_copies
from eva_core.store.reuse import CONTENT, copies_of_train
from eva_core.store.store import Samples, Store

LOOKED_THROUGH = 2000
"""Images of train and the reported splits up to which copies across them are looked for."""


def copies_across(store: Store) -> dict[str, int]:
    """How many images of each other split have the very pixels of one of train; nothing for imported embeddings."""
    if store.imported:
        return {}
    rows = np.flatnonzero(store.readable)
    return copies_of_train(store.read(rows, CONTENT), store.splits[rows])


def turned_copies_across(store: Samples, plan: Plan) -> dict[str, int] | None:
    """How many images of each reported split look like one of train, turned or not; None where nobody looked.

    Groups make sure of it otherwise, and the search takes a while.
    """
    rows = np.sort(np.concatenate([store.rows(split) for split in ("train", *plan.reported)]))
    if store.imported or len(rows) > LOOKED_THROUGH or (store.groups[rows] != "").any():
        return None
    taught = store.splits[rows] == "train"
    pairs = turned_copies(store.signatures(rows))
    across = pairs[taught[pairs[:, 0]] != taught[pairs[:, 1]]]
    alike = np.unique(across[~taught[across]])
    splits = store.splits[rows[alike]]
    return {split: int((splits == split).sum()) for split in plan.reported if (splits == split).any()}
