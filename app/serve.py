"""Starts the page: settings, then the app, then Gradio's server. `launch.py` and the tests call `serve`."""

from __future__ import annotations

import os
import socket
import sys
import webbrowser
from argparse import Namespace
from pathlib import Path
from typing import Any

from actor_core.errors import PresetError
from app import zerogpu
from app.errors import start_log
from app.settings import Settings

__all__ = ["launch_options", "serve"]

FIRST_PORT = 7860
PORTS_TRIED = 100
MAX_UPLOAD = "20mb"
MAX_WAITING = 64
CALLS_AT_ONCE = 8
HERE = Path(__file__).parent
SCRIPTS = ("page.js", "lists.js")


def serve(args: Namespace) -> None:
    """Serves the page until it is interrupted. ``args`` as ``launch.py`` parses them."""
    settings = Settings.from_args(args)
    require_password(settings)
    os.umask(0o077)  # what is written from here on, prompts and replies among it, is for its owner alone
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    start_log(settings.data_dir / "logs")
    quiet_gradio(settings)
    if settings.in_space:
        zerogpu.prepare()

    from app import expiry
    from app.create_app import create_app
    from app.studio import Studio

    try:
        studio = Studio(settings)
    except PresetError as problem:
        raise SystemExit(str(problem)) from problem
    if settings.in_space:
        expiry.start(studio)
    blocks = create_app(studio)
    blocks.queue(max_size=MAX_WAITING, default_concurrency_limit=CALLS_AT_ONCE)
    try:
        _, local_url, share_url = blocks.launch(**launch_options(settings), prevent_thread_lock=True)
    except OSError as error:
        raise SystemExit(f"The page cannot be served at port {settings.port}: {error}. Try another --port.") from error
    address = share_url or local_url
    sys.stdout.write(f"Second Take is at {address}\n")
    sys.stdout.flush()
    if settings.browser:
        webbrowser.open(address)
    blocks.block_thread()


def require_password(settings: Settings) -> None:
    """Ends the program where others could reach the page without a password. A Space has its own gate."""
    if (settings.listen or settings.share) and settings.auth is None and not settings.in_space:
        raise SystemExit(
            "Others could reach this page, the model and your prompts: give a user and a password with "
            "--auth USER:PASSWORD, or leave out --listen and --share."
        )


def quiet_gradio(settings: Settings) -> None:
    """Turns off what Gradio sends and keeps by default; set before it is imported."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_RUN_HISTORY"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(settings.page_cache)
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    for name in ("GRADIO_ALLOWED_PATHS", "GRADIO_SHARE", "GRADIO_MCP_SERVER"):
        os.environ.pop(name, None)  # what opens the page is decided by our own flags


def launch_options(settings: Settings) -> dict[str, Any]:
    """What `gr.Blocks.launch` is told."""
    import gradio as gr
    from starlette.middleware import Middleware

    from app.gate import SLOWED, Gate
    from app.language import for_gradio
    from app.page_cache import RoomForUploads

    theme = gr.themes.Default(
        primary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.slate,
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
        radius_size=gr.themes.sizes.radius_md,
    )
    return {
        "server_name": settings.host,
        "server_port": settings.port if settings.port is not None else free_port(settings.host),
        "share": settings.share,
        "auth": settings.auth,
        "auth_message": SLOWED,
        "app_kwargs": {"middleware": [Middleware(Gate), Middleware(RoomForUploads, folder=settings.page_cache)]},
        "inbrowser": False,
        "quiet": True,
        "show_error": False,
        "run_history": False,
        "enable_monitoring": False,
        "mcp_server": False,
        "pwa": False,
        "ssr_mode": False,
        "footer_links": [],
        "allowed_paths": [],
        "blocked_paths": [],
        "max_file_size": MAX_UPLOAD,
        "state_session_capacity": 200,
        "strict_cors": True,
        "i18n": for_gradio(),
        "theme": theme,
        "css_paths": [HERE / "style.css"],
        "head": "".join(f"<script>{(HERE / name).read_text(encoding='utf-8')}</script>" for name in SCRIPTS)
        + '<meta name="color-scheme" content="light dark">',
    }


def free_port(host: str) -> int:
    """7860, or the next port that nobody uses."""
    for port in range(FIRST_PORT, FIRST_PORT + PORTS_TRIED):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
            if os.name != "nt":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise SystemExit(f"No free port from {FIRST_PORT} to {FIRST_PORT + PORTS_TRIED - 1}: give one with --port.")
