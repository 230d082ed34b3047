"""Writes what was learnt as files that other programs load, and checks each by loading it.

    exporting     `export`: write, check, and say which command takes the file
    adapter       the delta as matrices of one rank: strength folded in, full differences by SVD
    peft_adapter  those as PEFT's two files            check_peft    loads them with PEFT
    gguf_lora     those as llama.cpp's GGUF adapter    check_llama   loads it with llama.cpp
    card          the README.md beside the files       llama_process runs llama.cpp in a process of its own
    base          what the files say about the base    compare       the replies that a check compares
    folder        a folder, whole or not at all        words         how each file is loaded and undone

Importing this package loads neither PEFT nor llama.cpp.
"""

from actor_core.export.adapter import MAX_RANK, MAX_RELATIVE_ERROR
from actor_core.export.compare import CHECK_PROMPTS
from actor_core.export.exporting import KINDS, Exported, export

__all__ = ["CHECK_PROMPTS", "KINDS", "MAX_RANK", "MAX_RELATIVE_ERROR", "Exported", "export"]
