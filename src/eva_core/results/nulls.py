"""Whether a score says more than its nulls do: what needs no model, or no trained one."""

from eva_core.contracts.results import Results

MARK = "§"


def not_beaten(results: Results) -> list[str]:
    """Names of the nulls that the main score does not beat: it lies in the interval of the null, or is worse.

    Where a null has no interval, its mean stands for it.
    """
    main = results["main"]
    value, sign = main["mean"], 1 if main["higher_is_better"] else -1
    if value is None:
        return []
    names = []
    for name, null in results["baselines"].items():
        record = null["splits"][main["split"]]["metrics"][main["metric"]]
        bounds = record["ci95"] or ([record["mean"]] if record["mean"] is not None else [])
        if name != results["identity"]["model"] and bounds and value * sign <= max(bound * sign for bound in bounds):
            names.append(name)
    return names


def nulls_line(names: list[str]) -> str:
    """What a reader must know of a score that does not beat these nulls.

    Examples:
        >>> nulls_line(["colour_stats"])
        'no better than the null colour_stats: the score lies in its interval, or is worse'
    """
    which = f"the null {names[0]}" if len(names) == 1 else f"the nulls {', '.join(names)}"
    return f"no better than {which}: the score lies in its interval, or is worse"
