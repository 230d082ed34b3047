"""What somebody who has never seen the page reads first: size, time, one button, and what comes next."""

from __future__ import annotations

from actor_core.fetch import models_dir
from app.create_app import create_app
from app.steps import model, prompts
from app.words import STEP_NAMES


def about(studio) -> str:
    return model._about(studio, studio.presets[studio.first_preset], studio.fits()[studio.first_preset])


def test_the_download_is_said_with_its_size_and_time_until_it_is_there(studio):
    assert "491 MB to download, once: about a minute at 50 Mbit/s" in about(studio)
    home = models_dir(studio.settings.data_dir) / studio.first_preset
    home.mkdir(parents=True)
    (home / "weights.json").write_text("{}")
    assert "on this machine already" in about(studio) and "to download" not in about(studio)


def test_every_step_is_named_before_the_model_is_loaded_and_the_list_goes_when_it_is(studio):
    loaded, studio.model = studio.model, None
    assert all(f"<strong>{name}</strong>" in model._state(studio) for name in STEP_NAMES)
    studio.model = loaded
    assert "st-path" not in model._state(studio) and "is loaded" in model._state(studio)


def test_somebody_without_prompts_is_led_to_the_examples(studio):
    parts = [block for block in create_app(studio).blocks.values() if getattr(block, "elem_id", "") == "prompts"]
    assert "Example prompts" in parts[0].info
    assert len(prompts.EXAMPLES.read_text(encoding="utf-8").splitlines()) >= 10
