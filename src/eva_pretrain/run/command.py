"""`eva pretrain`: torch is imported only when there is something to do."""


def main(argv: list[str]) -> int:
    """Train, then export."""
    from lightning.pytorch.utilities import rank_zero_only

    from eva_pretrain.run.config import parse
    from eva_pretrain.run.pretrain import pretrain

    rank_zero_only(print)(pretrain(parse(argv)))
    return 0
