"""How the server is started: open to nobody, sending nothing home, serving no folder."""

from __future__ import annotations

import os
import socket
from argparse import Namespace
from pathlib import Path

import pytest

from app.page_cache import make_room
from app.serve import FIRST_PORT, free_port, launch_options, quiet_gradio, require_password
from app.settings import Settings
from app.work import ModelRequest


@pytest.fixture(autouse=True)
def no_space(monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.delenv("SECOND_TAKE_DATA_DIR", raising=False)


def test_without_flags_it_listens_to_this_machine_alone(tmp_path):
    settings = Settings.from_args(Namespace(data_dir=tmp_path))
    assert (settings.host, settings.port, settings.share, settings.listen) == (
        "127.0.0.1",
        None,
        False,
        False,
    )
    assert settings.data_dir == tmp_path and settings.local_paths_allowed


def test_gradio_is_told_to_keep_and_to_send_nothing(tmp_path, monkeypatch):
    for name in (
        "GRADIO_ANALYTICS_ENABLED",
        "GRADIO_RUN_HISTORY",
        "GRADIO_TEMP_DIR",
        "HF_HUB_DISABLE_TELEMETRY",
    ):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("GRADIO_ALLOWED_PATHS", "/")
    settings = Settings(data_dir=tmp_path)
    quiet_gradio(settings)
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False" and "GRADIO_ALLOWED_PATHS" not in os.environ
    options = launch_options(settings)
    assert options["run_history"] is False and options["enable_monitoring"] is False
    assert options["allowed_paths"] == [] and options["max_file_size"] == "20mb" and options["mcp_server"] is False


@pytest.mark.parametrize("flags", [{"listen": True}, {"share": True}, {"host": "0.0.0.0"}])
def test_a_page_open_to_others_needs_a_password(flags, tmp_path):
    args = Namespace(data_dir=tmp_path, **flags)
    with pytest.raises(SystemExit, match="--auth"):
        require_password(Settings.from_args(args))
    settings = Settings.from_args(Namespace(data_dir=tmp_path, auth=("anna", "secret"), **flags))
    require_password(settings)
    assert launch_options(settings)["auth"] == ("anna", "secret")


def test_a_busy_port_is_passed_over_unless_it_was_asked_for(tmp_path):
    with socket.socket() as busy:
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the app does: one just left is free
        first = free_port("127.0.0.1")
        busy.bind(("127.0.0.1", first))
        busy.listen()
        assert free_port("127.0.0.1") > first >= FIRST_PORT
    assert launch_options(Settings(data_dir=tmp_path, port=8123))["server_port"] == 8123


def test_in_a_space_only_presets_can_be_loaded(monkeypatch, tmp_path):
    monkeypatch.setenv("SPACE_ID", "anna/second-take")
    settings = Settings.from_args(Namespace(data_dir=tmp_path))
    assert settings.host == "0.0.0.0" and not settings.browser
    assert not settings.hub_ids_allowed and not settings.local_paths_allowed
    require_password(settings)


@pytest.mark.parametrize("typed", ["/etc", "../models", "~/models", "models/x.gguf/y", "C:\\models", "app/steps"])
def test_a_page_open_to_others_takes_no_path(typed, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    from actor_core.errors import FetchError

    request = ModelRequest(None, typed, "auto", "auto")
    with pytest.raises(FetchError, match="hub name"):
        request.require_allowed(hub_ids=True, local_paths=False)
    ModelRequest(None, "Qwen/Qwen2.5-1.5B-Instruct", "auto", "auto").require_allowed(hub_ids=True, local_paths=False)


def test_the_data_folder_can_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SECOND_TAKE_DATA_DIR", str(tmp_path / "x"))
    assert Settings.from_args(Namespace()).data_dir == Path(tmp_path / "x")


def test_what_is_uploaded_has_a_cap_and_the_oldest_goes(tmp_path):
    for number in range(5):
        path = tmp_path / str(number) / "prompts.txt"
        path.parent.mkdir()
        path.write_bytes(bytes(100))
        os.utime(path, (number, number))
    make_room(tmp_path, most=250)
    assert sorted(path.parent.name for path in tmp_path.rglob("*.txt")) == ["3", "4"]
