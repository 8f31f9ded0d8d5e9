"""The command `eva pretrain`; torch is imported only when it runs."""


def main(argv: list[str]) -> int:
    """Train, export, and print the folder of the export."""
    from lightning.pytorch.utilities import rank_zero_only

    from eva_pretrain.run.config import parse
    from eva_pretrain.run.pretrain import pretrain

    rank_zero_only(print)(pretrain(parse(argv)))
    return 0
