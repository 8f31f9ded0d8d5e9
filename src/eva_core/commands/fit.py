"""`eva fit`: a model and a labelled set of images in, an honest score out; `--embeddings STORE` takes imported ones."""

from eva_core.api import fit_embeddings, fit_job, folder_of
from eva_core.config.parser import parse, parse_embeddings
from eva_core.results.record import REPORT
from eva_core.results.report import show
from eva_core.shown import visible


def main(argv: list[str]) -> int:
    """Run `eva fit`."""
    if any(word.partition("=")[0] == "--embeddings" for word in argv):
        show(fit_embeddings(**parse_embeddings(argv)))
        return 0
    job = parse("fit", argv)
    show(fit_job(job))
    report = folder_of(job) / REPORT
    if report.exists():
        print(f"  report: {visible(report)}")
    return 0
