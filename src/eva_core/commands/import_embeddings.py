"""`eva import`: embeddings that kaiko-eva wrote, as a store that `eva fit --embeddings` takes."""

from pathlib import Path

from eva_core.config.argparser import Parser


def main(argv: list[str]) -> int:
    """Run `eva import`."""
    parser = Parser(
        prog="eva import",
        description="Read a folder of kaiko-eva embeddings (manifest.csv and .pt files) into one store and print where "
        "it is. Then: eva fit --embeddings STORE --output OUT.",
    )
    parser.add_argument("folder", type=Path, help="holds manifest.csv with origin, embeddings, target, split")
    parser.add_argument("--model", required=True, help="name of the model that made them")
    parser.add_argument("--dataset", required=True, help="name of the dataset")
    parser.add_argument("--classes", nargs="+", help="class names in the order of the targets; 0, 1, ... unless given")
    given = parser.parse_args(argv)
    from eva_core.classification.import_kaiko import import_folder

    print(import_folder(given.folder, given.model, given.dataset, given.classes))
    return 0
