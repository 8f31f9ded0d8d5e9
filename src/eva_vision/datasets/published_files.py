"""Files of public datasets: they are found, counted, and refused where they are not as published."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import UsageError, some
from eva_core.files.walk import Walk, walk
from eva_core.progress import say
from eva_core.text import folded


def locate(root: str | Path, folder: str, card: DatasetCard) -> Path:
    """Find a folder of the official layout: below `root`, or `root` may already be it or one of its parents.

    Args:
        root: What the user names.
        folder: Its place in the official layout, such as `BRACS_RoI/latest_version`.
        card: Says how to get the files.
    Raises:
        UsageError: It is in none of these places; says how to get it.
    """
    base, parts = Path(root).expanduser(), PurePosixPath(folder).parts
    for i in range(len(parts)):
        if (base / Path(*parts[i:])).is_dir():
            return base / Path(*parts[i:])
    if base.name == parts[-1] and base.is_dir():
        return base
    raise UsageError(f"Expected {folder} in {base}, but it is not there. Set --dataset.root. To get it: {card.access}.")


def scan(folder: Path, suffix: str | tuple[str, ...]) -> dict[str, int]:
    """Measure every file that ends in a suffix: bytes by path below the folder, sorted; hidden ones are left out.

    Links are followed. A file counts by each of its names, for a list may name it so; a folder may have one alone.

    Raises:
        UsageError: A folder cannot be looked at, is there by two names, or a link leads nowhere.
    """
    walked = look(folder, lambda path: path.lower().endswith(suffix))
    sizes = {path: info.st_size for path, info in walked.files.items()}
    return dict(sorted((sizes | {path: sizes[other] for path, other in walked.same_files.items()}).items()))


def look(folder: Path, selects: Callable[[str], bool]) -> Walk:
    """Look at all files of a labelled dataset: none may be missing silently, or count in two places.

    Raises:
        UsageError: A folder cannot be looked at, is there by two names, or a link leads nowhere.
    """
    walked = walk(folder, selects) if folder.is_dir() else Walk()
    if walked.failed:
        named = some(f"{folder / path} ({reason})" for path, reason in walked.failed.items())
        raise UsageError(f"Expected to see all files in {folder}, but could not look at {named}. Allow or remove it.")
    if walked.same_folders:
        named = some(f"{path} = {other}" for path, other in walked.same_folders.items())
        raise UsageError(
            f"Expected each folder in {folder} once, but links make the same files count by two names: {named}. "
            "Remove one of each."
        )
    return walked


def repeated(names: Iterable[str]) -> list[str]:
    """The names that come more than once."""
    return [name for name, n in Counter(names).items() if n > 1]


def refuse(where: Path, sizes: Mapping[str, int], **problems: Collection[str]) -> None:
    """Raise where anything is not as published.

    Args:
        where: The folder, for the message.
        sizes: Bytes of the files, by name: an empty one cannot be read and is a problem as well.
        problems: Names by what is wrong with them: `missing=[...], extra=[...], duplicate=[...]`.
    Raises:
        UsageError: One line that counts and names every kind of problem.
    """
    problems["empty"] = [name for name, size in sizes.items() if size == 0]
    counted = [f"{len(names)} {kind} ({some(names)})" for kind, names in problems.items() if names]
    if counted:
        raise UsageError(
            f"Expected the images in {where} as published, but got {'; '.join(counted)}. "
            "Unpack the originals again and keep other files elsewhere."
        )


def check_counts(
    where: Path,
    expected: Mapping[str, int],
    samples: Collection[Sample],
    card: DatasetCard,
    drawn: tuple[str, ...] = (),
) -> None:
    """Compare the number of samples per split with the published one.

    Args:
        where: The folder, for the message.
        expected: Published number of samples, by split.
        samples: Those that were indexed.
        card: Names the classes.
        drawn: Splits that are drawn from one part of the files: they are counted together, and another draw is told.
    Raises:
        UsageError: They differ; says by how many, and how many there are of each class, to find where they are lost.
    """
    counts = Counter(sample.split for sample in samples)
    wrong = []
    for part in [drawn] * bool(drawn) + [(split,) for split in expected if split not in drawn]:
        n, got = sum(expected[split] for split in part), sum(counts[split] for split in part)
        if got != n:
            classes = Counter(card.classes[s.target] for s in samples if s.split in part and s.target is not None)
            listed = f" ({', '.join(f'{name} {classes[name]:,}' for name in card.classes)})" if classes else ""
            differ = f"{n - got:,} missing" if got < n else f"{got - n:,} extra"
            wrong.append(f"{got:,} of {n:,} in {' and '.join(part)}: {differ}{listed}")
    if wrong:
        raise UsageError(f"Expected the images in {where} as published, but got {'; '.join(wrong)}. Unpack it again.")
    other = [f"{counts[split]:,} {split}, published {expected[split]:,}" for split in drawn]
    if any(counts[split] != expected[split] for split in drawn):
        say(f"{card.name}: drawn otherwise than for published scores, which do not compare: {'; '.join(other)}.")


def refuse_crossing(places: Iterable[tuple[str | None, str]], remedy: str = "Move each into one split") -> None:
    """Refuse groups that are in several splits, and tell of groups that are so where spellings of a name are one.

    Args:
        places: Group and split of each sample; None is no group.
        remedy: What to do about it, as the end of the message.
    Raises:
        UsageError: Names them.
    """
    splits, spellings = defaultdict(set), defaultdict(set)
    for group, split in places:
        if group is not None:
            splits[group].add(split)
            spellings[folded(group)].add(group)
    named = {
        group: f"{group} ({', '.join(sorted(names_of_splits))})" for group, names_of_splits in sorted(splits.items())
    }
    crossing = [named[group] for group, names_of_splits in sorted(splits.items()) if len(names_of_splits) > 1]
    if crossing:
        raise UsageError(f"{len(crossing)} groups cross splits: {some(crossing)}. {remedy}.")
    alike = [sorted(names) for names in spellings.values() if len(set().union(*(splits[n] for n in names))) > 1]
    if alike:
        listed = some(" = ".join(named[name] for name in names) for names in alike)
        say(f"{len(alike)} groups cross splits if these spellings are one patient or slide: {listed}.")


def tell_crossing(samples: Iterable[Sample], card: DatasetCard) -> None:
    """Say which groups the published split has on both sides; it stays as published."""
    splits = defaultdict(set)
    for sample in samples:
        if sample.group is not None:
            splits[sample.group].add(sample.split)
    crossing = sorted(group for group, names in splits.items() if len(names) > 1)
    if crossing:
        say(f"{card.name}: {len(crossing)} groups are in several splits as published: {some(crossing)}.")
