"""The content of a curve.json, made up."""

from eva_core.curves.schema import SCHEMA, Curve, CurvePoint


def point(share: float, mean: float | None, few: bool = False) -> CurvePoint:
    values = [None, None] if mean is None else [mean - 0.01, mean + 0.01]
    return {
        "share": share,
        "values": values,
        "mean": mean,
        "std": None if mean is None else 0.014,
        "ci95": None if mean is None else [mean - 0.05, mean + 0.05],
        "t95": [mean - 0.1, mean + 0.1] if few and mean is not None else None,
        "nulls": {} if mean is None else {"colour_stats": mean / 2},
        "left_out": ["Expected groups, but it has 1."] if mean is None else [],
    }


def example(grouped: bool = True) -> Curve:
    """Two models, one of them with a name that is markup; the smallest share could not be fitted."""
    return {
        "schema": SCHEMA,
        "dataset": "crc",
        "dataset_sha256": "0",
        "synthetic": True,
        "task": "classification",
        "head": "logreg",
        "protocol": "strict",
        "split": "test",
        "metric": "balanced_accuracy",
        "higher_is_better": True,
        "chance": 0.5,
        "n_reported": 200,
        "n_groups_reported": 40 if grouped else None,
        "draws": 2,
        "seed": 0,
        "shares": [
            {"share": 0.01, "n": [48, 51], "n_groups": [4, 4] if grouped else None},
            {"share": 0.1, "n": [100, 100], "n_groups": [9, 10] if grouped else None},
            {"share": 1.0, "n": [1000], "n_groups": [80] if grouped else None},
        ],
        "models": [
            {
                "model": name,
                "weights_sha256": "0",
                "points": [point(0.01, None), point(0.1, low), point(1.0, 0.9, True)],
            }
            for name, low in (("<m>", 0.7), ("[b]n", 0.8))
        ],
        "between": [
            {"a": 0, "b": 1, "share": 0.1, "difference": -0.1, "ci95": [-0.2, -0.05], "t95": None, "p": 0.001}
            | {"p_holm": 0.002, "told": True},
            {"a": 0, "b": 1, "share": 1.0, "difference": None, "ci95": None, "t95": None, "p": None}
            | {"p_holm": None, "told": False},
        ],
    }
