"""Writes what was learnt as files that other programs load, and checks each by loading it.

    exporting     `export`: write, check, and say which command takes the file
    request       what is asked of one export, and what it will write
    formats       the kinds of export           folder        a folder, whole or not at all
    adapter       the delta as matrices of one rank: strength folded in, full differences by SVD
    peft_adapter  those as PEFT's two files                 check_peft    loads them with PEFT
    gguf_lora     those as llama.cpp's GGUF adapter         check_llama   loads GGUF files with llama.cpp
    merged        the whole model with the change inside    check_merged  loads it with transformers
    merged_gguf   the base's GGUF file with the change inside
    check_delta   reads a layer delta again
    compare       the scores that a check compares          replay        the prompts that the user compared
    provenance    what a small file says of itself; opens one again
    card          the README.md beside the files            base          what the files say about the base
    words         how each file is loaded and undone        programs      which program takes which file
    push          puts an export on the model hub

Importing this package loads neither PEFT nor llama.cpp.
"""

from actor_core.export.adapter import MAX_RANK, MAX_RELATIVE_ERROR
from actor_core.export.compare import CHECK_PROMPTS
from actor_core.export.exporting import Exported, export
from actor_core.export.formats import KINDS, SMALL_KINDS
from actor_core.export.merged_gguf import TENSOR_TYPES
from actor_core.export.provenance import open_change

__all__ = [
    "CHECK_PROMPTS",
    "KINDS",
    "MAX_RANK",
    "MAX_RELATIVE_ERROR",
    "SMALL_KINDS",
    "TENSOR_TYPES",
    "Exported",
    "export",
    "open_change",
]
