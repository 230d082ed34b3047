"""What the endpoints of `app.api` answer, made from the session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from app import figures, words
from app.api_types import (
    Checked,
    Compared,
    Exported,
    Group,
    Loaded,
    OneFile,
    Running,
    Share,
    Status,
    Tuned,
    Verdicts,
)
from app.session import ExportRecord, Session
from app.steps.export import command_of
from app.studio import Studio
from app.words import WHOLE_MODELS

if TYPE_CHECKING:
    from actor_core.evaluate import Comparison
    from actor_core.generate import Reply
    from app.jobs import Job

__all__ = ["checked", "compared", "exported", "loaded", "running", "status", "tuned"]


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
    chosen = set(session.chosen)
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
            }
            for reply in session.checked or session.arriving
        ],
        "left_out": [{"row": each.row, "text": each.text, "why": each.why} for each in session.problems],
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
    after = {reply.prompt: reply for reply in session.after.get(strength, [])}
    own = [(old, after[old.prompt]) for old in session.checked if old.prompt in after]
    if own:
        groups.append(_group("own", own, [figures.outcome(old, new) for old, new in own]))
    for name, rows in session.sets.get(strength, {}).items():
        groups.append(_group(name, [(row.before, row.after) for row in rows], [_outcome(name, row) for row in rows]))
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
    guard = session.guards.get(session.strength)
    return {
        "session": session.id,
        "running": None,
        "ended": ended,
        "said": said,
        "strength": session.strength,
        "guard": {
            "passed": guard.passed,
            "refused_before": guard.refused_before,
            "lost": guard.lost,
            "upper_bound": guard.upper_bound,
            "limit": guard.limit,
            "said": guard.words(),
        }
        if guard
        else None,
        "files": [_file(studio, session, record) for record in session.exports if record not in known],
    }


def status(studio: Studio, session: Session) -> Status:
    job = studio.job(session)
    return {
        "session": session.id,
        "running": running(studio, job) if job else None,
        "model": studio.model.source.name if studio.model else None,
        "checked": len(session.checked),
        "refused": sum(reply.verdict.value == "refused" for reply in session.checked),
        "tuned": session.tuned is not None,
        "strength": session.strength,
        "exports": [_file(studio, session, record) for record in session.exports],
    }


def _group(name: str, rows: Sequence[tuple[Reply, Reply]], outcomes: Sequence[str]) -> Group:
    told = name != "harmful"
    return {
        "name": name,
        "n": len(rows),
        "before": _verdicts([old for old, _ in rows]),
        "after": _verdicts([new for _, new in rows]),
        "prompts": [
            {
                "prompt": old.prompt,
                "outcome": outcome,
                "before": old.verdict.value,
                "after": new.verdict.value,
                "reply_before": old.text if told else None,
                "reply_after": new.text if told else None,
            }
            for (old, new), outcome in zip(rows, outcomes, strict=True)
        ],
    }


def _outcome(name: str, row: Comparison) -> str:
    return figures.harmful_outcome(row) if name == "harmful" else row.outcome


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
