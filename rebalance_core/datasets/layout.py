"""The classes and splits of a source, from the paths of its files or from a CSV among them."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from rebalance_core.datasets.folders import LAYOUT, hidden_reason, is_hidden
from rebalance_core.datasets.left_out import (
    BESIDE_SPLITS,
    DOCUMENT_SUFFIXES,
    EXPLAINED,
    HIDDEN,
    MASK,
    REPEATED,
    SYSTEM,
    TABLE,
    LeftOutFile,
    describe,
    leave_out,
    remedy,
    unused_reason,
)
from rebalance_core.datasets.masks import find_masks
from rebalance_core.datasets.source import (
    TABLE_SUFFIXES,
    Entry,
    ImportConfig,
    Listing,
    Source,
    SourceFile,
    split_of,
)
from rebalance_core.datasets.tables import apply_table, named_images
from rebalance_core.errors import UserError
from rebalance_core.imaging.decode import has_image_suffix, is_image_content

Parts = tuple[str, ...]
# Folders of images that were split because of their number, such as `images_001`.
_PART_FOLDER = re.compile(
    r"(.*[ _.-])?(part|parts|images?|imgs?|batch|chunk|volume|vol|disc|disk|archive|folder)"
    r"[ _.-]*\d+",
    re.IGNORECASE,
)
LABELLED_SHARE = 0.9  # of the images, from which a CSV is used rather than numbered folders
_NUMBER = re.compile(r"\d+")


def arrange(listing: Listing, source: str, config: ImportConfig) -> Source:
    """The images of a listing with class and split, and all files that are left out.

    Raises UserError where the layout is not understood or may mean two things.
    """
    return _Arrangement(listing, source, config).result()


@dataclass
class _Images:
    """The images that are still to be taken, by their names in the source."""

    entries: dict[str, Entry]
    paths: dict[str, Parts]  # without wrapper folders

    def drop(self, names: Iterable[str]) -> list[str]:
        dropped = [name for name in names if self.paths.pop(name, None) is not None]
        for name in dropped:
            del self.entries[name]
        return dropped

    def tops(self) -> set[str]:
        """The first folders of the images that are in folders."""
        return {parts[0] for parts in self.paths.values() if len(parts) > 1}


class _Arrangement:
    """The steps from a listing to the images of classes; each leaves out what it must."""

    def __init__(self, listing: Listing, source: str, config: ImportConfig) -> None:
        self.listing, self.source, self.config = listing, source, config
        self.left_out = list(listing.left_out)
        self.notes: list[str] = []
        self.tables: list[str] = []
        entries = {name: listing.files[name] for name in sorted(listing.files)}
        taken = {name: entry for name, entry in entries.items() if self._is_image(name, entry)}
        self.images = _Images(taken, {name: PurePosixPath(name).parts for name in taken})
        self.wrapper: Parts = ()
        self.has_splits = self.is_exchanged = False
        self.nested: set[Parts] = set()  # such as (train, train) around the classes of a split

    def result(self) -> Source:
        if not self.images.paths:
            raise UserError(self._no_images())
        self._leave_out(self.images.drop(find_masks(self.images.paths)), MASK)
        self._unwrap()
        self._leave_out_repetitions(())
        self._unwrap()
        if self.config.columns or not self._has_class_folders() or self._is_numbered_table():
            source = self._from_table()
            if source is not None:
                return source
        self._exchange_splits()
        self.has_splits = self._has_splits()
        if self.has_splits:
            self._leave_out_beside_splits()
            self._unwrap_splits()
            for split in sorted(self.images.tops()):
                self._leave_out_repetitions((split,))
        return self._from_folders()

    def _is_image(self, name: str, entry: Entry) -> bool:
        """Whether a file is to be taken; sorts tables out, and leaves out other files."""
        suffix = PurePosixPath(name).suffix.lower()
        if reason := hidden_reason(name):
            self.left_out.append(leave_out(name, reason))
        elif has_image_suffix(name):
            return True
        elif suffix in TABLE_SUFFIXES:
            self.tables.append(name)
        else:
            head = entry.head()
            if is_image_content(name, head):
                return True
            self.left_out.append(leave_out(name, unused_reason(name, head)))
        return False

    def _leave_out(self, names: Iterable[str], reason: str) -> None:
        self.left_out += [leave_out(name, reason) for name in names]

    def _no_images(self) -> str:
        self._leave_out(self.tables, TABLE)
        default = "put them into one folder per class"
        found = f" ({describe(self.left_out)})" if self.left_out else ""
        return f"{self.source} contains no images{found}; {remedy(self.left_out, default)}."

    # Wrapper folders

    def _unwrap(self) -> None:
        """Remove folders around everything, unless they are splits."""
        paths = self.images.paths
        while paths:
            first = {parts[0] for parts in paths.values()}
            if len(first) > 1 or min(map(len, paths.values())) < 3 or split_of(*first):
                return
            self.wrapper = (*self.wrapper, *first)
            self.images.paths = paths = {name: parts[1:] for name, parts in paths.items()}

    def _unwrap_splits(self) -> None:
        """Remove a folder around the classes of a split that has the split's name again."""
        by_split: dict[str, set[str]] = defaultdict(set)
        for parts in self.images.paths.values():
            by_split[parts[0]].add(parts[1] if len(parts) > 3 else "")
        for name, parts in self.images.paths.items():
            inner = by_split[parts[0]]
            if len(inner) == 1 and split_of(*inner) == split_of(parts[0]) != "":
                self.nested.add(parts[:2])
                self.images.paths[name] = (parts[0], *parts[2:])

    # Repetitions

    def _leave_out_repetitions(self, prefix: Parts) -> None:
        """Leave out folders directly below `prefix` that repeat the folders beside them."""
        depth = len(prefix)
        while True:
            inside = {
                name: parts[depth:]
                for name, parts in self.images.paths.items()
                if parts[:depth] == prefix and len(parts) > depth
            }
            folder, shared = _repeating_folder(inside.values())
            if not folder:
                return
            tails = {n: _tail(p, folder) for n, p in inside.items() if p[0] == folder}
            self._check_same((*prefix, folder), shared, inside, tails)
            self._leave_out(self.images.drop(tails), REPEATED)

    def _check_same(
        self, folder: Parts, shared: set[str], inside: dict[str, Parts], tails: dict[str, Parts]
    ) -> None:
        """Raise UserError unless every image in `folder` exists outside with the same size."""
        sizes = {
            parts: self.images.entries[name].size
            for name, parts in inside.items()
            if parts[0] != folder[-1]
        }
        for name, tail in tails.items():
            if sizes.get(tail) != self.images.entries[name].size:
                raise UserError(self._ambiguous(folder, shared, name))

    def _ambiguous(self, folder: Parts, names: set[str], image: str) -> str:
        inner = "/".join((*self.wrapper, *folder))
        both = " and ".join(sorted(names)[:3])
        return (
            f"{self.source}: folder {inner!r} contains folders of the same names as those beside "
            f"it ({both}), but other images (such as {image!r}); import that folder alone, or move "
            "it elsewhere."
        )

    # Splits

    def _has_splits(self) -> bool:
        """Whether the first folders are splits: all, or one with folders inside.

        `valid` next to `invalid` is a class; `train/x.png` next to `train/cat/y.png` has no class.
        """
        paths = self.images.paths.values()
        in_split = [len(p) > 1 and bool(split_of(p[0])) for p in paths]
        return all(in_split) or any(s and len(p) > 2 for s, p in zip(in_split, paths, strict=True))

    def _exchange_splits(self) -> None:
        """Read <class>/<split>/… as <split>/<class>/…; refuse several <folder>/<split>/<class>/…"""
        paths = self.images.paths
        if not all(len(parts) > 2 and split_of(parts[1]) for parts in paths.values()):
            return
        if self._has_splits():
            return
        if any(len(parts) > 3 for parts in paths.values()):
            tops = _enumerate(self.images.tops())
            raise UserError(
                f"{self.source}: folders {tops} all contain split folders; import one of them."
            )
        self.is_exchanged = True

    def _leave_out_beside_splits(self) -> None:
        beside = [
            name
            for name, parts in self.images.paths.items()
            if len(parts) > 1 and not split_of(parts[0])
        ]
        self._leave_out(self.images.drop(beside), BESIDE_SPLITS)

    # Tables

    def _has_class_folders(self) -> bool:
        """Whether the images are in several folders that are neither numbered parts nor splits."""
        paths = self.images.paths.values()
        if self._has_splits():
            classes = {parts[1] for parts in paths if len(parts) > 2 and split_of(parts[0])}
            return len(classes) > 1
        return len(self.images.tops()) > 1 and not self._has_parts()

    def _has_parts(self) -> bool:
        """Whether all first folders are numbered parts of one set of images."""
        return self._has_one_base() and all(map(_PART_FOLDER.fullmatch, self.images.tops()))

    def _has_one_base(self) -> bool:
        """Whether the names of all first folders are the same but for their numbers."""
        tops = self.images.tops()
        bases = {_NUMBER.sub("", top.lower()) for top in tops}
        return len(bases) == 1 and all(map(_NUMBER.search, tops))

    def _is_numbered_table(self) -> bool:
        """Whether numbered folders, which may be parts or classes, have a CSV that labels them."""
        if not self.tables or not self._has_one_base():
            return False
        counts = (
            named_images(self.listing.files[name], self.images.paths, self.config, labelled=True)
            for name in self.tables
        )
        return max(counts) >= LABELLED_SHARE * len(self.images.paths)

    def _from_table(self) -> Source | None:
        """The images as a CSV of the source labels them; None if there is no CSV."""
        if self.tables:
            tables = {name: self.listing.files[name] for name in self.tables}
            table, files, unused = apply_table(
                tables, self.images.entries, self.images.paths, self.source, self.config
            )
            self._leave_out((name for name in self.tables if name != table), TABLE)
            self.left_out += unused
            return Source(files, self.left_out, self.notes)
        if self._has_parts():
            tops = sorted(self.images.tops())
            raise UserError(
                f"{self.source}: folder {tops[0]!r} looks like a numbered part rather than a "
                "class; add the CSV that labels its images, or use one folder per class."
            )
        return None

    # Class folders

    def _parse(self, parts: Parts) -> tuple[str, Parts]:
        """The split of a path, and its parts from the class on."""
        if self.is_exchanged and len(parts) > 1:
            return split_of(parts[1]), (parts[0], *parts[2:])
        split = split_of(parts[0]) if self.has_splits and parts else ""
        return split, parts[1:] if split else parts

    def _class_parts(self, name: str) -> Parts:
        """The parts of a path in the source from its class on."""
        parts, depth = PurePosixPath(name).parts, len(self.wrapper)
        inner = parts[depth:] if parts[:depth] == self.wrapper else ()
        if inner[:2] in self.nested:
            inner = inner[:1] + inner[2:]
        return self._parse(inner)[1] if inner else ()

    def _from_folders(self) -> Source:
        files = []
        for name, parts in self.images.paths.items():
            split, rest = self._parse(parts)
            if len(rest) < 2:
                inner = "/".join(PurePosixPath(name).parts[len(self.wrapper) :])
                raise UserError(
                    f"{self.source}: image {inner!r} is not in a class folder; the layout is "
                    f"{LAYOUT}."
                )
            entry = self.images.entries[name]
            image = "/".join(parts)
            files.append(
                SourceFile(
                    image, rest[0], split or "train", entry.read, entry.size, head=entry.head
                )
            )
        classes = {file.label for file in files}
        self._note_tables()
        self._label_left_out(classes)
        self._check_empty_folders(classes)
        self._note_shared_folders()
        return Source(files, self.left_out, self.notes)

    def _label_left_out(self, classes: Collection[str]) -> None:
        """Give each file that is left out its class, if it is in a class folder."""

        def label(file: LeftOutFile) -> str:
            rest = self._class_parts(file.file)
            return rest[0] if len(rest) > 1 and rest[0] in classes else ""

        self.left_out = [f.model_copy(update={"label": label(f)}) for f in self.left_out]

    def _check_empty_folders(self, classes: Collection[str]) -> None:
        """Raise UserError for a class folder without images that nothing explains."""
        below: dict[str, list[LeftOutFile]] = defaultdict(list)
        for file in self.left_out:
            parts = PurePosixPath(file.file).parts
            for depth in range(1, len(parts)):
                below["/".join(parts[:depth])].append(file)
        for folder in sorted({*self.listing.folders, *below}):
            rest = self._class_parts(folder)
            if len(rest) != 1 or rest[0] in classes or is_hidden(folder):
                continue
            inside = below[folder]
            visible = [file for file in inside if file.reason not in (HIDDEN, SYSTEM)]
            if visible and all(map(_is_explained, visible)):
                continue
            found = f" ({describe(inside)})" if inside else ""
            mend = remedy(inside, "fill it or remove it")
            raise UserError(
                f"{self.source}: class folder {folder!r} contains no images{found}; {mend}."
            )

    def _note_tables(self) -> None:
        for name in self.tables:
            count = named_images(self.listing.files[name], self.images.paths, self.config)
            if count:
                self.notes.append(
                    f"{name} names {count} of the {len(self.images.paths)} images; the class "
                    "folders were used instead."
                )
        self._leave_out(self.tables, TABLE)

    def _note_shared_folders(self) -> None:
        """Note where each class has the same folders inside, which may be the real classes."""
        inner: dict[str, set[str]] = defaultdict(set)
        for parts in self.images.paths.values():
            rest = self._parse(parts)[1]
            inner[rest[0]].add(rest[1] if len(rest) > 2 else "")
        shared = set.intersection(*inner.values()) if len(inner) > 1 else set()
        if len(shared) > 1 and all(folders == shared for folders in inner.values()):
            self.notes.append(
                f"The classes {_enumerate(inner)} all contain the folders {_enumerate(shared)}; "
                "if these are the classes, import one of the outer folders."
            )


