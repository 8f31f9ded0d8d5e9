"""One walk of files, for datasets, patterns of slides and folders of patches: each file once, and no gap unsaid.

Links are followed. A file or folder is what the system says (device and inode), not the name by which it is reached: of
several names the real one stands, before those that lead through links, and else the first by name. A link to a folder
that it lies in ends there, by whatever detour.
"""

import heapq
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_LITTER = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "lost+found"}
    | {"system volume information"}
)
"""What systems leave in folders, in lower case; what begins with a dot is of the same kind."""
_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,5}$")
Identity = tuple[int, int]
"""Device and inode."""


@dataclass(frozen=True)
class Walk:
    """What lies below a folder. All names are paths from there, `/` between.

    Attributes:
        files: Each file once, sorted by name.
        same_files: Further names of these files -> the name that stands, sorted.
        same_folders: Further names of folders whose files are here -> the name that stands; loops are none.
        failed: What could not be looked at -> why: folders that may not be listed or entered, links to nothing.
    """

    files: dict[str, os.stat_result] = field(default_factory=dict)
    same_files: dict[str, str] = field(default_factory=dict)
    same_folders: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def ordinary(path: str) -> bool:
    """Whether the last part of a path is neither hidden nor what a system leaves in folders, such as `Thumbs.db`.

    Examples:
        >>> ordinary("tumour/1.png"), ordinary("tumour/.1.png.part"), ordinary("tumour/Thumbs.db")
        (True, False, False)
    """
    name = path.rpartition("/")[2]
    return not name.startswith(".") and name.lower() not in _LITTER


def walk(root: str | Path, wanted: Callable[[str], bool], enter: Callable[[str], bool] | None = None) -> Walk:
    """Look at all that lies below a folder.

    Args:
        root: The folder.
        wanted: Whether a file counts, by its path from there.
        enter: Whether to look into a folder. Unless given, into all that are `ordinary`; files that are not are left
            out then.
    """
    if enter is None:
        return _Walker(str(root), lambda path: ordinary(path) and wanted(path), ordinary).walk()
    return _Walker(str(root), wanted, enter).walk()


class _Walker:
    """Looks first at what is there by its real name, then at what links lead to."""

    def __init__(self, root: str, wanted: Callable[[str], bool], enter: Callable[[str], bool]) -> None:
        self.root, self.wanted, self.enter = root, wanted, enter
        self.seen = Walk()
        self.folders: dict[Identity, str] = {}
        self.names: dict[Identity, str] = {}
        self.links: list[str] = []

    def walk(self) -> Walk:
        self._tree("", linked=False)
        while self.links:
            self._follow(heapq.heappop(self.links))
        return Walk(*(dict(sorted(part.items())) for part in vars(self.seen).values()))

    def _tree(self, top: str, linked: bool) -> None:
        pending = [top]
        while pending:
            folder = pending.pop()
            try:
                known = self._known(folder)
                if known is not None:
                    self._again(folder, known)
                    continue
                with os.scandir(self._at(folder) or ".") as listed:
                    entries = sorted(listed, key=lambda entry: entry.name)
                pending += [*self._look(folder, entries, linked)][::-1]
            except OSError as error:
                self.seen.failed[folder] = _reason(error)

    def _known(self, folder: str) -> str | None:
        """The name by which a folder was looked at before; None, from now on this one."""
        identity = _identity(os.stat(self._at(folder) or "."))
        known = None if identity is None else self.folders.get(identity)
        if identity is not None and known is None:
            self.folders[identity] = folder
        return known

    def _look(self, folder: str, entries: list[os.DirEntry[str]], linked: bool) -> Iterator[str]:
        """Take the files of a folder, note its links, and give its folders."""
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_symlink():
                heapq.heappush(self.links, path)
            elif entry.is_dir(follow_symlinks=False):
                if self.enter(path):
                    yield path
            elif self.wanted(path):
                try:
                    self._add(path, entry.stat(follow_symlinks=False), linked)
                except PermissionError:  # of the folder, which may be listed but not entered
                    raise
                except OSError as error:
                    self.seen.failed[path] = _reason(error)

    def _follow(self, link: str) -> None:
        try:
            info = os.stat(self._at(link))
        except OSError as error:
            folder = os.path.dirname(link)
            # without an ending it may have been a folder of what is wanted
            if folder not in self.seen.failed and (
                self.wanted(link) or (self.enter(link) and not _ENDING.search(link))
            ):
                self.seen.failed[link] = f"a link that leads nowhere: {_reason(error)}"
            return
        if not stat.S_ISDIR(info.st_mode):
            if self.wanted(link):
                self._add(link, info, linked=True)
        elif self.enter(link) and not self._leads_up(link):
            self._tree(link, linked=True)

    def _add(self, path: str, info: os.stat_result, linked: bool) -> None:
        if not stat.S_ISREG(info.st_mode):
            self.seen.failed[path] = "it is neither a file nor a folder"
            return
        identity = _identity(info)
        # of a file with one name that no link leads to, there is no other: file systems without true inodes repeat them
        known = self.names.get(identity) if identity and (linked or info.st_nlink > 1) else None
        if known is not None and (linked or known < path):
            self.seen.same_files[path] = known
            return
        if known is not None:  # a hard link that is looked at first, but comes later by name
            del self.seen.files[known]
            self.seen.same_files.update(dict.fromkeys([known, *self._names_of(known)], path))
        self.seen.files[path] = info
        if identity is not None:
            self.names[identity] = path

    def _names_of(self, path: str) -> list[str]:
        return [name for name, known in self.seen.same_files.items() if known == path]

    def _again(self, folder: str, known: str) -> None:
        if known and not folder.startswith(f"{known}/"):
            self.seen.same_folders[folder] = known

    def _leads_up(self, link: str) -> bool:
        """Whether a link leads to a folder that it lies in."""
        target = os.path.realpath(self._at(link))
        own = os.path.realpath(os.path.dirname(self._at(link)) or ".")
        return os.path.commonpath([target, own]) == target

    def _at(self, path: str) -> str:
        return os.path.join(self.root, path) if path else self.root


def _identity(info: os.stat_result) -> Identity | None:
    """Device and inode; None where the file system has no inodes."""
    return (info.st_dev, info.st_ino) if info.st_ino else None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
