"""What the endpoints of `app.api` answer, made from the session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from app import compared as sides
from app import words
from app.api_types import (
    Checked,
    Compared,
    Enriched,
    Exported,
    Group,
    GuardFound,
    Loaded,
    Lowered,
    OneFile,
    Running,
    Share,
    Status,
    Tuned,
    Verdicts,
)
from app.compared import Pair
from app.marks import UNTUNED
from app.session import ExportRecord, Session
from app.steps.export import command_of
from app.studio import Studio
from app.words import WHOLE_MODELS

if TYPE_CHECKING:
    from actor_core.generate import Reply
    from app.jobs import Job

__all__ = ["checked", "compared", "enriched", "exported", "loaded", "running", "status", "tuned"]


def running(studio: Studio, job: Job) -> Running:
    stage, said, share = words.job_line(job, studio.runner.ahead(job))
    return {"kind": job.kind, "stage": stage, "share": share, "said": said}


def loaded(studio: Studio, session: Session, ended: str, said: str) -> Loaded:
    model = studio.model
    return {
        "session": session.id,
        "running": None,
        "ended": ended,
        "model": model.source.name if model else None,
        "precision": model.precision if model else None,
        "said": said or (model.reason if model else ""),
    }


def checked(studio: Studio, session: Session, ended: str, said: str) -> Checked:
    chosen, found = set(session.chosen), session.harmfulness
    flagged = found.flagged if found else ()
    return {
        "session": session.id,
        "running": None,
        "ended": ended,
        "said": said,
        "prompts": [
            {
                "prompt": reply.prompt,
                "verdict": reply.verdict.value,
                "reply": reply.text,
                "repaired": reply.prompt in chosen,
                "looks_harmful": reply.prompt in flagged,
            }
            for reply in session.marks.all_of(session.checked or session.arriving, UNTUNED)
        ],
        "harmfulness": found.words() if found else "",
        "left_out": [{"row": each.row, "text": each.text, "why": each.why} for each in session.problems],
    }


def enriched(studio: Studio, session: Session, ended: str, said: str) -> Enriched:
    own = set(session.chosen)
    return {
        "session": session.id,
        "running": None,
        "ended": ended,
        "said": said,
        "lines": [
            {
                "text": row.text,
                "seed": row.seed,
                "form": row.form,
                "by": "you" if row.changed else row.by,
                "kept": row.kept,
                "why": words.LINE_LOOKS_HARMFUL if row.flagged else row.why,
                "ticked": row.ticked,
            }
            for row in session.variants
            if row.of(own)
        ],
    }


def tuned(studio: Studio, session: Session, ended: str, said: str) -> Tuned:
    found = session.tuned
    return {
        "session": session.id,
        "running": None,
        "ended": ended,
        "said": said,
        "layer": found.delta.layer if found else None,
        "words": list(found.words) if found else [],
        "variants": len(session.enriched.variants),
        "twins": len(session.enriched.twins),
        "curve": [
            {
                "strength": point.strength,
                "look_alike_refused": point.pseudo_harmful_refused,
                "harmful_refused": point.harmful_refused,
                "ordinary_refused": point.benign_refused,
            }
            for point in (found.curve if found else session.curve)
        ],
    }


def compared(studio: Studio, session: Session, ended: str, said: str) -> Compared:
    strength = session.strength
    groups = []
    own = [pair for pair in sides.own(session) if pair.after]
    if own:
        groups.append(_group("own", own))
    for name in session.sets.get(strength, {}):
        groups.append(_group(name, sides.held_out(session, name)))
    return {
        "session": session.id,
        "running": None,
        "ended": ended,
        "said": said,
        "strength": strength,
        "groups": groups,
    }


def exported(studio: Studio, session: Session, ended: str, said: str, known: Sequence[ExportRecord] = ()) -> Exported:
    """``known`` are the exports that were there before."""
    return {
        "session": session.id,
        "running": None,
        "ended": ended,
        "said": said,
        "strength": session.strength,
        "guard": _guard(session),
        "files": [_file(studio, session, record) for record in session.exports if record not in known],
    }


def lowered(session: Session, ended: str, said: str, *, found: bool) -> Lowered:
    """``found``: whether a smaller strength passes, which is the session's then."""
    return {
        "session": session.id,
        "running": None,
        "ended": ended,
        "said": said,
        "found": found,
        "strength": session.strength,
        "guard": _guard(session),
    }


def _guard(session: Session) -> GuardFound | None:
    """The guard at the strength that is set, where it was measured."""
    guard = session.guards.get(session.strength)
    if guard is None:
        return None
    return {
        "passed": guard.passed,
        "refused_before": guard.refused_before,
        "lost": guard.lost,
        "upper_bound": guard.upper_bound,
        "limit": guard.limit,
        "said": guard.words(),
    }


def status(studio: Studio, session: Session) -> Status:
    job = studio.job(session)
    return {
        "session": session.id,
        "running": running(studio, job) if job else None,
        "model": studio.model.source.name if studio.model else None,
        "checked": len(session.checked),
        "refused": sum(reply.verdict.value == "refused" for reply in session.marks.all_of(session.checked, UNTUNED)),
        "tuned": session.tuned is not None,
        "strength": session.strength,
        "exports": [_file(studio, session, record) for record in session.exports],
    }


def _group(name: str, pairs: Sequence[Pair]) -> Group:
    """With the verdicts that count: a person's, where one was corrected on the page."""
    told = name != "harmful"
    rows = [(pair, pair.before, pair.after) for pair in pairs if pair.after]
    return {
        "name": name,
        "n": len(rows),
        "before": _verdicts([old for _, old, _ in rows]),
        "after": _verdicts([new for _, _, new in rows]),
        "prompts": [
            {
                "prompt": pair.prompt,
                "outcome": pair.outcome if told else pair.harmful_outcome,
                "before": old.verdict.value,
                "after": new.verdict.value,
                "reply_before": old.text if told else None,
                "reply_after": new.text if told else None,
            }
            for pair, old, new in rows
        ],
    }


def _verdicts(replies: Sequence[Reply]) -> Verdicts:
    from actor_core.evaluate import Rates

    rates = Rates.of(replies)

    def of(verdict: str) -> Share:
        share, low, high = rates.share(verdict)
        return {"count": int(getattr(rates, verdict)), "share": share, "low": low, "high": high}

    return {"answered": of("answered"), "refused": of("refused"), "incoherent": of("incoherent")}


def _file(studio: Studio, session: Session, record: ExportRecord) -> OneFile:
    archive = studio.download(session, record.path)
    file: dict[str, Any] | None = None
    if archive is not None:
        file = {"path": str(archive), "orig_name": archive.name, "meta": {"_type": "gradio.FileData"}}
    here = studio.settings.local_paths_allowed
    return {
        "kind": record.kind,
        "bytes": record.bytes,
        "checked": record.checked,
        "failed": record.failed,
        "said": record.check_words,
        "guard_passed": record.guard_passed,
        "command": command_of(studio, record),
        "folder": record.path if here and record.kind in WHOLE_MODELS else None,
        "file": file,
    }
