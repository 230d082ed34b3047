"""launch.py and start/: small trees with tiny wheels of their own, real venv and pip, no network."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from importlib import metadata
from pathlib import Path

import psutil
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import launch  # noqa: E402
from start import CannotStart, environment, installer, machine  # noqa: E402

RENEW = "renew it with python launch.py --test, then .venv/bin/python benchmarks/lock.py"
posix_only = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")

# Stand-ins that no environment has; only the name torch is real, as the program looks for it.
PYPROJECT = """
[project]
dependencies = [
  "torch>=2.7,<3",
  # a comment, with a bracket ]
  "second-take-test-dep>=1",
  "second-take-test-unneeded>=1; python_version < '3'",
]
[project.optional-dependencies]
llamacpp = ["second-take-test-llama>=1"]
test = [
  "second-take[llamacpp]",
  "second-take-test-pytest>=1",
]
"""
SERVE = """
import json, os, sys
def serve(args):
    facts = {"python": sys.executable, "hub_offline": os.environ.get("HF_HUB_OFFLINE")}
    print(json.dumps({**vars(args), **facts}, default=str))
"""
PYTEST = "import os, sys\nprint('pytest', os.getcwd(), sys.argv[1:])\nsys.exit(7)\n"


def make_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in files)
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


def make_wheels(folder: Path) -> Path:
    facts = "__version__ = '{0}'\ncuda = None\n"
    for version in ("2.13.0+cpu", "2.99.0"):
        files = {"torch/__init__.py": "", "torch/version.py": facts.format(version)}
        make_wheel(folder, "torch", version, files)
    make_wheel(folder, "second-take-test-dep", "1.0", {"second_take_test_dep.py": ""})
    make_wheel(folder, "second-take-test-pytest", "1.0", {"pytest.py": PYTEST})
    return folder


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> Path:
    return make_wheels(tmp_path_factory.mktemp("wheels"))


class Tree:
    """A clone of the program with a stand-in for the app, and the settings it is started with."""

    def __init__(self, root: Path, wheels: Path) -> None:
        self.root = root
        (root / "app").mkdir(parents=True)
        (root / "bin").mkdir()
        (root / "app" / "serve.py").write_text(SERVE)
        (root / "pyproject.toml").write_text(PYPROJECT)
        shutil.copy(ROOT / "launch.py", root)
        shutil.copytree(ROOT / "start", root / "start", ignore=shutil.ignore_patterns("__pycache__"))
        own = ("PIP_", "UV_", "SPACE_ID", "HF_", "GRADIO_", "VIRTUAL_ENV", "PYTHON")
        self.variables = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        closed = "http://127.0.0.1:9"  # nothing listens there: the network is out of reach at once
        self.variables |= {
            "PATH": str(root / "bin"), "HTTPS_PROXY": closed, "https_proxy": closed,
            "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels),
        }  # fmt: skip

    def start(self, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "launch.py", *flags], cwd=self.root, env=self.variables | variables,
            capture_output=True, text=True, encoding="utf-8", timeout=600,
        )  # fmt: skip

    def popen(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "launch.py"], cwd=self.root, env=self.variables, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip

    def needs(self, *dependencies: str) -> None:
        lists = {"dependencies": list(dependencies), "llamacpp": ["none"], "test": ["none"]}
        text = "".join(f"{name} = {json.dumps(lines)}\n" for name, lines in lists.items())
        (self.root / "pyproject.toml").write_text(text)

    def lock(self, *versions: str, python: str = "3.10") -> None:
        (self.root / "requirements.lock").write_text("\n".join([f"# Python {python}.1", "# Renew", *versions]) + "\n")

    def without_test_extra(self) -> Tree:
        """The same, but its environment says that it lacks what the tests need."""
        stamp = json.loads(self.stamp.read_text())
        stamp.pop("test", None)
        self.stamp.write_text(json.dumps(stamp, indent=2) + "\n")
        return self

    def folders(self) -> list[str]:
        return sorted(path.name for path in self.root.glob(".venv*"))

    @property
    def stamp(self) -> Path:
        return self.root / ".venv" / "second-take.json"


@pytest.fixture
def tree(tmp_path, wheels) -> Tree:
    return Tree(tmp_path / "second take", wheels)


@pytest.fixture(scope="module")
def installed(tmp_path_factory, wheels) -> tuple[Tree, subprocess.CompletedProcess[str]]:
    """A tree after its first start, in a folder with spaces and letters beyond ASCII."""
    tree = Tree(tmp_path_factory.mktemp("x") / "Zweite Chance für später, 第二", wheels)
    return tree, tree.start("--no-browser", "--port", "7999")


def served(done: subprocess.CompletedProcess[str]) -> dict:
    """What the stand-in for the app was started with."""
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# Flags


@pytest.mark.parametrize("flags", [["--listen"], ["--share"], ["--host", "192.168.0.7"], ["--host", "my-pc"]])
def test_opening_the_page_to_others_without_a_password_is_refused_before_installing(tree, flags):
    done = tree.start(*flags)
    assert done.returncode == 1
    assert "--auth USER:PASSWORD" in done.stderr and flags[0] in done.stderr
    assert not tree.folders()


def test_with_a_password_the_page_listens_on_every_address():
    args = launch.read_flags(["--listen", "--auth", "ada:long: enough"])
    assert (args.host, args.listen, args.auth) == ("0.0.0.0", True, ("ada", "long: enough"))


def test_without_flags_the_page_is_for_this_machine_only():
    args = launch.read_flags([])
    assert (args.host, args.listen, args.share) == ("127.0.0.1", False, False)
    assert (args.port, args.auth, args.browser, args.test) == (None, None, True, None)
    assert not args.locked
    for host in ("localhost", "127.0.0.5", "::1", "[::1]"):
        assert not launch.read_flags(["--host", host]).listen


@pytest.mark.parametrize("text", ["ada", "ada:", ":password1", " :password1", "ada:seven77"])
def test_a_weak_password_is_refused_and_not_repeated(text, capsys):
    with pytest.raises(SystemExit) as stop:
        launch.read_flags(["--listen", f"--auth={text}"])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and "8 characters" in said
    assert "seven77" not in said and "password1" not in said


@pytest.mark.parametrize("port", ["0", "65536", "-1", "web", "7860.5"])
def test_a_port_that_is_none_is_refused(port, capsys):
    with pytest.raises(SystemExit):
        launch.read_flags([f"--port={port}"])
    assert "1 to 65535" in capsys.readouterr().err


# An unfit Python


@pytest.mark.parametrize(
    "pretence", ["sys.version_info = (3, 9, 1)", "sys.version_info = (3, 14, 0)", "sys.maxsize = 2**31 - 1"]
)
def test_an_unfit_python_is_told_which_one_is_needed(pretence):
    run = f"import sys, runpy; {pretence}; runpy.run_path('launch.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", run, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Second Take needs Python 3.10 to 3.13, 64-bit")
    assert "Traceback" not in done.stderr


def test_old_pythons_can_read_launch_py_as_far_as_its_message():
    source = (ROOT / "launch.py").read_bytes()
    assert source.isascii()  # Python 2 refuses other letters before it reads anything
    ast.parse(source, feature_version=(3, 6))
    before, annotated, _ = source.decode().partition("\nNEEDS: str = ")
    assert annotated, "the first line that Python 2 cannot parse must be the message"
    ast.parse(before)
    assert not re.search(r"\bf\"|->|: \w+ =", before)


# The environment


def test_first_start_installs_and_hands_the_flags_over(installed):
    tree, done = installed
    args = served(done)
    assert Path(args["python"]).parent.parent == tree.root / ".venv"
    assert (args["port"], args["browser"], args["model"], args["device"]) == (7999, False, None, "auto")
    assert tree.folders() == [".venv", ".venv-install"]
    assert sorted(path.name for path in (tree.root / ".venv-install").iterdir()) == ["lock", "log.txt", "pid"]


def test_the_pinned_torch_is_taken_and_kept_when_its_index_is_out_of_reach(installed):
    tree, done = installed
    assert "PyTorch's own index does not answer: taking torch==2.13.0" in done.stdout
    assert "installed: PyTorch 2.13.0+cpu, CPU build" in done.stdout  # and not 2.99.0, which fits too
    assert json.loads(tree.stamp.read_text())["torch"] == "2.13.0+cpu"
    assert [path.name for path in tree.root.glob(".venv/**/torch-*.dist-info")] == [
        "torch-2.13.0+cpu.dist-info"
    ]


def test_without_a_prebuilt_llama_cpp_it_goes_on_and_says_so(installed):
    assert "No prebuilt llama.cpp for this machine" in installed[1].stdout


def test_second_start_installs_nothing(installed):
    tree, _ = installed
    before = tree.stamp.stat().st_mtime_ns
    done = tree.start("--offline", "--model", "ein Modell", PIP_FIND_LINKS=os.devnull)
    assert len(done.stdout.splitlines()) == 1
    assert (served(done)["model"], served(done)["hub_offline"]) == ("ein Modell", "1")
    assert tree.stamp.stat().st_mtime_ns == before


def test_test_flag_adds_the_extras_once_and_passes_the_rest_to_pytest(installed):
    tree = installed[0].without_test_extra()
    done = tree.start("--test", "-k", "a name", "--model", "x")
    assert done.returncode == 7
    assert "Adding to the environment: test." in done.stdout
    assert done.stdout.splitlines()[-1] == f"pytest {tree.root} {['-k', 'a name', '--model', 'x']}"
    again = tree.start("--test")
    assert again.returncode == 7 and again.stdout.splitlines() == [f"pytest {tree.root} []"]


def test_changed_dependencies_rebuild_the_environment(installed):
    tree, _ = installed
    left_behind = tree.root / ".venv" / "of the old environment"
    left_behind.touch()
    (tree.root / "pyproject.toml").write_text(PYPROJECT.replace("test-dep>=1", "test-dep>=0.9"))
    done = tree.start()
    assert "Making the environment" in done.stdout and served(done)
    assert not left_behind.exists()
    assert served(tree.start()) and "Making" not in tree.start().stdout


@posix_only
def test_an_interrupted_install_is_repaired_by_the_next_start_while_a_third_one_waits(tree):
    workshop = tree.root / ".venv-install"

    def interrupt(by: signal.Signals) -> tuple[int, str]:
        process = tree.popen()
        while not list(workshop.glob(f"start-{process.pid}/new/bin/python")) and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(by)
        said = process.communicate(timeout=600)[1]
        assert tree.folders() == [".venv-install"]
        return process.returncode, said

    assert interrupt(signal.SIGINT) == (130, "\nStopped. Start again to go on.\n")
    assert not list(workshop.glob("start-*"))
    assert interrupt(signal.SIGKILL) == (-signal.SIGKILL, "")
    (tree.root / ".venv").mkdir()  # an environment without a stamp is not whole either
    (tree.root / ".venv" / "half").touch()

    starts = [tree.popen(), tree.popen()]
    said = [start.communicate(timeout=600)[0] for start in starts]
    assert [start.returncode for start in starts] == [0, 0]
    assert sum("Making the environment" in text for text in said) == 1
    waited = next(text for text in said if "Making" not in text)
    assert "is installing: waiting for it" in waited
    assert not (tree.root / ".venv" / "half").exists()
    assert not list(workshop.glob("start-*"))


def test_ctrl_c_leaves_no_installer_behind(monkeypatch, tmp_path):
    started: list[int] = []

    def interrupted(text: str, final: bool = False) -> None:
        if "Collecting" in text:
            started.append(int(text.split()[-1]))
            raise KeyboardInterrupt

    monkeypatch.setattr(installer, "show", interrupted)
    slow = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])\n"
        "print('Collecting', child.pid, flush=True); time.sleep(100)"
    )
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        installer.Installer(tmp_path, tmp_path / "log.txt", tmp_path).succeeds(
            "x", [sys.executable, "-c", slow]
        )
    assert time.monotonic() - begun < 50
    if os.name == "posix":  # nor what that one started
        while time.monotonic() - begun < 50 and psutil.pid_exists(started[0]):
            if psutil.Process(started[0]).status() == psutil.STATUS_ZOMBIE:
                break
            time.sleep(0.05)
        assert time.monotonic() - begun < 50


def test_a_failed_install_shows_the_last_words_a_remedy_and_the_log(installed):
    tree = installed[0].without_test_extra()
    stamp = tree.stamp.read_text()
    done = tree.start("--test", PIP_FIND_LINKS=str(tree.root / "bin"))
    assert done.returncode == 1
    assert "Could not install what the tests need" in done.stderr and "Traceback" not in done.stderr
    assert "No matching distribution found for second-take-test-pytest" in done.stderr
    assert "see launch.py --doctor" in done.stderr
    assert Path(done.stderr.splitlines()[-1].rpartition(" is in ")[2]).exists()
    assert tree.stamp.read_text() == stamp, "what was whole before still is"
    assert served(tree.start("--offline"))


@posix_only
def test_where_uv_is_on_the_path_it_is_used_and_pip_helps_out_where_it_fails(installed):
    tree = installed[0].without_test_extra()
    uv = tree.root / "bin" / "uv"
    uv.write_text('#!/bin/sh\necho "$@" >> "$0.said"\nexit 1\n')
    uv.chmod(0o755)
    done = tree.start("--test")
    uv.unlink()
    assert done.returncode == 7, done.stderr
    said = Path(f"{uv}.said").read_text()
    assert said.startswith(f"pip install --python {tree.root}/.venv/bin/python --constraint ")
    assert said.endswith("second-take-test-pytest>=1\n")


def test_uv_is_asked_for_an_environment_that_can_be_renamed(monkeypatch, tmp_path):
    ran: list[list[str]] = []
    monkeypatch.setattr(installer.shutil, "which", lambda name: f"/opt/{name}")
    it = installer.Installer(tmp_path / "python", tmp_path / "log.txt", tmp_path)
    monkeypatch.setattr(it, "succeeds", lambda title, command: bool(ran.append(command)) or True)
    it.create(tmp_path / "new")
    assert ran[0][:4] == ["/opt/uv", "venv", "--relocatable", "--seed"]
    assert ran[0][-2:] == [sys.executable, str(tmp_path / "new")]


def test_a_python_that_is_there_and_does_not_run_is_replaced(monkeypatch):
    made: list[bool] = []
    monkeypatch.setattr(environment, "runs_in_place", lambda *_: False)
    monkeypatch.setattr(environment, "ensure", lambda extras, anew, *_: made.append(anew))

    def hand_over(python: str, arguments: list[str]) -> int:
        if not made[-1]:
            raise OSError(8, "Exec format error")
        return 0

    monkeypatch.setattr(launch, "hand_over", hand_over)
    assert launch.main(["--no-browser"]) == 0 and made == [False, True]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00"])
def test_a_stamp_that_is_damaged_is_none(monkeypatch, tmp_path, content):
    monkeypatch.setattr(environment, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(environment, "STAMP", tmp_path / "stamp.json")
    environment.STAMP.write_bytes(content)
    assert environment.stamp() == {} and environment.missing(["test"]) == ["dependencies", "test"]


def test_what_is_left_on_the_workbench_is_cleared_unless_another_start_works_there(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "WORKSHOP", tmp_path)
    monkeypatch.setattr(environment, "missing", lambda *_: [])
    left = tmp_path / "start-1"
    (left / "old" / "bin").mkdir(parents=True)
    with open(tmp_path / "lock", "a") as lock:
        assert environment.try_lock(lock.fileno())
        environment.ensure([], False, False)
        assert left.is_dir()
    environment.ensure([], False, False)
    assert not left.exists()


def test_what_a_killed_starts_installer_still_writes_is_cleared_by_the_start_that_installs(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "WORKSHOP", tmp_path)
    orphans = tmp_path / "start-1" / "new" / "pip"
    orphans.mkdir(parents=True)
    with environment.workbench() as bench:
        assert list(tmp_path.glob("start-*")) == [bench]
        orphans.mkdir(parents=True)
    assert not list(tmp_path.glob("start-*"))


def test_a_failed_addition_leaves_the_environment_whole(monkeypatch, tmp_path):
    before = {"torch": "2.13.0", "dependencies": "as wanted"}
    monkeypatch.setattr(environment, "VENV", tmp_path)
    monkeypatch.setattr(environment, "WORKSHOP", tmp_path)
    monkeypatch.setattr(environment, "STAMP", tmp_path / "second-take.json")
    monkeypatch.setattr(environment, "stamp", lambda: dict(before))
    environment.write_stamp(tmp_path, before)

    def fail(*_: object, **__: object) -> None:
        assert not environment.STAMP.exists(), "a kill in here must leave an environment that gets repaired"
        raise CannotStart("no network")

    monkeypatch.setattr(installer.Installer, "add", fail)
    with pytest.raises(CannotStart):
        environment.complete(["test"], tmp_path)
    assert json.loads(environment.STAMP.read_text()) == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_said_in_words(tree):
    tree.root.chmod(0o555)
    done = tree.start()
    tree.root.chmod(0o755)
    assert done.returncode == 1 and done.stderr.startswith("Could not make the environment: ")
    assert "Traceback" not in done.stderr


def test_offline_says_what_is_missing_and_touches_nothing(tree):
    done = tree.start("--offline")
    assert done.returncode == 1 and "start once without it" in done.stderr
    assert not tree.folders()


def test_a_space_installs_nothing_and_needs_no_password(tree):
    args = served(tree.start(SPACE_ID="someone/second-take"))
    assert (args["host"], args["browser"], args["python"]) == ("0.0.0.0", False, sys.executable)
    assert not tree.folders()


def test_an_environment_that_has_the_packages_is_used_as_it_is(tree):
    tree.needs("pip>=20", "packaging")
    assert served(tree.start())["python"] == sys.executable
    assert not tree.folders()
    tree.needs("pip>=9999")  # this one is not new enough
    assert "Packages are missing" in tree.start("--offline").stderr


# Which installer is run, and for which build


def torch_commands(monkeypatch, tmp_path, card=None, uv=None, platform="linux", vendor=True, fails=()):
    """The commands that bring PyTorch, run by a stand-in that fails where a word of `fails` is in them."""
    ran: list[str] = []
    monkeypatch.setattr(installer, "reachable", lambda url: vendor)
    facts = '{"version": "2.13.0", "build": "CPU"}'
    monkeypatch.setattr(installer.subprocess, "check_output", lambda *_, **__: facts)
    it = installer.Installer(tmp_path / "python", tmp_path / "log.txt", tmp_path)
    it.uv = uv
    monkeypatch.setattr(installer.sys, "platform", platform)

    def succeeds(title: str, command: list[str]) -> bool:
        ran.append(" ".join(command[1:]))
        return not any(word in ran[-1] for word in fails)

    monkeypatch.setattr(it, "succeeds", succeeds)
    it.add_torch("torch>=2.7,<3", card)
    return ran


CARD = machine.Gpu("RTX 4090", 24.0, "580.95.05", 8.9)
OLD_CARD = machine.Gpu("GTX 1080", 8.0, "580.95.05", 6.1)
OLD_DRIVER = machine.Gpu("RTX 4090", 24.0, "550.54.15", 8.9)
LAST_DRIVER = machine.Gpu("RTX 5090", 32.0, "570.86.10", 12.0)


@pytest.mark.parametrize(
    "situation, expected",
    [
        ({}, ["--index-url=https://download.pytorch.org/whl/cpu torch>=2.7,<3"]),
        ({"uv": "uv"}, ["--torch-backend=cpu torch>=2.7,<3"]),
        (
            {"uv": "uv", "fails": ["--torch-backend"]},
            ["--torch-backend=cpu", "--index-url=https://download.pytorch"],
        ),
        ({"vendor": False, "uv": "uv"}, ["-I -m pip install --progress-bar=off torch==2.13.0"]),
        ({"fails": ["--index-url"]}, ["--index-url", "--progress-bar=off torch==2.13.0"]),
        ({"card": CARD, "uv": "uv"}, ["--torch-backend=auto torch>=2.7,<3"]),
        ({"card": CARD}, ["/whl/cu130 torch>=2.7,<3"]),
        ({"card": OLD_CARD, "uv": "uv"}, ["--torch-backend=cu126"]),
        ({"card": OLD_DRIVER}, ["/whl/cu126"]),
        ({"card": OLD_DRIVER, "uv": "uv"}, ["--torch-backend=auto"]),
        ({"card": LAST_DRIVER}, ["/whl/cu128"]),
        ({"card": CARD, "vendor": False}, ["--progress-bar=off torch>=2.7,<3"]),
        ({"card": CARD, "platform": "win32"}, ["/whl/cu130"]),
        ({"platform": "win32", "vendor": False}, ["--progress-bar=off torch>=2.7,<3"]),
        ({"platform": "darwin", "uv": "uv"}, ["torch>=2.7,<3"]),
    ],
)
def test_the_build_of_torch_fits_the_machine(monkeypatch, tmp_path, situation, expected):
    ran = torch_commands(monkeypatch, tmp_path, **situation)
    assert len(ran) == len(expected)
    for command, part in zip(ran, expected, strict=True):
        assert part in command
        assert ("index-url" in command) == ("index-url" in part or "/whl/" in part)


@posix_only
def test_the_gpu_is_what_nvidia_smi_says(monkeypatch, tmp_path):
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'NVIDIA GeForce RTX 4090, 24564, 580.95.05, 8.9'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert machine.gpu() == machine.Gpu("NVIDIA GeForce RTX 4090", 24564 / 1024, "580.95.05", 8.9)
    smi.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed: no driver.'\nexit 9\n")
    assert machine.gpu() is None


# The doctor


def test_doctor_names_each_fault_and_what_to_do_without_an_environment(tree):
    done = tree.start("--doctor")
    assert done.returncode == 1, "no package index and no environment: it cannot start"
    assert re.search(r"^FAULT network: the package index does not answer.*\n +-> ", done.stdout, re.MULTILINE)
    assert re.search(r"^note  packages: not installed", done.stdout, re.MULTILINE)
    for word in ("Python 3.", "folder:", "installer:", "GPU:", "memory:", "disk:", "https://huggingface.co"):
        assert word in done.stdout
    assert not tree.folders() and "Traceback" not in done.stderr


def test_doctor_finds_nothing_in_the_way_of_a_whole_environment_and_hands_over(tree):
    tree.needs("pip")
    (tree.root / "app" / "doctor.py").write_text("import sys\nprint('which models fit', sys.argv[1])")
    done = tree.start("--doctor", "--offline", "--data-dir", str(tree.root))
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "Nothing of this keeps Second Take from starting."
    assert f"which models fit {tree.root}" in done.stdout and "network: not looked at" in done.stdout


# The lock


def test_locked_takes_the_versions_of_the_lock_and_an_environment_without_them_is_made_anew(tree, wheels):
    tree.lock("torch==2.99.0", "second-take-test-dep==1.0", "of-another-system==1")
    done = tree.start("--locked")
    assert "installed: PyTorch 2.99.0" in done.stdout and served(done)["locked"]
    before = tree.stamp.stat().st_mtime_ns
    assert served(tree.start("--locked", PIP_FIND_LINKS=os.devnull)) and served(tree.start("--offline"))
    assert tree.stamp.stat().st_mtime_ns == before, "it is used as it is, with the flag and without"
    tree.lock("torch==2.99.0", "second-take-test-dep==2.0")
    done = tree.start("--locked")
    assert done.returncode == 1 and "Could not install the other packages" in done.stderr
    assert "second-take-test-dep==2.0" in done.stderr and served(tree.start("--offline"))


def test_a_python_that_the_lock_is_too_new_for_is_told_which_one_to_take(tree):
    tree.lock("torch==2.13.0", python="3.99")
    done = tree.start("--locked")
    assert done.returncode == 1 and "python3.99 launch.py --locked, or leave --locked out" in done.stderr
    tree.root.joinpath("requirements.lock").unlink()
    assert "requirements.lock is not whole" in tree.start("--locked").stderr
    assert not list(tree.root.glob(".venv"))


def test_the_lock_has_every_package_that_pyproject_lists_in_a_version_that_it_allows():
    versions = dict(line.split("==") for line in environment.lock())
    for part in ("dependencies", "llamacpp", "test"):
        for requirement in map(Requirement, environment.dependencies(part)):
            name = canonicalize_name(requirement.name)
            if requirement.marker is None or requirement.marker.evaluate():
                assert name in versions, f"{name} is not in requirements.lock: {RENEW}"
                assert requirement.specifier.contains(versions[name]), f"{name} {versions[name]}: {RENEW}"


def test_what_is_installed_is_what_pyproject_allows_and_what_the_lock_has():
    versions, newer = dict(line.split("==") for line in environment.lock()), []
    for part in ("dependencies", "llamacpp", "test"):
        for line in environment.dependencies(part):
            assert part == "llamacpp" or environment.is_installed(line), line
            name = installer.name_of(line)
            found = next((each.version for each in metadata.distributions(name=name)), "").split("+")[0]
            if found and found != versions.get(canonicalize_name(name)):
                newer.append(f"{name} {found}")
    if newer:  # a release that came out since is no fault of the program
        pytest.skip(f"not the versions of requirements.lock: {', '.join(newer)}. {RENEW}")


# The lists of packages


def test_the_lists_are_read_as_a_toml_reader_reads_them():
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert environment.dependencies("dependencies") == project["dependencies"]
    assert environment.dependencies("llamacpp") == extras["llamacpp"]
    assert environment.dependencies("test") == [line for line in extras["test"] if "second-take" not in line]


def test_a_space_installs_what_pyproject_lists():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == environment.dependencies("dependencies")


def test_start_needs_only_the_standard_library():
    for file in [ROOT / "launch.py", *(ROOT / "start").glob("*.py")]:
        imports = re.findall(r"^\s*(?:from|import) (\w+)", file.read_text(), re.MULTILINE)
        assert set(imports) <= {*sys.stdlib_module_names, "start", "app", "packaging"}, file
