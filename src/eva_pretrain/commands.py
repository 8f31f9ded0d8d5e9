"""`eva pretrain` and `eva study`: thin, and torch is imported only when there is something to do."""


def pretrain(argv: list[str]) -> int:
    """Train, then export."""
    from lightning.pytorch.utilities import rank_zero_only

    from eva_pretrain.config import parse
    from eva_pretrain.pretraining import pretrain as run

    rank_zero_only(print)(run(parse(argv)))
    return 0


def study(argv: list[str]) -> int:
    """Train the variants of a study, and compare them."""
    from eva_pretrain.studies.command import main

    return main(argv)
