"""`eva fit`: a model and a labelled set of images in, an honest score out; `--embeddings STORE` takes imported ones."""

from eva_core.api import fit, fit_embeddings
from eva_core.config.parser import parse, parse_embeddings
from eva_core.results.report import show


def main(argv: list[str]) -> int:
    if any(word.partition("=")[0] == "--embeddings" for word in argv):
        show(fit_embeddings(**parse_embeddings(argv)))
        return 0
    asked = parse("fit", argv)
    show(fit(asked.backbone, asked.dataset, asked.head, asked.protocol, asked.output, asked.how, asked.text))
    return 0
