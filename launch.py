"""Starts Second Take: `python launch.py` makes the environment once, then opens the page.

Standard library only, as is the folder `start/`, which makes and checks the environment. This file
knows the flags and who runs what; it knows nothing of packages, models or the page.
"""

import argparse
import ipaddress
import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path

# Python 3.6 to 3.9 can read this file up to its end; an older one stops at this line and prints it.
NEEDS: str = "Second Take needs Python 3.10 to 3.13, 64-bit, from python.org: python3.12 launch.py"

if not ((3, 10) <= sys.version_info[:2] <= (3, 13) and sys.maxsize > 2**32):
    bits = 64 if sys.maxsize > 2**32 else 32
    sys.exit(f"{NEEDS}\nThis is Python {platform.python_version()}, {bits}-bit, at {sys.executable}.")

from start import CannotStart, environment  # noqa: E402 (an old Python must not get this far)


def main(argv: list[str]) -> int:
    """Makes sure that the packages are there, then becomes the app (or pytest) in their environment."""
    args = read_flags(argv)
    if args.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    if args.doctor:
        from start.doctor import doctor

        return doctor(args.data_dir, args.offline)
    testing = args.test is not None
    extras = ["llamacpp", "test"] if testing else ["llamacpp"]
    in_place = not args.reinstall and environment.runs_in_place(extras, args.locked)
    if not in_place:
        environment.ensure(extras, args.reinstall, args.offline, args.locked)
    if in_place and not testing:
        from app.serve import serve

        serve(args)
        return 0
    arguments = [__file__, *(word for word in argv if word != "--reinstall")]
    if testing:
        os.chdir(environment.ROOT)
        arguments = ["-m", "pytest", *args.test]
    if in_place:
        return hand_over(sys.executable, arguments)
    try:
        return hand_over(str(environment.PYTHON), arguments)
    except OSError:  # a Python that is there and does not run: its file was cut, or is another machine's
        environment.ensure(extras, True, args.offline, args.locked)
        return hand_over(str(environment.PYTHON), arguments)


def read_flags(argv: list[str]) -> argparse.Namespace:
    """The flags, checked: whatever lets others reach the page needs a password, and says so at once."""
    parser = argparse.ArgumentParser(
        prog="launch.py",
        description="Repairs over-refusal in a chat model, on a page in your browser.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--model", metavar="NAME", help="start with this preset, hub id or folder with a model")
    add("--host", metavar="ADDRESS", help="address of the page (default 127.0.0.1: this machine only)")
    add("--port", type=port_number, metavar="N", help="port of the page (default 7860, or the next free one)")
    add("--listen", action="store_true", help="let others on your network open the page; needs --auth")
    add("--share", action="store_true", help="give the page a public web address; needs --auth")
    add("--auth", type=user_and_password, metavar="USER:PASSWORD", help="ask for this name and password")
    add("--no-browser", dest="browser", action="store_false", help="do not open the page in a browser")
    add("--device", default="auto", choices=["auto", "cuda", "cpu", "mps"], help="what the model runs on")
    add("--memory", type=size, metavar="SIZE", help="how much of a model may be in memory at once, as 600MB or 6GB")
    add("--data-dir", type=folder, metavar="FOLDER", help="keep downloads, runs and exports there")
    add("--offline", action="store_true", help="use only what is on this machine already")
    add("--reinstall", action="store_true", help="make the environment anew, then start")
    add("--locked", action="store_true", help="install the very versions that the tests ran with")
    add("--doctor", action="store_true", help="say what is here, what is missing and what to do about it")
    add("--test", nargs=argparse.REMAINDER, metavar="...", help="run the tests; what follows goes to pytest")
    args = parser.parse_args(argv)
    if environment.in_space():  # whose owner decides who comes in
        args.browser = False
        args.host = args.host or os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0")
        return args
    args.listen = args.listen or not is_loopback(args.host or "127.0.0.1")
    args.host = args.host or ("0.0.0.0" if args.listen else "127.0.0.1")
    if (args.listen or args.share) and not args.auth:
        flag = "--share" if args.share else "--listen" if "--listen" in argv else f"--host {args.host}"
        raise CannotStart(
            f"{flag} lets others reach the page, your prompts and your model, so it needs a password.\n"
            f"Add --auth USER:PASSWORD (8 characters or more), or leave {flag} out."
        )
    return args


def user_and_password(text: str) -> tuple[str, str]:
    """('ada', 'a long one') from 'ada:a long one'; a refusal does not repeat the password."""
    user, _, password = text.partition(":")
    if not user.strip() or len(password) < 8:
        raise argparse.ArgumentTypeError("needs USER:PASSWORD, a name and a password of 8 characters or more")
    return user, password


def port_number(text: str) -> int:
    if not (text.isdigit() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 1 to 65535, such as 7861")
    return int(text)


def size(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?\s*(MB|GB)", text.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write it as 600MB or 6GB")
    return text


def folder(text: str) -> Path:
    return Path(text).expanduser().resolve()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address; a name other than localhost may be any machine's."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def hand_over(python: str, arguments: list[str]) -> int:
    """Becomes that Python (POSIX), or runs it and returns its exit code (Windows)."""
    astray = () if python == sys.executable else ("PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__")
    variables = {name: value for name, value in os.environ.items() if name not in astray}
    sys.stdout.flush()
    if os.name == "posix":
        os.execve(python, [python, *arguments], variables)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the app too, and is the app's to answer
    return subprocess.call([python, *arguments], env=variables)


if __name__ == "__main__":
    try:
        exit_code = main(sys.argv[1:])
    except CannotStart as problem:
        print(problem, file=sys.stderr)
        exit_code = 1
    except KeyboardInterrupt:
        print("\nStopped. Start again to go on.", file=sys.stderr)
        exit_code = 130
    sys.exit(exit_code)