def _repeating_folder(paths: Iterable[Parts]) -> tuple[str, set[str]]:
    """A first folder that contains folders of the names of others, and these; ('', …) if none."""
    inner: dict[str, set[str]] = defaultdict(set)
    for parts in paths:
        if len(parts) > 1:
            tail = _tail(parts, parts[0])
            inner[parts[0]].add(tail[0] if len(tail) > 1 else "")
    for folder in sorted(inner):
        shared = inner[folder] & (set(inner) - {folder})
        if shared:
            return folder, shared
    return "", set()


def _is_explained(file: LeftOutFile) -> bool:
    """Whether a folder of such files may be there without being a class."""
    return (
        file.reason in EXPLAINED
        or file.reason == TABLE
        or PurePosixPath(file.file).suffix.lower() in DOCUMENT_SUFFIXES
    )


def _tail(parts: Parts, folder: str) -> Parts:
    """The path below `folder`, which may be repeated."""
    while len(parts) > 1 and parts[0] == folder:
        parts = parts[1:]
    return parts


def _enumerate(names: Collection[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - 3} more" if len(ordered) > 4 else ""
    shown = ordered[:3] if more else ordered
    return ", ".join(shown) + more if more else " and ".join([", ".join(shown[:-1]), shown[-1]])


def label_notes(files: Collection[SourceFile]) -> list[str]:
    """Notes on class names that may be several labels at once, or measurements."""
    counts = Counter(file.label for file in files)
    notes = []
    several = [label for label in sorted(counts) if _is_several(label, counts)]
    if several:
        notes.append(
            f"{len(several)} class name{'s look' if len(several) > 1 else ' looks'} like several "
            f"labels ({several[0]!r}); each combination is a class of its own."
        )
    if counts and all(map(_is_number, counts)):
        shown = _enumerate(list(counts))
        notes.append(
            f"The class names are numbers ({shown}); check that they are not measurements."
        )
    return notes


def _is_several(label: str, classes: Collection[str]) -> bool:
    """Whether a class name joins labels: `A|B`, `A;B`, or `A,B` where A and B are classes too."""
    if any(len([p for p in label.split(sign) if p.strip()]) > 1 for sign in "|;"):
        return True
    parts = [part.strip() for part in re.split(r"[,+&]", label)]
    return len(parts) > 1 and all(part in classes for part in parts)


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return label[:1] in "+-.0123456789"
