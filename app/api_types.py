"""The types of what the endpoints of `app.api` answer, as a client's ``view_api`` documents them: plain JSON.

Replies to held-out harmful prompts have no place in any of them: of those prompts the verdicts alone are told,
as on the page. ``running`` is null once a job has ended; ``ended`` is done or stopped.
"""

from __future__ import annotations

from typing import Any, TypedDict

__all__ = [
    "Checked",
    "Compared",
    "Enriched",
    "Exported",
    "Group",
    "GuardFound",
    "LeftOut",
    "Line",
    "Loaded",
    "Lowered",
    "OneFile",
    "OneReply",
    "Pair",
    "Point",
    "Running",
    "Share",
    "Status",
    "Tuned",
    "Verdicts",
]


class Running(TypedDict):
    """A job that waits or runs. ``share`` is what is done of the stage, null where that is not known."""

    kind: str
    stage: str
    share: float | None
    said: str


class Share(TypedDict):
    """How many of n replies, and the 95 % interval of their share (Wilson)."""

    count: int
    share: float
    low: float
    high: float


class Verdicts(TypedDict):
    answered: Share
    refused: Share
    incoherent: Share


class OneReply(TypedDict):
    prompt: str
    verdict: str
    reply: str
    repaired: bool
    looks_harmful: bool


class Pair(TypedDict):
    """One prompt before and after. The replies are null for harmful prompts: they are never told."""

    prompt: str
    outcome: str
    before: str
    after: str
    reply_before: str | None
    reply_after: str | None


class Group(TypedDict):
    """``name`` is own, look_alike, harmful or ordinary."""

    name: str
    n: int
    before: Verdicts
    after: Verdicts
    prompts: list[Pair]


class LeftOut(TypedDict):
    row: int
    text: str
    why: str


class Point(TypedDict):
    """Shares of held-out prompts refused at one strength."""

    strength: float
    look_alike_refused: float
    harmful_refused: float
    ordinary_refused: float


class OneFile(TypedDict):
    """``file`` is downloaded by the client; null for whole models, which stay in ``folder`` on the server's machine.
    ``folder`` is null where the page is open to others."""

    kind: str
    bytes: int
    checked: bool
    failed: bool
    said: str
    guard_passed: bool | None
    command: str
    folder: str | None
    file: dict[str, Any] | None


class GuardFound(TypedDict):
    passed: bool
    refused_before: int
    lost: int
    upper_bound: float
    limit: float
    said: str


class Loaded(TypedDict):
    session: str
    running: Running | None
    ended: str
    model: str | None
    precision: str | None
    said: str


class Checked(TypedDict):
    session: str
    running: Running | None
    ended: str
    said: str
    prompts: list[OneReply]
    harmfulness: str
    left_out: list[LeftOut]


class Line(TypedDict):
    """A prompt that was made of the own one ``seed``. ``form`` is wording, perspective, form, language, or twin: what
    should be refused. ``by`` is rules, model or you; ``why`` says why it was left out. What is ``ticked`` is used."""

    text: str
    seed: str
    form: str
    by: str
    kept: bool
    why: str
    ticked: bool


class Enriched(TypedDict):
    session: str
    running: Running | None
    ended: str
    said: str
    lines: list[Line]


class Tuned(TypedDict):
    session: str
    running: Running | None
    ended: str
    said: str
    layer: int | None
    words: list[str]
    variants: int
    twins: int
    curve: list[Point]


class Compared(TypedDict):
    session: str
    running: Running | None
    ended: str
    said: str
    strength: float
    groups: list[Group]


class Exported(TypedDict):
    session: str
    running: Running | None
    ended: str
    said: str
    strength: float
    guard: GuardFound | None
    files: list[OneFile]


class Lowered(TypedDict):
    session: str
    running: Running | None
    ended: str
    said: str
    found: bool
    strength: float
    guard: GuardFound | None


class Status(TypedDict):
    session: str
    running: Running | None
    model: str | None
    checked: int
    refused: int
    tuned: bool
    strength: float
    exports: list[OneFile]
