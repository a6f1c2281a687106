"""Finds the files that the sources of a pool mean, and gives each a label of its own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from instructmine.errors import PoolError
from instructmine.formats import _containers
from instructmine.formats._containers import _remote, hub
from instructmine.formats._files import reason

Source = str | os.PathLike[str]
Place = _containers.File | hub.HubDataset

# What selection, trainers and `datasets` put beside data files; none of it is a pool.
_SIDECARS = (".decisions.parquet", ".manifest.json", ".rejected.jsonl")
_METADATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")


def labelled(sources: Sequence[Source], ignored: list[str]) -> Iterator[tuple[str, Place, bool]]:
    """Yield (label, place, whether it was found in a folder) for every file, labels unique.

    A label is the path as it was given, or relative to the folder that was given unless two
    files would share it. What a folder holds besides pool files is noted in `ignored`.

    Raises PoolError for a source that means nothing or one that is given twice.
    """
    found: list[tuple[str, str, Place, bool]] = []
    for source in sources:
        if _remote.is_url(source):
            found += _behind(str(source), ignored)
            continue
        place = _place(source)
        if isinstance(place, Path) and place.is_dir():
            for path in _walk(place, ignored):
                found.append((path.relative_to(place).as_posix(), str(path), path, True))
        else:
            found.append((str(source), str(source), place, False))
    seen: dict[Place, str] = {}
    short = Counter(label for label, _, _, _ in found)
    for label, full, place, in_folder in found:
        real: Place = place.resolve() if isinstance(place, Path) else place
        if real in seen:
            raise PoolError(f"{full} is given twice (also as {seen[real]}); name it once")
        seen[real] = full
        label = full if short[label] > 1 else label
        # A file name may hold bytes that are no UTF-8; a label is written into files.
        yield label.encode("utf-8", "backslashreplace").decode(), place, in_folder


def _place(source: Source) -> Place:
    """Return what a source means. Raises PoolError when it means nothing."""
    name = os.fspath(source)
    path = Path(name)
    try:
        if path.exists() and not name.startswith("hf://"):
            if not (path.is_file() or path.is_dir()):
                raise PoolError(
                    f"{path} is no regular file, and a pool is read more than once; "
                    "write it to a file first"
                )
            return path
    except OSError as error:
        raise PoolError(f"cannot read {path}: {reason(error)}") from error
    dataset = hub.parse(name) if isinstance(source, str) else None
    if dataset is None or (_containers.known(path) and not name.startswith("hf://")):
        raise PoolError(f"there is no file or folder {path}")
    return dataset


def _walk(folder: Path, ignored: list[str]) -> list[Path]:
    """Return the pool files of a folder and its subfolders, sorted by path."""
    paths: list[Path] = []
    try:
        for parent, folders, names in os.walk(folder, onerror=_raise):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            paths += [Path(parent, name) for name in names if not name.startswith(".")]
    except OSError as error:
        raise PoolError(f"cannot read {error.filename or folder}: {reason(error)}") from error
    kept: list[Path] = []
    for path in sorted(paths):
        if _belongs(path, path.relative_to(folder).as_posix(), ignored):
            kept.append(path)
    if not kept:
        raise _no_pool_files(folder)
    return kept


def _behind(url: str, ignored: list[str]) -> list[tuple[str, str, Place, bool]]:
    """Return (label, full name, file, whether found in a folder) for what a URL means."""
    files, several = _remote.find(url)
    if not several:
        return [(label, url, file, False) for label, file in files]
    kept: list[tuple[str, str, Place, bool]] = [
        (label, str(file), file, True)
        for label, file in files
        if not any(part.startswith(".") for part in label.split("/"))
        and _belongs(file, label, ignored)
    ]
    if not kept:
        raise _no_pool_files(url)
    return kept


def _belongs(file: _containers.File, label: str, ignored: list[str]) -> bool:
    """Tell whether a file of a folder is one of a pool; if not, note why in `ignored`."""
    if not _containers.known(file):
        ignored.append(f"{label}: its ending is not that of a pool file")
    elif file.name.endswith(_SIDECARS) or file.name in _METADATA:
        ignored.append(f"{label}: it describes data and is none")
    else:
        return True
    return False


def _no_pool_files(folder: Path | str) -> PoolError:
    return PoolError(
        f"the folder {folder} holds no pool files; known endings: "
        f"{', '.join(_containers.READERS)}, each also with .gz or .zst"
    )


def _raise(error: OSError) -> None:
    raise error
