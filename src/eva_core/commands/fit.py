"""`eva fit`: a model and a labelled set of images in, an honest score out."""

from eva_core.api import fit
from eva_core.config import parse
from eva_core.report import show


def main(argv: list[str]) -> int:
    asked = parse("fit", argv)
    show(fit(asked.backbone, asked.dataset, asked.head, asked.protocol, asked.output, asked.how, asked.text))
    return 0
