"""What imports what, who prints, and that names are what they say."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import actor_core

CORE = Path(actor_core.__file__).parent
FILES = sorted(CORE.rglob("*.py"))
NAMES = [file.relative_to(CORE.parent).as_posix() for file in FILES]
each_file = pytest.mark.parametrize("file", FILES, ids=NAMES)


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(CORE.parent).with_suffix("").parts).removesuffix(".__init__")


def imported(file: Path) -> set[str]:
    """The top-level names of everything that the file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name} imports by a relative name"
            found.add((node.module or "").split(".")[0])
    return found


def test_there_are_files_to_look_at():
    assert {"actor_core/tune.py", "actor_core/export/__init__.py", "actor_core/weights/hub.py"} <= set(NAMES)


@each_file
def test_the_core_imports_neither_the_page_nor_the_launcher(file):
    assert not imported(file) & {"gradio", "app", "launch", "start", "benchmarks", "tests"}


@each_file
def test_only_the_command_line_prints(file):
    if file.name == "__main__.py" or file.parent.name == "commands":
        return
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{file.name}:{node.lineno} prints"


@each_file
def test_no_file_is_named_for_nothing_in_particular(file):
    assert file.stem not in {"utils", "util", "helpers", "helper", "common", "misc"}


@each_file
def test_every_file_opens_by_saying_what_it_is_for(file):
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))


@each_file
def test_every_name_in_all_exists_and_none_is_private(file):
    module = importlib.import_module(module_name(file))
    names = getattr(module, "__all__", [])
    assert len(names) == len(set(names))
    for name in names:
        assert hasattr(module, name) and not name.startswith("_")


def test_importing_the_package_loads_none_of_its_parts():
    check = "import sys, actor_core; print([m for m in sys.modules if m.startswith(('actor_core.', 'torch'))])"
    done = subprocess.run([sys.executable, "-c", check], cwd=CORE.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
