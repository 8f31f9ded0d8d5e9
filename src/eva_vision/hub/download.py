"""`eva download`: weights and datasets, ahead of a machine without a network."""

import difflib
import inspect
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from eva_core import registry
from eva_core.commands.listing import definition_of, table
from eva_core.config.argparser import Parser
from eva_core.config.files import task_configs
from eva_core.contracts.cards import DatasetCard, ModelCard
from eva_core.errors import EvaError, UsageError, some
from eva_core.hub.availability import RemoteFile, as_size, ask
from eva_core.hub.weight_files import HUB, held, split_checksum, weights_address
from eva_core.progress import say
from eva_core.shown import visible

DESCRIPTION = (
    "Fetch weights and datasets, so that a machine without a network finds them. Sizes are printed first. What was "
    "stopped goes on where it was, and what came is held against its checksum where one is known. Weights go to the "
    "caches that `eva fit` looks in; datasets to the folder of their config: $DATA_ROOT/NAME, or data/NAME."
)


@dataclass(frozen=True)
class Wanted:
    """What stands behind a name, before anything is fetched.

    Attributes:
        name: The name.
        files: What is still to come.
        folder: Where it goes.
        fetch: Gets it and checks it; says what there is then.
        licence: Whose terms it is under.
    """

    name: str
    files: tuple[RemoteFile, ...]
    folder: Path
    fetch: Callable[[], str]
    licence: str

    @property
    def size(self) -> int | None:
        """Bytes to come; None where a server does not say."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)


def main(argv: list[str]) -> int:
    """Run `eva download`; returns 1 where a name could not be had."""
    parser = Parser(prog="eva download", description=DESCRIPTION)
    parser.add_argument("names", nargs="+", metavar="NAME", help="models, datasets, or exports as hf-hub:OWNER/NAME")
    parser.add_argument("--root", type=Path, help="folder of the one dataset that is named")
    given = parser.parse_args(argv)
    names = list(dict.fromkeys(given.names))
    is_dataset = {name: _is_dataset(name) for name in names}
    if given.root is not None and sum(is_dataset.values()) != 1:
        raise UsageError("Expected one dataset with --root, but got another number. Download them one by one.")
    wanted: list[Wanted] = []
    failed: list[str] = []
    for name in names:
        try:
            wanted.append(_dataset(name, given.root) if is_dataset[name] else _model(name))
        except EvaError as error:
            say(f"{name}: {error}")
            failed.append(name)
    _print_sizes(wanted)
    _refuse_full_disks(wanted)
    for item in wanted:
        try:
            print(visible(f"{item.name}: {item.fetch()}"), flush=True)
        except EvaError as error:
            say(f"{item.name}: {error}")
            failed.append(item.name)
    if failed:
        say(f"Not fetched: {some(failed)}. The same command goes on with what is missing.")
    return 1 if failed else 0


def _is_dataset(name: str) -> bool:
    """Whether a name is that of a dataset, and not of a model.

    Raises:
        UsageError: It is neither.
    """
    if name.startswith(HUB) or any(entry.name == name for entry in registry.models.entries()):
        return False
    if any(entry.name == name for entry in registry.datasets.entries()):
        return True
    known = [entry.name for names in (registry.models, registry.datasets) for entry in names.entries()]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}?" if close else "`eva models` and `eva datasets` list them."
    raise UsageError(f"Unknown model or dataset {name!r}. {hint}")


def _print_sizes(wanted: Sequence[Wanted]) -> None:
    if not wanted:
        return
    rows = [
        (item.name, as_size(item.size) if item.files else "here", item.licence, visible(item.folder)) for item in wanted
    ]
    print(table(("NAME", "TO COME", "LICENCE", "WHERE"), rows), flush=True)
    unknown = [item.name for item in wanted if item.size is None]
    total = as_size(sum(item.size or 0 for item in wanted))
    rest = f", and {some(unknown)}, of which no server says the size" if unknown else ""
    say(f"To come: {total}{rest}.")


def _refuse_full_disks(wanted: Sequence[Wanted]) -> None:
    """Refuse to begin what cannot end.

    Raises:
        EvaError: A disk has less room than what goes there; archives are unpacked beside themselves, and need more.
    """
    needed: dict[int, int] = {}
    for item in wanted:
        parent = next(path for path in (item.folder, *item.folder.parents) if path.exists())
        device = parent.stat().st_dev
        needed[device] = needed.get(device, 0) + (item.size or 0)
        free = shutil.disk_usage(parent).free
        if needed[device] > free:
            raise EvaError(
                f"Expected room for {as_size(needed[device])}, but the disk of {parent} has {as_size(free)}. Make "
                "room, or set EVA_CACHE, HF_HUB_CACHE or --root to another disk."
            )


def _model(name: str) -> Wanted:
    """Weights of a registered model, or the files of an export on the hub.

    Raises:
        UsageError: Its weights depend on arguments.
        EvaError: They cannot be had.
    """
    from huggingface_hub import constants

    from eva_vision.hub.weights import fetch_weights

    if name.startswith(HUB):
        return _export(name)
    card = definition_of(registry.models.find(name)).card
    address = weights_address(card) if isinstance(card, ModelCard) else None
    if not isinstance(card, ModelCard) or address is None:
        source = card.source if isinstance(card, ModelCard) else "it has no card"
        if source.startswith("none"):
            return _nothing(name, card.licence)
        raise UsageError(f"Expected a card that names a file of weights, but got {visible(source)}.")
    path = held(address)
    folder = Path(constants.HF_HUB_CACHE) if address.startswith(HUB) else _release_folder(address)
    files = () if path else (ask(address),)
    return Wanted(name, files, folder, lambda: fetch_weights(address), card.licence)


def _nothing(name: str, licence: str) -> Wanted:
    """A name that needs no file."""
    return Wanted(name, (), Path(), lambda: "nothing to fetch", licence)


def _release_folder(address: str) -> Path:
    from eva_core.hub.weight_files import release_path

    return release_path(split_checksum(address)[0]).parent


def _export(address: str) -> Wanted:
    from huggingface_hub import constants

    from eva_vision.models.exported import CARD, SLIDES, WEIGHTS, exported

    def fetch() -> str:
        built = exported(address)  # every file is checked by the card
        return f"{built.name}, commit {built.card.revision}: all files are there, as its card has them"

    repository = address.rstrip("/")
    missing = [f"{repository}/{file}" for file in (CARD, SLIDES, WEIGHTS) if held(f"{repository}/{file}") is None]
    return Wanted(address, tuple(map(ask, missing)), Path(constants.HF_HUB_CACHE), fetch, "see its page")


def _dataset(name: str, root: Path | None) -> Wanted:
    """Files of a dataset.

    Raises:
        UsageError: Its licence, or its kind, lets no program fetch it; says how to get it.
    """
    kind = registry.datasets.load(name)
    card: DatasetCard = kind.card
    if card.synthetic:
        return _nothing(name, card.licence)
    if "download" not in inspect.signature(kind).parameters:
        raise UsageError(
            f"Expected a dataset that a program may fetch, but it is not. To get it: {visible(card.access)}."
        )
    folder = (root or _root_of(name)).expanduser()
    remotes = [remote for remote in getattr(kind, "remotes", ()) if not (folder / remote.gives).exists()]
    files = tuple(_asked(remote.url) for remote in remotes)

    def fetch() -> str:
        built = registry.datasets.build(name, root=str(folder), download=True)
        return f"{len(built.samples):,} samples in {folder}, as published"

    return Wanted(name, files, folder, fetch, card.licence)


def _asked(url: str) -> RemoteFile:
    """A file of a dataset; what its server does not say stays unknown until it is fetched."""
    try:
        return ask(url)
    except EvaError:
        return RemoteFile(url, None, url)


def _root_of(name: str) -> Path:
    """The folder that the config of a dataset names."""
    config = OmegaConf.to_container(OmegaConf.create(task_configs().get(name, {})), resolve=True)
    dataset = config.get("dataset") if isinstance(config, dict) else None
    arguments = dataset.get("init_args") if isinstance(dataset, dict) else None
    root = arguments.get("root") if isinstance(arguments, dict) else None
    return Path(str(root)) if root else Path(os.environ.get("DATA_ROOT", "data")) / name
