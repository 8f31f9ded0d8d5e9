"""`eva pretrain` and `eva study`: thin, and torch is imported only when there is something to do."""


def pretrain(argv: list[str]) -> int:
    """Train, then export."""
    from eva_pretrain.config import parse
    from eva_pretrain.pretraining import pretrain as run

    print(run(parse(argv)))
    return 0
