"""Replies one at a time by llama.cpp, from the very file that the loaded model came from.

A change goes beside it as an adapter, whose scale each reply has of its own: one process serves before and after and
every strength. Its weights stay quantised where the loaded model's were written out, so that now and then another
token comes first; `benchmarks/engines.py` counts how often that makes another verdict.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from actor_core.delta import LayerDelta
from actor_core.errors import ExportError, ModelError
from actor_core.events import Event, Progress, Said
from actor_core.export.adapter import low_rank_adapter
from actor_core.export.base import describe_base
from actor_core.export.gguf_lora import gguf_architecture, write_gguf_lora
from actor_core.generate import Reply
from actor_core.judge import judge
from actor_core.llama.server import Ask, LlamaServer, obstacle
from actor_core.model import DTYPES, LoadedModel

__all__ = ["LlamaEngine", "why_not_llama"]

# Tokens of a conversation that a slot has room for; a longer one is started anew with more.
CONTEXT = 2048
# Without a message for so long the process is ended and its memory goes back.
IDLE_SECONDS = 300.0
BEFORE, AFTER = 0, 1  # a slot each, so that what either conversation has read is kept


def why_not_llama(model: LoadedModel) -> str:
    """Why ``model`` answers better by itself, in words; empty where llama.cpp can do it."""
    if model.device.type != "cpu":
        return "the model is on a GPU"
    if model.precision not in DTYPES:
        return f"the model is loaded as {model.precision}, which is not what its file holds"
    missing = obstacle(model.source.gguf)
    if missing:
        return missing
    try:
        gguf_architecture(model.model.config)
    except ExportError as error:
        return str(error)
    return ""


class LlamaEngine:
    """An `engine.Engine`, for one reply at a time. Its process starts with the first one."""

    words = (
        "llama.cpp writes these replies from the model's own file, which is faster on a processor. It rounds "
        "otherwise, so a reply can be worded differently here than in the lists."
    )

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self._lock = threading.Lock()
        self._server: LlamaServer | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._delta: LayerDelta | None = None
        self._context = CONTEXT
        self._idle: threading.Timer | None = None

    def answer(
        self,
        prompt: str,
        *,
        delta: LayerDelta | None = None,
        strength: float = 1.0,
        max_new_tokens: int = 64,
        history: Sequence[Mapping[str, str]] = (),
    ) -> Generator[Event, None, Reply]:
        """See `engine.Engine`. Raises `ModelError` where llama.cpp fails or hangs.

        Without ``delta`` the adapter that is there already stays, at scale 0.
        """
        ids = self.model.token_ids(prompt, history)
        # A first message is read anew, so that its reply is the same whatever was asked before.
        slot, scale = (AFTER, strength) if delta else (BEFORE, 0.0)
        ask = Ask(ids, scale, max_new_tokens, slot=slot, reads_on=bool(history))
        done, text, whole = 0, "", False
        yield Progress("answer", 0, max_new_tokens)
        work = self._ready(delta, len(ids) + max_new_tokens).reply(ask)
        try:
            while True:
                try:
                    piece = next(work)
                except StopIteration as end:
                    reply, whole = end.value, True
                    break
                done += bool(piece)
                text += piece
                yield Progress("answer", done, max_new_tokens)
                if piece:
                    yield Said(prompt, text)
        except TimeoutError:
            raise ModelError("llama.cpp gave no reply and was ended: ask again.") from None
        finally:
            if whole:
                self._close_when_idle()
            else:  # what it still says belongs to no reply
                self.close()
        said, cut = str(reply["text"]).strip(), bool(reply["truncated"])
        return Reply(prompt, said, judge(prompt, said, truncated=cut), cut)

    def close(self) -> None:
        """Ends the process; the next reply starts it again."""
        with self._lock:
            self._close()

    def _ready(self, delta: LayerDelta | None, tokens: int) -> LlamaServer:
        """The running server with ``delta`` beside it and room for ``tokens``."""
        with self._lock:
            self._not_idle()
            another = delta is not None and delta is not self._delta
            if self._server is None or not self._server.alive or another or tokens > self._context:
                delta = delta or self._delta
                self._close()
                self._context = max(self._context, CONTEXT * -(-tokens // CONTEXT))
                self._start(delta)
            assert self._server is not None
            return self._server

    def _start(self, delta: LayerDelta | None) -> None:
        gguf = self.model.source.gguf
        assert gguf is not None
        adapter: Path | None = None
        if delta is not None:
            self._folder = tempfile.TemporaryDirectory(prefix="second-take-", ignore_cleanup_errors=True)
            adapter = Path(self._folder.name) / "adapter.gguf"
            base = describe_base(self.model.id)
            write_gguf_lora(adapter, low_rank_adapter(delta), self.model.model.config, base, "conversation", "")
        self._server, self._delta = LlamaServer(gguf, adapter, self._context, slots=2), delta

    def _close(self) -> None:
        self._not_idle()
        if self._server is not None:
            self._server.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._server, self._folder, self._delta = None, None, None

    def _close_when_idle(self) -> None:
        def close() -> None:
            with self._lock:
                if self._idle is timer:  # nobody has asked since
                    self._close()

        timer = threading.Timer(IDLE_SECONDS, close)
        timer.daemon = True
        with self._lock:
            self._not_idle()
            self._idle = timer
        timer.start()

    def _not_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
