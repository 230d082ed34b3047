"""Another judge's opinion of the verdicts that step 4 shows: the long work behind its button, and what it comes to.

Both models' replies are read list by list. What is found goes into the session as each list is done, so that a stop
keeps it: of every reply the opinion alone, also of those to harmful prompts. It is compared with the verdicts that
count when it is shown; no figure elsewhere is made with it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from actor_core.errors import FetchError, ModelError
from actor_core.events import Ahead, Event, Part, Progress, retold
from actor_core.freed_memory import give_back
from actor_core.presets import JudgePreset, judge_presets
from app import compared, zerogpu
from app.compared import Pair
from app.errors import Notice
from app.language import later
from app.server import Server
from app.session import Session
from app.settings import Settings
from app.work import SETS, tuned_of

if TYPE_CHECKING:
    from actor_core.generate import Reply
    from actor_core.second_judge import Opinion
    from actor_core.weights.model_home import FetchedModel

__all__ = ["OTHER", "Read", "ask", "chosen", "give", "known", "read", "replies_shown"]

LISTS = ("own", *SETS)
OTHER = "folder"  # chosen in the place of a known judge
ELSEWHERE = later(
    "Or download {name} on another machine, bring its folder here, and give that under “Its folder on this machine”."
)
NOT_KEPT = later(
    "The replies to harmful prompts were not read: they are kept on no disk, and these results come from there. Press "
    "“Compare again”, and then ask again."
)


@dataclass(frozen=True)
class Read:
    """A reply with the verdict that counts, whether a person gave that, and the other judge's opinion of it.

    ``side`` is before or after.
    """

    reply: Reply
    side: str
    marked: bool
    opinion: Opinion

    @property
    def refused(self) -> bool:
        """By this page; an incoherent reply is not refused."""
        return self.reply.verdict.value == "refused"

    @property
    def agrees(self) -> bool:
        return self.refused == self.opinion.refused


def known(settings: Settings) -> dict[str, JudgePreset]:
    """The known judges by id, the smallest first: in a Space, as of models, those of which a commit is named."""
    return {name: judge for name, judge in judge_presets().items() if judge.revision or not settings.in_space}


def chosen(studio: Server, session: Session) -> JudgePreset | None:
    """The known judge that is chosen; None for another one."""
    presets = known(studio.settings)
    return None if session.second_judge == OTHER else presets.get(session.second_judge, next(iter(presets.values())))


def ask(studio: Server, session: Session, judge: str, folder: str) -> None:
    """Has ``judge`` (a known one's id, or `OTHER`) read the replies that are shown; it lies in ``folder``, or at the
    hub where that is empty."""
    tuned_of(session)
    folder = folder.strip()
    if (folder or judge == OTHER) and not studio.settings.local_paths_allowed:
        raise FetchError("This page is open to others, so it takes no folder of the machine that it runs on.")
    if judge != OTHER and judge not in known(studio.settings):
        raise ModelError("No judge is chosen: choose one from the list.")
    if judge == OTHER and not folder:
        raise ModelError("No folder is given: type the one that holds the classifier.")
    lists = _readable(session)
    if not lists:
        raise ModelError("There is no reply to read at this strength yet: press “Compare again” first.")
    session.second_judge = judge
    told = Notice("info", NOT_KEPT) if "harmful" not in lists and compared.held_out(session, "harmful") else None
    studio.submit(
        session,
        "opinion",
        lambda: give(studio, session, chosen(studio, session), folder),
        finished=lambda _: session.say("opinion", told),
        stopped="Stopped: what was finished is shown below.",
        pace_key=judge,
    )


def give(studio: Server, session: Session, preset: JudgePreset | None, folder: str) -> Generator[Event, None, None]:
    """Brings the judge here, has it read the replies at the strength that is set, and lets go of it."""
    yield Progress("fetch judge", 0, 0)  # before its libraries are loaded, which takes seconds
    from actor_core.second_judge import SecondOpinion, load_judge, opinions

    tuned, strength, lists = tuned_of(session), session.strength, _readable(session)
    source = yield from _fetched(studio, preset, folder)
    classifier = yield from load_judge(source, preset, device="cpu" if zerogpu.is_lent() else "auto")
    found, done, total = SecondOpinion(classifier.name, {}), 0, 2 * sum(map(len, lists.values()))
    yield Ahead((Part("opinion", "", 0.0),))  # all that is left: its own time is that of the job
    try:
        for name, pairs in lists.items():
            replies = [*(pair.before for pair in pairs), *(pair.after for pair in pairs if pair.after)]
            said = yield from retold(opinions(classifier, replies), _counted_on(done, total))
            both = zip(said[: len(pairs)], said[len(pairs) :], strict=True)
            rows = {pair.prompt: opinion for pair, opinion in zip(pairs, both, strict=True)}
            found, done = replace(found, lists={**found.lists, name: rows}), done + len(replies)
            with session.lock:
                if session.tuned is tuned:
                    session.opinions = {**session.opinions, strength: found}
                    session.changed()
    finally:
        del classifier
        give_back()


def read(session: Session) -> dict[str, list[Read]]:
    """By list, each reply that the other judge has read at the strength that is set; none where it was not asked."""
    found = session.opinions.get(session.strength)
    lists: dict[str, list[Read]] = {}
    for name in LISTS if found is not None else ():
        known = found.lists.get(name, {}) if found is not None else {}
        for pair in _pairs(session, name):
            if pair.prompt in known and pair.after is not None:
                before, after = known[pair.prompt]
                lists.setdefault(name, []).extend(
                    [
                        Read(pair.before, "before", pair.marked[0], before),
                        Read(pair.after, "after", pair.marked[1], after),
                    ]
                )
    return lists


def replies_shown(session: Session) -> int:
    """How many replies step 4 shows in its lists, before and after."""
    return 2 * sum(pair.after is not None for name in LISTS for pair in _pairs(session, name))


def _pairs(session: Session, name: str) -> list[Pair]:
    return compared.own(session) if name == "own" else compared.held_out(session, name)


def _readable(session: Session) -> dict[str, list[Pair]]:
    """What can be read of each list at the strength that is set: of a run from the disk no reply to a harmful prompt
    is there. Lists without any are left out."""
    found = {}
    for name in LISTS:
        pairs = [pair for pair in _pairs(session, name) if pair.after is not None]
        pairs = [pair for pair in pairs if all(map(_is_there, (pair.before, pair.after)))]
        if pairs:
            found[name] = pairs
    return found


def _is_there(reply: Reply | None) -> bool:
    return reply is not None and bool(reply.text or reply.tokens)


def _fetched(studio: Server, preset: JudgePreset | None, folder: str) -> Generator[Event, None, FetchedModel]:
    from actor_core.second_judge import fetch_judge

    settings = studio.settings
    work = fetch_judge(preset if preset and not folder else folder, settings.data_dir, offline=settings.offline)
    try:
        return (yield from retold(work, _of_fetching))
    except FetchError as fault:
        if preset is None or folder or not settings.local_paths_allowed:
            raise
        raise FetchError(f"{fault} {ELSEWHERE.format(name=preset.repo)}") from fault


def _of_fetching(event: Event) -> Event:
    return replace(event, stage="fetch judge") if isinstance(event, Progress) else event


def _counted_on(before: int, total: int) -> Callable[[Event], Event]:
    """Tells the progress within one list as that in all ``total`` replies, of which ``before`` are done."""

    def tell(event: Event) -> Event:
        if not isinstance(event, Progress):
            return event
        done = before + event.done
        return Progress(event.stage, done, total, f"{done} of {total}")

    return tell
