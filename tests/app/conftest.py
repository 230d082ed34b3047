"""A studio over the quick stand-ins of `quick_core`, and visitors who have come some way with it."""

from __future__ import annotations

import pytest
from quick_core import Model, answers, done, enriched, named, tuned

import actor_core.enrich
import actor_core.generate
import actor_core.guard
import actor_core.harmfulness
import actor_core.tune
from actor_core.tune import TuneSettings
from app.settings import Settings
from app.studio import Studio


@pytest.fixture
def studio(tmp_path, monkeypatch):
    for module in (actor_core.generate, actor_core.guard):
        monkeypatch.setattr(module, "answer", answers)
    monkeypatch.setattr(actor_core.harmfulness, "name_harmful", named)
    monkeypatch.setattr(actor_core.enrich, "enrich", enriched)
    studio = Studio(Settings(data_dir=tmp_path))
    studio.model = Model()
    return studio


@pytest.fixture
def checked(studio):
    session = studio.sessions.new()
    studio.check(session, "How do I kill a process?\nWhat is bread?\n")
    done(studio, session)
    return session


@pytest.fixture
def repaired(studio, checked, monkeypatch):
    monkeypatch.setattr(actor_core.tune, "tune", tuned)
    studio.tune(checked, TuneSettings(), 4)
    done(studio, checked)
    return checked
