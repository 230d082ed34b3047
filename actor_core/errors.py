"""Every error that this package raises on purpose, as one tree.

    ActorError
    ├── PresetError         a preset file that says something it may not
    ├── PromptError         prompts that cannot be read or are not enough
    ├── FetchError          weights that could not be brought onto the disk
    ├── ModelError          a folder or model that cannot be loaded or tuned
    │   └── OutOfMemory     the machine's memory is not enough for what was asked
    ├── NothingToRepair     none of the given prompts is refused
    ├── DeltaError          a delta that does not fit the model it is put on
    └── ExportError         a file that could not be written, or failed its check

A message says what happened with the value, what the limit is and what to do,
in words for the person at the page: the app shows it as it stands.
"""

__all__ = [
    "ActorError",
    "DeltaError",
    "ExportError",
    "FetchError",
    "ModelError",
    "NothingToRepair",
    "OutOfMemory",
    "PresetError",
    "PromptError",
    "first_line",
    "is_out_of_memory",
]

NO_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",  # on Windows
    "std::bad_alloc",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "_STATUS_ALLOC_FAILED",  # of cuBLAS, cuDNN and cuSOLVER
    "MPS backend out of memory",
)


class ActorError(Exception):
    """What a person can mend; anything else that escapes is a fault of this program."""


class PresetError(ActorError):
    """A preset file that says something it may not."""


class PromptError(ActorError):
    """Prompts that cannot be read, or are not enough."""


class FetchError(ActorError):
    """Weights that could not be brought onto the disk."""


class ModelError(ActorError):
    """A folder or a model that cannot be loaded or tuned."""


class OutOfMemory(ModelError):
    """The machine's memory is not enough for what was asked."""


class NothingToRepair(ActorError):
    """None of the given prompts is refused by the model as it is."""


class DeltaError(ActorError):
    """A delta that does not fit the model it is put on."""


class ExportError(ActorError):
    """A file that could not be written whole, or that failed its check."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory ran out; on a CPU, and within CUDA's libraries, torch says so in errors that
    are no class of their own."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)


def first_line(fault: BaseException) -> str:
    """What ``fault`` says, in one line of at most 300 characters; its kind where it says nothing."""
    return (str(fault).strip() or type(fault).__name__).splitlines()[0][:300]
