"""Work over a Ray cluster: results as they finish, and what fails is a value."""

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from eva_core.errors import UsageError
from eva_core.progress import say

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4
"""Items handed out for each core: enough that none waits, few enough that 30,000 do not fill the scheduler."""


def each_on_ray(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    cpus: float = 1,
    gpus: float = 0,
    address: str | None = None,
) -> Iterator[tuple[Item, Result | Exception]]:
    """Call a function on each item, in processes of a cluster that shares files and packages with this one.

    A cluster that was joined here is left at the end, or when the iterator is closed; what still runs is then stopped.

    Args:
        function: Importable there, or pickled; so are items and results.
        items: Taken as there is room for them.
        cpus: Cores that an item takes.
        gpus: GPUs that an item takes.
        address: Address of the cluster; None: the one that RAY_ADDRESS names, else a local one.

    Returns:
        Items with their results as they finish; where the function raised, or its process died, with the exception.

    Raises:
        UsageError: Ray is not installed: said at once, not with the first result.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError("Expected ray for --engine ray. pip install 'eva-pathology[ray]'.") from error
    return _each(ray, function, iter(items), {"num_cpus": cpus, "num_gpus": gpus}, address)


def _each(
    ray: Any,
    function: Callable[[Item], Result],
    items: Iterator[Item],
    needs: dict[str, float],
    address: str | None,
) -> Iterator[tuple[Item, Result | Exception]]:
    joined = not ray.is_initialized()
    if joined:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        if (waits := waits_for(ray.nodes(), needs)) is not None:
            say(waits)
        call = ray.remote(**needs)(_call)
        held, running = ray.put(function), dict[Any, Item]()
        while True:
            most = max(2, _AHEAD * int(ray.cluster_resources().get("CPU", 1)))  # asked again, for clusters grow
            for item in islice(items, max(0, most - len(running))):
                running[call.remote(held, item)] = item
            if not running:
                return
            for reference in ray.wait(list(running), num_returns=1)[0]:
                yield running.pop(reference), _result(ray, reference)
    finally:
        if joined:
            ray.shutdown()


def waits_for(nodes: Iterable[dict[str, Any]], needs: dict[str, float]) -> str | None:
    """What to say where no machine is large enough for an item, as Ray itself waits for one without a word.

    Args:
        nodes: As `ray.nodes()` describes them.
        needs: `num_cpus` and `num_gpus` of an item.
    """
    named = {"CPU": needs["num_cpus"], "GPU": needs["num_gpus"]}
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if any(all(has.get(what, 0) >= wanted for what, wanted in named.items()) for has in alive):
        return None
    wanted = " and ".join(f"{count:g} {what}" for what, count in named.items() if count)
    return f"Expected a machine with {wanted} for each run, but the cluster has none: waiting until one joins."


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # which wraps what the function raised
        return error.cause
    except ray.exceptions.RayError as error:  # its process died: out of memory, or its machine went away
        return error
