"""Published robustness values beside ours, by protocol string."""

from collections.abc import Mapping

from eva_core.boards.standings import published_values
from eva_core.contracts.cards import ModelCard
from eva_core.contracts.protocol import Protocol
from eva_vision.robustness.contracts import Benchmark
from eva_vision.robustness.schema import Published, Value

INDEX, MARGIN = "pathorob", "croma-1.0.0"
"""Protocols of the published robustness index and of the published margin."""
_SPLIT = "all"


def beside(
    model: str, card: ModelCard, protocol: Protocol, benchmark: Benchmark, values: Mapping[str, Value]
) -> list[Published]:
    """The published values of a model, each with what ours would have to be called.

    The index was published of class token and mean of the patch tokens together, the margin of the pooling that the
    makers of each model recommend; whatever else we do is a departure.

    Args:
        model: Name of the model.
        card: Its card.
        protocol: Decides its pooling.
        benchmark: What was measured.
        values: Ours by metric.
    """
    pooling = protocol.pooling_for(card)
    rows = []
    for task, metrics, name, usual in (
        (benchmark.index_task, ("robustness_index",), INDEX, "cls_mean"),
        (benchmark.margin_task, ("croma", "croma_ltm10"), MARGIN, card.pooling),
    ):
        departures = [*_departures(benchmark, name), *([] if pooling == usual else [f"pooling={pooling}"])]
        ours = "+".join([name, *departures])
        for metric in metrics:
            for published, value in published_values().get((model, task, _SPLIT, metric), {}).items():
                own = values[metric]["value"]
                delta = own - value if own is not None and published == ours else None
                rows.append(Published(metric=metric, value=value, protocol=published, ours=ours, delta=delta))
    return rows


def _departures(benchmark: Benchmark, name: str) -> list[str]:
    """Departures of the index; the margin was published of all rows where the index is of parts."""
    shared = benchmark.index_task == benchmark.margin_task
    return list(benchmark.departures) if name == INDEX or shared else []
