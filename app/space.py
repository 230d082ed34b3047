"""`python -m app.space OUT`: puts the files of a Hugging Face Space together in the new folder OUT, and checks them.

A Space gets what git tracks of the program itself, and what its README shows: no tests, benchmarks or documents.
docs/space.md says how it is put up.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from actor_core.errors import ActorError
from app.words import written_size

__all__ = ["SpaceError", "assemble", "faults_of"]

ROOT = Path(__file__).parents[1]
PARTS = ("actor_core", "app", "presets", "start")
FILES = ("launch.py", "README.md", "LICENSE", "requirements.txt")
PICTURE = re.compile(r"!\[[^\]]*\]\((?!https?:)([^)\s]+)\)")
LINK, SUBMODULE = "120000", "160000"  # modes of git
# The hub takes larger files, but only as LFS; none of these is one, unless something slipped in.
MOST_BYTES_A_FILE = 10_000_000
MOST_BYTES = 50_000_000
# What signing in may ask of a visitor: to make repositories, and to write to those that were made from here.
SCOPES = ["contribute-repos"]
MOST_LETTERS = 60  # of the short description: the hub refuses a longer one
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")


class SpaceError(ActorError):
    """What keeps these files from being a Space, each fault on a line with what to do about it."""


def assemble(out: Path, root: Path = ROOT) -> list[str]:
    """Copies what a Space needs of the checkout ``root`` into ``out``, and gives the names, relative to it.

    Raises `SpaceError` where ``out`` is in use, ``root`` is no checkout, or a check fails; then ``out`` stays empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SpaceError(f"{out} is in use: name a folder that is new or empty.")
    names, faults = _named(root)
    faults += faults_of(root, names)
    if faults:
        raise SpaceError("\n".join(faults))
    for name in names:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, out / name)
    return names


def faults_of(root: Path, names: Sequence[str]) -> list[str]:
    """What is wrong with the files ``names`` of ``root`` as those of a Space, in words; empty where nothing is."""
    faults = [f"{name} is missing: a Space needs it." for name in FILES if name not in names]
    faults += [
        f"{part}/ has no file: a Space needs it." for part in PARTS if not any(n.startswith(f"{part}/") for n in names)
    ]
    sizes = {name: (root / name).stat().st_size for name in names}
    faults += [
        f"{name} has {written_size(size)}, and {written_size(MOST_BYTES_A_FILE)} is the limit: what is that large is "
        "no part of the program."
        for name, size in sizes.items()
        if size > MOST_BYTES_A_FILE
    ]
    if sum(sizes.values()) > MOST_BYTES:
        faults.append(
            f"All files together have {written_size(sum(sizes.values()))}, and {written_size(MOST_BYTES)} is the limit."
        )
    if not faults:
        faults += _front_matter_faults(root, names)
    return faults


def _named(root: Path) -> tuple[list[str], list[str]]:
    """The files of ``root`` that belong into a Space, in order, and what is wrong with how git has them."""
    tracked = {name: mode for mode, name in _tracked(root)}
    readme = root / "README.md"
    pictures = PICTURE.findall(readme.read_text(encoding="utf-8")) if readme.is_file() else []
    names, faults = [], []
    for name, mode in tracked.items():
        if not _belongs(name, pictures):
            continue
        if mode in (LINK, SUBMODULE):
            kind = "a link" if mode == LINK else "a repository of its own"
            faults.append(f"{name} is {kind}, which a Space does not follow: put the file itself in its place.")
        elif not (root / name).is_file():
            faults.append(f"{name} is tracked by git and not there: bring it back, or remove it from git.")
        else:
            names.append(name)
    faults += [f"README.md shows {name}, which git does not track: add it." for name in pictures if name not in tracked]
    faults += [
        f"{name} is tracked by git and ignored by it: remove it from git, or mend .gitignore."
        for name in _git(root, "ls-files", "--cached", "--ignored", "--exclude-standard")
        if _belongs(name, pictures)
    ]
    faults += [
        f"{name} is not tracked by git, so the Space would lack it: add it, or remove it."
        for name in _git(root, "ls-files", "--others", "--exclude-standard")
        if _belongs(name, pictures)
    ]
    return sorted(names), faults


def _belongs(name: str, pictures: Sequence[str]) -> bool:
    return name in FILES or name in pictures or name.split("/")[0] in PARTS


