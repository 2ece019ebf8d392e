"""The layout of a folder of images, which gives each image a subset and a class.

Folder layout: `train/<class>/<image>` and `test/<class>/<image>`, or `<class>/<image>`; each with
or without folders around it. The folders of training and test images may have other usual names.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from pruning_core.common.files import is_visible
from pruning_core.common.formatting import join_words
from pruning_core.engine.data.image_folder import (
    SOME,
    Listing,
    PathParts,
    all_folders,
    is_image,
    layout_error,
    some,
)

SUBSETS = ("train", "test")
# The usual names of the folders of each part, in lower case, without "set", "images" and
# separators. Validation images become the test images where there is no folder of test images.
PARTS = {
    "train": ("train", "training", "trn"),
    "test": ("test", "testing", "tst"),
    "validation": ("val", "valid", "validation", "dev", "eval", "evaluation"),
}
PART_SUFFIX = re.compile(r"[\s_.-]*(set|images?|data|dataset|split)?$")
WORDS = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![^\W\d_A-Z])")
LAYOUT = "Folder layout: train/<class>/<image> and test/<class>/<image>, or <class>/<image>."


@dataclass(frozen=True)
class ImageTree:
    """The images of a listing, sorted by path without the outer folders.

    `paths` maps each image's path inside the data set to its path in the listing; the folders of
    the parts are called train and test there. `classes` are in the order of their labels.
    `given_split` is true where there are folders of training and test images; `split_reason` says
    why not. `notes` tell which files are ignored.
    """

    paths: dict[PathParts, PathParts]
    classes: tuple[str, ...]
    given_split: bool
    split_reason: str
    notes: tuple[str, ...]


def image_tree(listing: Listing) -> ImageTree:
    """The images of a listing with their classes. Raises `SpecError` for a wrong layout."""
    image_paths = [path for path in listing.files if is_image(path)]
    folders = {path for path in all_folders(listing) if is_visible(path)}
    outer = _outer_depth(image_paths, folders)
    images = {path[outer:]: path for path in image_paths if len(path) > outer}
    folders = {path[outer:] for path in folders if len(path) > outer}
    parts = _parts(listing, images, folders)
    if parts:
        images = {(parts[path[0]], *path[1:]): images[path] for path in images if path[0] in parts}
        folders = {(parts[path[0]], *path[1:]) for path in folders if path[0] in parts}
    images, folders = _without_inner_folders(images, folders, bool(parts))
    given_split = set(SUBSETS) <= set(parts.values())
    if parts and not given_split:  # training images only
        images = {path[1:]: images[path] for path in images}
        folders = {path[1:] for path in folders if len(path) > 1}
    images = {path: images[path] for path in sorted(images)}
    kept = _in_class_folders(listing.location, images, given_split)
    classes = _classes(listing, kept, folders, given_split)
    notes = _notes(listing, image_paths, outer, parts, kept)
    reason = "No test images in class folders" if parts else "No train/ and test/ folders"
    return ImageTree({path: images[path] for path in kept}, classes, given_split, reason, notes)


def _outer_depth(images: list[PathParts], folders: set[PathParts]) -> int:
    """How many folders hold everything: the class folders, or those of the parts, are inside.

    Images beside such a folder do not count, nor do folders without images, such as those of
    annotations.
    """
    depth = 0
    while True:
        inside = [path for path in images if len(path) > depth + 1]
        names = {path[depth] for path in inside}
        # A folder of class folders without images may be a part that was not copied.
        names |= {path[depth] for path in folders if len(path) > depth + 1 and part_of(path[depth])}
        if len(names) != 1 or any(len(path) < depth + 3 for path in inside):
            return depth
        depth += 1


def part_of(name: str) -> str:
    """The part of a data set that a folder holds by its name, such as train for Training_set.

    The name of the part may be one of several words, as in `seg_train`, `train224`.
    """
    words = {PART_SUFFIX.sub("", name.lower()), *(word.lower() for word in WORDS.findall(name))}
    parts = {part for part, names in PARTS.items() if words & set(names)}
    return parts.pop() if len(parts) == 1 else ""


def _parts(
    listing: Listing, images: Mapping[PathParts, PathParts], folders: set[PathParts]
) -> dict[str, str]:
    """The subset by the name of its folder; empty where the folders are classes.

    Only folders with class folders count. Without test images there, the result is that of the
    training images alone. Raises `SpecError` where two hold the same part, and where it is not
    known which folder holds the test images.
    """
    location, inner = listing.location, dict[str, set[PathParts]]()
    for path in images:
        if len(path) > 2:
            inner.setdefault(path[0], set()).add(path[1:-1])
    by_part: dict[str, list[str]] = {}
    for name in sorted(inner):
        by_part.setdefault(part_of(name), []).append(name)
    unknown = by_part.pop("", [])
    for part, names in by_part.items():
        if len(names) > 1:
            exact = [name for name in names if name == part]
            raise layout_error(
                location,
                "The folders {names} are all of {part} images. Keep one of them.",
                names=join_words(exact + [name for name in names if name not in exact]),
                part=part,
            )
    if not {"train", "test"} & by_part.keys():
        return {}
    chosen = {part: names[0] for part, names in by_part.items()}
    # All images in one folder that is no class of the training images: they have no classes.
    for part in set(chosen) - {"train"} if "train" in chosen else ():
        classes = inner[chosen[part]]
        if len(classes) == 1 and not classes & inner[chosen["train"]]:
            del chosen[part]
    if "test" not in chosen and "validation" in chosen:
        chosen["test"] = chosen["validation"]
    if "test" not in chosen:
        empty: set[PathParts] = {
            path for path in folders if len(path) == 2 and path[0] != chosen["train"]
        }
        empty -= {path[:2] for path in images}
        _check_no_test_images(listing, chosen["train"], unknown, empty)
    return {chosen[name]: name for name in SUBSETS if name in chosen}


def _check_no_test_images(
    listing: Listing, train: str, unknown: list[str], empty: set[PathParts]
) -> None:
    """Refuse a folder of class folders that may be meant as that of the test images.

    `unknown` are such folders with images, `empty` are class folders without.
    """
    missing = f"There is a folder {train}, but no folder test with classes."
    if unknown:
        raise layout_error(
            listing.location,
            "{missing} If {other} holds the test images, rename it to test.",
            missing=missing,
            other=unknown[0],
        )
    names = ["/".join(path) for path in empty if part_of(path[0])]
    if names:
        others = _other_endings(listing)
        held = f" Files of other types: {others}." if others else ""
        raise layout_error(
            listing.location,
            "{missing} There are no images in {names}. Add images or remove them.{held}",
            missing=missing,
            names=some(names),
            held=held,
        )


def _without_inner_folders(
    images: dict[PathParts, PathParts], folders: set[PathParts], given_parts: bool
) -> tuple[dict[PathParts, PathParts], set[PathParts]]:
    """Leave out a single folder that holds all class folders of a part: train/images/<class>."""
    for part in SUBSETS if given_parts else ():
        depths = {len(path) for path in images if path[0] == part and len(path) > 2}
        inside = {path[1] for path in images if path[0] == part and len(path) > 2}
        if len(inside) == 1 and depths and min(depths) > 3:
            images = {_shortened(path, part): full for path, full in images.items()}
            folders = {_shortened(path, part) for path in folders if path != (part, *inside)}
    # Inside each class folder: <class>/images.
    depth = 4 if given_parts else 3
    if images and {len(path) for path in images} == {depth} and len({p[-2] for p in images}) == 1:
        images = {(*path[:-2], path[-1]): full for path, full in images.items()}
        folders = {path for path in folders if len(path) < depth - 1}
    return images, folders


def _shortened(path: PathParts, part: str) -> PathParts:
    return (part, *path[2:]) if path[0] == part and len(path) > 2 else path


def _in_class_folders(
    location: str, images: dict[PathParts, PathParts], given_split: bool
) -> list[PathParts]:
    """The images in class folders; images outside are ignored, deeper ones refused."""
    depth = 3 if given_split else 2
    deeper = [path for path in images if len(path) > depth]
    if deeper:
        raise layout_error(
            location,
            "{name} is deeper than a class folder. {layout}",
            name="/".join(images[deeper[0]]),
            layout=LAYOUT,
        )
    return [path for path in images if len(path) == depth]


def _classes(
    listing: Listing,
    images: list[PathParts],
    folders: set[PathParts],
    given_split: bool,
) -> tuple[str, ...]:
    """The class names in their order. Raises `SpecError` where a class has too few images."""
    location, depth = listing.location, 2 if given_split else 1
    class_folders = {path for path in folders if len(path) == depth}
    counts = Counter(path[:depth] for path in images)
    classes = in_order(path[-1] for path in class_folders)
    if classes and not given_split and all(map(part_of, classes)):
        raise layout_error(
            location,
            "The images in {names} are in no class folders. {layout}",
            names=join_words(classes),
            layout=LAYOUT,
        )
    _check_counts(listing, class_folders, counts, given_split)
    if given_split:
        train, test = ({path[1] for path in class_folders if path[0] == name} for name in SUBSETS)
        _check_same_classes(location, train, test)
    if len(classes) == 1:
        raise layout_error(
            location,
            "There is only one class folder, {name}. At least two are needed. {layout}",
            name=classes[0],
            layout=LAYOUT,
        )
    if not classes:
        others = _other_endings(listing)
        held = f" Files of other types: {others}." if others else ""
        raise layout_error(
            location,
            "There is no class folder. At least two are needed. {layout}{held}",
            layout=LAYOUT,
            held=held,
        )
    return classes


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in the order of their labels: of numbers the numeric one, else alphabetical.

    A network counts its outputs from 0, so that folders 0 to 11 are its outputs 0 to 11.
    """
    alphabetical = sorted(set(names))
    if all(re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", name) for name in alphabetical):
        return tuple(sorted(alphabetical, key=Decimal))
    return tuple(alphabetical)


def _check_counts(
    listing: Listing,
    class_folders: set[PathParts],
    counts: Counter[PathParts],
    given_split: bool,
) -> None:
    location = listing.location
    empty = [f"{'/'.join(folder)}/" for folder in class_folders if not counts[folder]]
    if empty:
        others = _other_endings(listing)
        held = (
            f" Files of other types: {others}. Save them as JPEG or PNG, with its ending."
            if others
            else ""
        )
        raise layout_error(
            location,
            "There are no images in {names}. Add images or remove it.{held}",
            names=some(empty),
            held=held,
        )
    single = [f"{'/'.join(folder)}/" for folder in class_folders if counts[folder] < 2]
    if single and not given_split:
        raise layout_error(
            location,
            "There is a single image in {names}. A class needs two or more, so that one can be a "
            "test image.",
            names=some(single),
        )


def _check_same_classes(location: str, train: set[str], test: set[str]) -> None:
    for name, classes, other in (("train", train, "test"), ("test", test, "train")):
        if not classes:
            raise layout_error(
                location, f"There is a folder {other}, but no folder {name} with classes."
            )
    differences = [f"test lacks {some(train - test)}"] if train - test else []
    differences += [f"train lacks {some(test - train)}"] if test - train else []
    if differences:
        raise layout_error(
            location,
            "The classes of train and test differ: {differences}.",
            differences="; ".join(differences),
        )


def _first_hidden(path: PathParts) -> PathParts:
    """The path as far as the first hidden folder, or the hidden file; empty for a visible one."""
    hidden = (depth for depth in range(1, len(path) + 1) if not is_visible(path[:depth]))
    return path[: next(hidden, 0)]


def _other_endings(listing: Listing) -> str:
    """How many visible files of which endings are no images, the most frequent first."""
    files = [path for path in listing.files if is_visible(path) and not is_image(path)]
    endings = Counter(os.path.splitext(path[-1])[1].lower().strip(".") for path in files)
    ordered = sorted(endings.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in ordered[SOME:])
    shown = ", ".join(
        f"{count:,} .{ending}" if ending else f"{count:,} no ending"
        for ending, count in ordered[:SOME]
    )
    return shown + (f" and {rest:,} more" if rest else "")


def _without_images(listing: Listing, images: list[PathParts], outer: int) -> set[str]:
    """Visible folders beside the outer folders, or beside those of the parts, without images."""
    kept = {path[:depth] for path in images for depth in range(1, outer + 2)}
    return {
        "/".join(path)
        for path in all_folders(listing)
        if len(path) <= outer + 1
        and is_visible(path)
        and path not in kept
        and (len(path) == 1 or path[:-1] in kept)
    }


def _notes(
    listing: Listing,
    images: list[PathParts],
    outer: int,
    parts: dict[str, str],
    kept: list[PathParts],
) -> tuple[str, ...]:
    """What of the folder is not used, and which folders hold the parts."""
    notes = [*listing.notes]
    if hidden := len({_first_hidden(path) for path in (*listing.files, *listing.folders)} - {()}):
        notes.append(f"Hidden files and folders, and those of the system, ignored: {hidden:,}.")
    if others := _other_endings(listing):
        notes.append(f"Files of other types, ignored: {others}.")
    if idle := _without_images(listing, images, outer):
        notes.append(f"Folders without images, ignored: {some(idle)}.")
    unused = Counter(
        path[outer]
        for path in images
        if parts and len(path) > outer + 1 and path[outer] not in parts
    )
    with_classes = {path[outer] for path in images if len(path) > outer + 2}
    for name, count in sorted(unused.items()):
        reason = ""
        if name not in with_classes:
            reason = "; they are in no class folders"
        elif part_of(name) == "validation":
            reason = "; validation images are a share of the training images"
        notes.append(f"Images in the folder {name}, not used: {count:,}{reason}.")
    if outside := len(images) - sum(unused.values()) - len(kept):
        notes.append(f"Images ignored because they are outside the class folders: {outside:,}.")
    renamed = [f"{name} ({part})" for name, part in parts.items() if name != part]
    if renamed:
        notes.append(f"Folders of training and test images: {', '.join(renamed)}.")
    return tuple(notes)
