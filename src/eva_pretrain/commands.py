"""`eva pretrain`: the entry point of the pretraining add-on, which is not written yet."""

from eva_core.errors import UsageError


def pretrain(argv: list[str]) -> int:
    """Say so."""
    raise UsageError("Pretraining is not part of this version of eva. `eva fit` evaluates the models that exist.")