def _tracked(root: Path) -> Iterator[tuple[str, str]]:
    for line in _git(root, "ls-files", "--stage"):
        about, _, name = line.partition("\t")
        yield about.split()[0], name


def _git(root: Path, *arguments: str) -> list[str]:
    """What git lists in ``root``, one name each."""
    try:
        done = subprocess.run(["git", *arguments, "-z"], cwd=root, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as fault:
        raise SpaceError(f"{root} is no checkout that git can read: clone the program, and install git.") from fault
    return [name for name in done.stdout.decode().split("\0") if name]


def _front_matter_faults(root: Path, names: Sequence[str]) -> list[str]:
    from huggingface_hub import metadata_load

    try:
        about: dict[str, Any] | None = metadata_load(root / "README.md")
    except Exception as fault:  # noqa: BLE001 - the reader of YAML has its own errors
        return [f"The front matter of README.md cannot be read ({fault}): mend it."]
    if not about:
        return ["README.md begins with no front matter, which tells the hub that this is a Space: add it."]
    faults = []
    if about.get("sdk") != "gradio":
        faults.append(f"sdk is {about.get('sdk')!r} in the front matter of README.md: it must be gradio.")
    if about.get("app_file") not in names:
        faults.append(f"app_file is {about.get('app_file')!r}, which is none of the files: name launch.py.")
    if about.get("license") != "apache-2.0":
        faults.append(f"license is {about.get('license')!r} and LICENSE is Apache-2.0: write apache-2.0.")
    if not about.get("title"):
        faults.append("title is missing in the front matter of README.md.")
    if len(str(about.get("short_description", ""))) > MOST_LETTERS:
        faults.append(
            f"short_description has more than {MOST_LETTERS} characters, and the hub refuses that: shorten it."
        )
    if about.get("hf_oauth") and about.get("hf_oauth_scopes") != SCOPES:
        faults.append(f"hf_oauth_scopes is {about.get('hf_oauth_scopes')!r}: ask visitors for {SCOPES} and no more.")
    for side in ("colorFrom", "colorTo"):
        if about.get(side) not in COLOURS:
            faults.append(f"{side} is {about.get(side)!r}: the hub knows {', '.join(COLOURS)}.")
    return [*faults, *_version_faults(root, about)]


def _version_faults(root: Path, about: dict[str, Any]) -> list[str]:
    """Whether the versions that the front matter pins go with requirements.txt, and that with the pinned Gradio."""
    faults = []
    wanted = [Requirement(line) for line in _lines(root / "requirements.txt")]
    sdk = str(about.get("sdk_version", ""))
    gradio = next((each.specifier for each in wanted if each.name == "gradio"), SpecifierSet())
    if not re.fullmatch(r"\d+\.\d+\.\d+", sdk):
        faults.append(f"sdk_version is {sdk!r}: pin one release of Gradio, such as {version('gradio')}.")
    elif not gradio.contains(sdk):
        faults.append(f"sdk_version is {sdk} and requirements.txt asks for gradio{gradio}: make them agree.")
    elif sdk == version("gradio"):
        theirs = {each.name: each for each in map(Requirement, requires("gradio") or []) if each.marker is None}
        faults += [
            f"Gradio {sdk} asks for {theirs[each.name]} and requirements.txt for {each}; {version(each.name)}, which "
            "is installed here, is not both: change requirements.txt."
            for each in wanted
            if each.name in theirs
            and not (theirs[each.name].specifier & each.specifier).contains(version(each.name), prereleases=True)
        ]
    python = str(about.get("python_version", ""))
    if not re.fullmatch(r"3\.1[0-3]", python):
        faults.append(f"python_version is {python!r}: give one of '3.10' to '3.13', in quotes.")
    return faults


def _lines(path: Path) -> list[str]:
    written = path.read_text(encoding="utf-8").splitlines()
    return [line for line in written if line.strip() and not line.startswith("#")]


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write("python -m app.space OUT: puts the files of a Hugging Face Space into the new folder OUT.\n")
        return 2
    out = Path(arguments[0])
    try:
        names = assemble(out)
    except (SpaceError, OSError) as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    size = written_size(sum((out / name).stat().st_size for name in names))
    sys.stdout.write(f"{len(names)} files, {size}, are in {out}. docs/space.md says how to put them up.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
