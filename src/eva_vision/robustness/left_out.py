"""Leave one site out: a head is fitted on the stored embeddings of all other sites, and scored on the one."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eva_core.classification.evaluation import fit_head, scores_of
from eva_core.classification.predictions import Predictions
from eva_core.config.jobs import with_protocol
from eva_core.evaluation.holdout import divide_single_groups, hold_out
from eva_core.evaluation.splits import Plan
from eva_core.job import Job
from eva_core.store.store import Store
from eva_core.task import task_named
from eva_vision.robustness.schema import LeftOut, SiteScore

LEFT_OUT = "left out"


def left_out(job: Job, store: Store) -> LeftOut:
    """Score each site of a dataset when it is left out.

    All labelled images with a site take part, whatever their split. What selects the head is held out of the other
    sites by group, so that no image of the site is seen before the end.

    Args:
        job: The dataset, head and protocol.
        store: The embeddings.
    """
    job = with_protocol(job, replace(job.protocol, selection="holdout"))
    rows = np.flatnonzero(store.readable & (store.targets >= 0) & (store.sites != ""))
    sites = {str(site): _scored(job, store, rows, str(site)) for site in np.unique(store.sites[rows])}
    metric = job.dataset.card.metric
    sign = task_named(job.dataset.card.task).metrics(job.dataset.card)[metric].sign
    values = {site: score["value"] for site, score in sites.items() if score["value"] is not None}
    return {
        "head": job.head_name,
        "protocol": job.resolved.title,
        "metric": metric,
        "sites": sites,
        "mean": float(np.mean(list(values.values()))) if values else None,
        "worst": min(values, key=lambda site: sign * values[site]) if values else None,
        "spread": max(values.values()) - min(values.values()) if values else None,
    }


def _scored(job: Job, store: Store, rows: NDArray[np.intp], site: str) -> SiteScore:
    groups = np.where(store.groups == "", store.ids, store.groups)
    asked = rows[store.sites[rows] == site]
    others = rows[(store.sites[rows] != site) & ~np.isin(groups[rows], groups[asked])]
    score = SiteScore(n=len(asked), n_groups=len(np.unique(groups[asked])), value=None, ci95=None, reason="")
    plan = _plan(job, store.targets[others], groups[others], others)
    if plan is None:
        return {**score, "reason": "the other sites have too few classes or groups to learn from"}
    runs = fit_head(job, store, plan, "embeddings")
    scores, ranking = scores_of(job.head, [run.params for run in runs], store.embedded(asked))
    classes, metric = job.dataset.card.classes, job.dataset.card.metric
    part = Predictions(LEFT_OUT, store.ids[asked], store.groups[asked], store.targets[asked], scores, ranking, classes)
    found = part.record([metric])[0]["metrics"][metric]
    alone = [classes[label] for label in np.unique(store.targets[asked]) if label not in store.targets[others]]
    reason = f"no other site has {', '.join(alone)}" if alone else ""
    return {**score, "value": found["mean"], "ci95": found["ci95"], "reason": reason}


def _plan(job: Job, targets: NDArray[np.int64], groups: NDArray[np.str_], rows: NDArray[np.intp]) -> Plan | None:
    """Which of some rows teach and which select, by group; None where they cannot be divided."""
    protocol = job.protocol
    if len(np.unique(targets)) < 2:
        return None
    held = hold_out(targets, groups, protocol.holdout, protocol.seed)
    if len(np.unique(groups)) > 1:
        divide_single_groups(held, targets, groups, protocol.holdout)
    if len(np.unique(targets[held])) < 2 or len(np.unique(targets[~held])) < 2:
        return None
    return Plan(rows[~held], rows[held], (LEFT_OUT,), LEFT_OUT, "holdout", "held out by group of the other sites")
