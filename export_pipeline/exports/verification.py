"""Verifying: an export, or a folder of exports, against its manifest by the second reader.

Owns what makes an export whole: every file there and none besides, bytes, hashes, rows, order and
days as the manifest says. Each problem is a sentence that says what is wrong and where.
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from threading import Lock

from export_pipeline.days import days_between
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.archives import archive_problems, is_archive
from export_pipeline.exports.layout import MANIFEST, descriptions, part_name
from export_pipeline.exports.manifest import INCREMENTAL, FileEntry, InvalidManifest, Manifest, from_json
from export_pipeline.exports.readback import digest, read_part, unlike
from export_pipeline.exports.rows import Content
from export_pipeline.files import to_json
from export_pipeline.objects import AnyPath, files_below, is_remote, relative
from export_pipeline.outages import answering


@dataclass(frozen=True)
class VerifyReport:
    """What was found: the problems, one sentence each, and how many exports were looked at."""

    problems: tuple[str, ...]
    exports: int

    @property
    def ok(self) -> bool:
        """Whether there was an export and nothing is wrong with it."""
        return not self.problems


def verify(path: AnyPath, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
    """Check the export at ``path``, or every export below it, reading every byte; memory is bounded.

    Args:
        progress: told the bytes that were read, and those of all files there are.
    """
    read = None if progress is None else counting(progress, sum(map(_size, _files(path))))
    folders = [path] if (path / MANIFEST).is_file() else sorted(m.parent for m in path.rglob(MANIFEST))
    archives = [] if folders == [path] else sorted(file for file in path.rglob("*.zip") if is_archive(file))
    problems: list[str] = []
    if not folders and not archives:
        problems.append(f"{path} holds no export; there is no {MANIFEST} in it or below it")
    for folder in folders:
        label = "" if folder == path else f"{relative(folder, path)}/"
        problems += [f"{label}{problem}" for problem in export_problems(folder, read)]
    for archive in archives:
        problems += [f"{relative(archive, path)}: {problem}" for problem in archive_problems(archive, read)]
    if folders != [path]:
        for file in _files(path):
            if file not in archives and not any(folder in file.parents for folder in folders):
                problems.append(f"{relative(file, path)} belongs to no export; no {MANIFEST} is beside it")
    return VerifyReport(tuple(problems), len(folders) + len(archives))


def counting(progress: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    """What to call with how much more was done, also from several threads; ``progress`` is told how much of
    ``total`` that makes."""
    done, lock = 0, Lock()

    def count(more: int) -> None:
        nonlocal done
        with lock:
            done += more
            progress(done, total)

    return count


def _size(path: AnyPath) -> int:
    return path.stat().st_size if path.is_file() else 0


def export_problems(folder: AnyPath, read: Callable[[int], None] | None = None) -> list[str]:
    """What is wrong with the export in ``folder``; sentences that begin with a name relative to it.

    Args:
        read: told how many more bytes of part files were read.

    Raises:
        TransientError: if the object store does not answer.
    """
    manifest_file = folder / MANIFEST
    if not is_remote(folder) and manifest_file.exists() and not manifest_file.is_file():
        return [f"{MANIFEST} is no file"]
    try:
        with answering():
            written = manifest_file.read_bytes()
        document = json.loads(written)
        manifest = from_json(document)
    except (ValueError, OSError, RecursionError) as error:
        return [f"{MANIFEST} cannot be read as JSON: {error}"]
    except InvalidManifest as error:
        return [f"{MANIFEST} is not as it must be: {error}"]
    problems = [f"{MANIFEST} {text}" for text in _manifest_problems(manifest)]
    rewritten = {key: value for key, value in manifest.to_json().items() if key in document}
    if not problems and written != to_json(rewritten):
        problems.append(f"{MANIFEST} is not written as this program writes it; it was edited")
    problems += _description_problems(folder, manifest)
    expected = {file.name for file in manifest.files} | {MANIFEST}
    expected |= {name for data_type in manifest.data_types for name in descriptions(data_type)}
    for file in _files(folder):
        if (name := relative(file, folder)) not in expected:
            problems.append(f"{name} is in the export but not in its manifest")
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        found = list(executor.map(lambda file: _read(folder, file, manifest, read), manifest.files))
    for entry, (_, wrong) in zip(manifest.files, found, strict=True):
        problems += [f"{entry.name} {text}" for text in wrong]
    if any(wrong for _, wrong in found):
        return problems
    return problems + _content_problems(manifest, [content for content, _ in found])


def differences(entry: FileEntry, path: AnyPath, found: Content) -> list[str]:
    """How a part file, of which ``found`` was read, differs from its entry; ends of sentences."""
    return unlike(entry, path.stat().st_size, digest(path), found)


def _read(
    folder: AnyPath, file: FileEntry, manifest: Manifest, read: Callable[[int], None] | None
) -> tuple[Content, list[str]]:
    path = folder / file.name
    if not is_remote(path) and path.exists() and not path.is_file():
        return Content(), ["is no file"]  # a pipe or a device would be read for ever
    try:
        with answering():
            content = read_part(path, file.data_type, manifest.format, manifest.compression, read)
            return content, differences(file, path, content)
    except FileNotFoundError:
        return Content(), ["is missing; the manifest lists it"]
    except OSError as error:
        return Content(), [f"cannot be read: {error.strerror}"]


def _manifest_problems(manifest: Manifest) -> Iterator[str]:
    types = manifest.data_types
    if not types or len(set(types)) < len(types):
        yield f"lists the data types {', '.join(types)}; each must be there once"
    if manifest.end < manifest.start:
        yield f"has the date range {manifest.start} to {manifest.end}; it must not end before it starts"
    wanted = [(name, day) for name in types for day in days_between(manifest.start, manifest.end)]
    listed = [(day.data_type, day.date) for day in manifest.days]
    if manifest.mode == INCREMENTAL:
        if listed != [day for day in wanted if day in set(listed)]:
            yield "does not list data types and days inside its range, each once, in order"
    elif listed != wanted:
        yield "does not list each data type and day of its range once, in order"
    if sum(day.rows for day in manifest.days) != manifest.row_count:
        yield f"has {sum(day.rows for day in manifest.days)} rows by day and {manifest.row_count} by file"
    names = [
        part_name(data_type, number, manifest.format, manifest.compression)
        for data_type, files in groupby(manifest.files, lambda file: file.data_type)
        for number, _ in enumerate(files)
    ]
    if [file.name for file in manifest.files] != names:
        yield f"lists the files {', '.join(f.name for f in manifest.files)}; they must be {', '.join(names)}"
    if [data_type for data_type, _ in groupby(manifest.files, lambda file: file.data_type)] != list(types):
        yield "does not list at least one file of each data type, in the order of the data types"
    known = {event for name in types for event in DATA_TYPES[name].event}
    if unknown := [event for event in manifest.event_types if event not in known]:
        yield f"filters by {', '.join(unknown)}, no event of {', '.join(types)}"
    if manifest.replaces and manifest.replaces.version >= manifest.version:
        yield f"has version {manifest.version} and replaces {manifest.replaces.version}, not an earlier one"


def _description_problems(folder: AnyPath, manifest: Manifest) -> Iterator[str]:
    for data_type in manifest.data_types:
        for name, right in descriptions(data_type).items():
            try:
                with answering():
                    written = (folder / name).read_bytes()
            except FileNotFoundError:
                yield f"{name} is missing"
                continue
            if written != right:
                yield f"{name} is not what the catalogue says of {data_type}"


def _content_problems(manifest: Manifest, found: list[Content]) -> list[str]:
    """What only shows when the files of a data type are looked at together."""
    problems: list[str] = []
    for data_type in manifest.data_types:
        together = Content()
        for file, content in zip(manifest.files, found, strict=True):
            if file.data_type == data_type:
                together.extend(content)
                if together.problems:
                    problems.append(f"{file.name} does not begin after the end of the file before it")
                    together.problems.clear()
        said = {day.date: day.rows for day in manifest.days if day.data_type == data_type and day.rows}
        for day in sorted(said.keys() | together.days.keys()):
            if said.get(day, 0) != together.days.get(day, 0):
                problems.append(
                    f"{data_type} has {together.days.get(day, 0)} rows of {day}; "
                    f"the manifest says {said.get(day, 0)}"
                )
    return problems


def _files(folder: AnyPath) -> list[AnyPath]:
    if is_remote(folder):
        return sorted(path for path, _, _ in files_below(folder))
    return sorted(path for path in folder.rglob("*") if not path.is_dir())
