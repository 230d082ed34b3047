"""Reads a GGUF file once into a transformers folder of float16 safetensors, and keeps that.

Run as a program of its own (``python -m actor_core.weights.gguf_source FILE FOLDER BYTES``) with a limit
of time and memory: a GGUF from anywhere can make its parser hang or ask for all memory there is.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from actor_core.errors import ModelError
from actor_core.events import Progress
from actor_core.weights.child_process import PROGRAM_FOLDER, last_words, running
from actor_core.weights.gguf_header import read_header
from actor_core.weights.model_folder import check_folder, folder_files
from actor_core.weights.whole_files import Stamp, disk_faults, hashed, in_words, put_folder, require_room

__all__ = ["as_safetensors"]

# Raised when what this file writes changes, so that older folders are made anew.
FORM = "1"
LOOK_EVERY = 0.3
FLOAT16_BYTES_PER_GGUF_BYTE = 4
SHARD = "2GB"
ERROR = "ERROR:"


def time_limit(size: int) -> float:
    """Seconds for a GGUF of ``size`` bytes: ten times what a slow machine takes."""
    return 300.0 + size / 1e6


def memory_limit(size: int) -> int:
    """Bytes of address space: some 12 GB for the libraries, up to 20 times the file for weights in fp32."""
    return 16 * 10**9 + 24 * size


def as_safetensors(gguf: Path, digest: str, home: Path) -> Generator[Progress, None, Path]:
    """The folder ``home/weights`` made from ``gguf``, whose SHA-256 is ``digest``; at once where it is there.

    Raises ModelError for a file that is no GGUF that transformers can read, FetchError for want
    of disk space.
    """
    folder, stamp_file = home / "weights", home / "weights.json"
    stamp = yield from Stamp.verified(stamp_file, folder)
    if stamp and stamp.facts == {"gguf": digest, "form": FORM}:
        return folder
    size = _checked_size(gguf)
    read_header(gguf)
    require_room(home, FLOAT16_BYTES_PER_GGUF_BYTE * size, f"Preparing {gguf.name}")
    unfinished = home / "weights.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    with disk_faults(home):
        yield from _convert(gguf, size, unfinished, home / "weights.log")
        check_folder(unfinished)
        stamp_file.unlink(missing_ok=True)
        put_folder(unfinished, folder)
        digests = {}
        for name in folder_files(folder):
            digests[name] = yield from hashed(folder / name, "Noting what the prepared model looks like")
        Stamp.of(folder, digests, {"gguf": digest, "form": FORM}).write(stamp_file)
    return folder


def _checked_size(gguf: Path) -> int:
    """Raises ModelError for a file that is no GGUF at all."""
    try:
        size = gguf.stat().st_size
        with gguf.open("rb") as file:
            head = file.read(8)
    except OSError as fault:
        raise ModelError(f"{gguf} cannot be read ({fault.strerror or fault}).") from fault
    version = int.from_bytes(head[4:8], "little")
    if head[:4] != b"GGUF" or version not in (2, 3):
        raise ModelError(
            f"{gguf} is no GGUF file of version 2 or 3 (it begins with {head!r}): download it again, "
            "or give the folder of a transformers model."
        )
    return size


def _convert(gguf: Path, size: int, folder: Path, log: Path) -> Generator[Progress, None, None]:
    memory, limit = memory_limit(size), time_limit(size)
    command = [
        sys.executable,
        "-m",
        "actor_core.weights.gguf_source",
        str(gguf.resolve()),
        str(folder),
        str(memory),
    ]
    environment = {
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    began = time.monotonic()
    expected = round(10 + size / 12e6)
    with running(command, log=log, cwd=PROGRAM_FOLDER, environment=environment) as process:
        while process.poll() is None:
            time.sleep(LOOK_EVERY)
            seconds = time.monotonic() - began
            if seconds > limit:
                raise ModelError(
                    f"Reading {gguf.name} took longer than {limit:.0f} s and was stopped: the file is "
                    "damaged, or this machine is busy. Download it again, or take a safetensors folder."
                )
            note = f"Reading {in_words(size)} of GGUF into safetensors, only this once"
            yield Progress("convert", min(round(seconds), expected - 1), expected, note)
    if process.returncode == 0:
        log.unlink(missing_ok=True)
        return
    words = last_words(log, ERROR)
    shutil.rmtree(folder, ignore_errors=True)
    if os.strerror(errno.ENOSPC) in words:
        raise OSError(errno.ENOSPC, words)
    if "MemoryError" in words or "allocate memory" in words or process.returncode in (-9, 137):
        raise ModelError(
            f"{gguf.name} could not be read with {in_words(memory)} of address space ({words}): the file "
            "is damaged, or memory is not enough; close other programs or choose a smaller model."
        )
    raise ModelError(
        f"{gguf.name} cannot be read by transformers ({words}): the file is damaged, or of a kind that it "
        "does not know. Download it again, or take the model as a safetensors folder."
    )


def _limit_memory(memory: int) -> None:
    """Linux holds to it; other systems have no such limit, or ignore it."""
    if sys.platform != "linux":
        return
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(
        resource.RLIMIT_AS, (memory if hard == resource.RLIM_INFINITY else min(memory, hard), hard)
    )


def main(gguf: Path, folder: Path, memory: int) -> None:
    """The conversion itself, in its own process."""
    import functools

    import gguf as gguf_library
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    _limit_memory(memory)
    # transformers parses the whole header three times (configuration, weights, tokenizer), 5 s each.
    setattr(gguf_library, "GGUFReader", functools.cache(gguf_library.GGUFReader))  # noqa: B010
    place, name = str(gguf.parent), gguf.name
    tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=name, trust_remote_code=False)
    both: Any = AutoModelForCausalLM.from_pretrained(  # a pair, as output_loading_info says
        place,
        gguf_file=name,
        trust_remote_code=False,
        output_loading_info=True,
        dtype=torch.float16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model, found = both
    if found["missing_keys"]:
        raise ValueError(f"it lacks the weights {sorted(found['missing_keys'])[0]}")
    for key, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise ValueError(f"{key} has values beyond float16")
    model.save_pretrained(folder, max_shard_size=SHARD)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
    except Exception as fault:
        words = " ".join(str(fault).split())[:250]
        sys.stdout.write(f"\n{ERROR} {type(fault).__name__}: {words}\n")
        sys.exit(1)
