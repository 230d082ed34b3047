"""The promises, each with what tries to break it: a few attempts in the tests, all of them by the command."""

from __future__ import annotations

import bad_prompt_files
import both_ends
import cut_downloads
import exposed
import full_disk
import hostile_models
import interrupted_installs
import not_finite
import out_of_memory
import private
import soak
import visitors
from attempts import Held, Promise

__all__ = ["ALREADY", "NOT_PROMISED", "PROMISES"]

PROMISES = (
    Promise(
        "password",
        "A page that is open to others gives nothing without the password",
        "every route of the app with every method, without having signed in",
        exposed.without_password,
        short=200,
        full=200,
    ),
    Promise(
        "guessing",
        "Wrong passwords are slowed, from one address and from many",
        "passwords in a row; then by the clock a day from one address, and an hour from 100,000",
        exposed.wrong_passwords,
        short=12,
        full=500,
    ),
    Promise(
        "files",
        "No address gives a file that is not the visitor's own",
        "path traversals, encoded ones, file and proxy addresses, and files as values that were never uploaded",
        exposed.crafted_addresses,
        short=60,
        full=1000,
    ),
    Promise(
        "hostile folders",
        "A model folder of somebody else runs no code, does not hang and takes no memory that it has no use for",
        "remote code fields, pickles, headers, sizes, dtypes and chat templates, each loaded with 10 s and 1 GiB",
        hostile_models.folders,
        short=8,
        full=100,
    ),
    Promise(
        "mutated headers",
        "A damaged GGUF or safetensors file is refused in words, or read, within 10 s and 1 GiB",
        "headers with up to eight changes, read by this program and then by its libraries",
        hostile_models.headers,
        short=100,
        full=10_000,
    ),
    Promise(
        "conversions",
        "A mutated GGUF file that passes the look at its header is converted, or not, within 10 s and 1 GiB",
        "whole conversions of files with up to eight changes",
        hostile_models.conversions,
        short=5,
        full=300,
    ),
    Promise(
        "bad prompt files",
        "A prompt file is read rightly or refused with a clear message, never with a traceback",
        "files that people give by mistake or to harm, as files and pasted",
        bad_prompt_files.fixed,
        short=60,
        full=100,
    ),
    Promise(
        "generated prompts",
        "Any bytes and any text are read or refused clearly, and what is written as a list comes back as it is",
        "examples that Hypothesis makes: bytes, text, lists in five encodings, tables",
        bad_prompt_files.generated,
        short=60,
        full=2000,
    ),
    Promise(
        "not finite",
        "NaN or infinity in weights, states, the solve or the change never reaches an export",
        "one number spoilt, then tuning and every kind of export; each file is read again",
        not_finite.attempts,
        short=2,
        full=40,
    ),
    Promise(
        "out of memory",
        "Where memory runs out the message names the setting to change, and the next action works",
        "CUDA's and the CPU's errors at random passes of asking, tuning, the guard, loading and exporting",
        out_of_memory.attempts,
        short=5,
        full=40,
    ),
    Promise(
        "downloads",
        "A download that was cut, stopped or wrong ends in the right file, or says why not",
        "cut at random bytes, stopped, wrong bytes and lengths, a hub that hangs, an index that lacks a part",
        cut_downloads.attempts,
        short=7,
        full=140,
    ),
    Promise(
        "full disk",
        "A full disk is a message, nothing is half written, and with room again the work goes on",
        "five steps on a disk that is really full after 0 to 120 kB more",
        full_disk.attempts,
        short=0,
        full=60,
    ),
    Promise(
        "privacy",
        "Nothing leaves this machine unasked, no log holds a prompt, and files are readable by their owner alone",
        "a server driven through five steps: each socket and name looked up, each log, each file",
        private.attempts,
        short=0,
        full=100,
    ),
    Promise(
        "eight at once",
        "Eight visitors at once get what each gets alone, and none sees another's prompts",
        "rounds of eight who ask, tune and compare at the same time; the line of jobs grows meanwhile",
        visitors.at_once,
        short=8,
        full=80,
    ),
    Promise(
        "stop",
        "Stop ends any work within 5 s, and the line is free afterwards",
        "random moments of loading, asking, tuning, comparing and a strength",
        visitors.stops,
        short=10,
        full=50,
    ),
    Promise(
        "leaving",
        "Who goes away in the middle of a call leaves no job behind",
        "calls that are cancelled at random moments, each followed by another visitor's",
        visitors.leaving,
        short=0,
        full=20,
    ),
    Promise(
        "killed",
        "After kill -9 prompts and earlier runs are there, whole",
        "a process killed at random moments of asking, tuning and comparing",
        visitors.killed,
        short=5,
        full=40,
    ),
    Promise(
        "soak",
        "Memory and open files stay where they were",
        "rounds of tuning, comparing and exporting on one model",
        soak.attempts,
        short=0,
        full=200,
    ),
    Promise(
        "interrupted",
        "An installation that was interrupted, or an environment that broke, is mended by the next start",
        "Ctrl-C and kill -9 at ten places, and .venv broken in twelve ways, in a folder with spaces and letters beyond "
        "ASCII",
        interrupted_installs.attempts,
        short=0,
        full=100,
    ),
    Promise(
        "bounds",
        "The program works with the lowest and the newest versions that pyproject.toml allows",
        "each bound, and the tests of the core and of the app (a count is of their files), in an environment with the "
        "lowest and one with the newest (PyTorch the same in both)",
        both_ends.attempts,
        short=0,
        full=200,
    ),
)

# Held by tests that were there: the command runs them and counts.
ALREADY = (
    Held(
        "exports",
        "An export that is killed, or whose disk fills, leaves whole folders or nothing",
        "killed at 100 random moments, a file replaced at 100 more, every kind on a disk that is really full",
        ("tests/core/test_export_killed.py",),
    ),
    Held(
        "runs",
        "Earlier runs are whole or not there, whatever happened while they were written",
        "damaged, cut, foreign and linked files, full disks, other visitors' ids, all caps",
        ("tests/app/test_history.py", "tests/app/test_left_runs.py"),
    ),
    Held(
        "sources",
        "A download from any source is the right file or an error that names each source",
        "sources in order, digests, faults in words",
        ("tests/core/test_fetch.py", "tests/core/test_local_model.py"),
    ),
    Held(
        "installs",
        "An installation that was interrupted is repaired by the next start, and a fault is said in words",
        "interrupted and failed installers, no network, wrong Pythons, broken environments, folders that take nothing",
        ("tests/test_launch.py",),
    ),
)

NOT_PROMISED = (
    "Models stay on the disk until they are deleted by hand. All else that grows has a cap: a visitor's exports (200, "
    "or 40 GB, the oldest offered for deletion from half of that) and all visitors' (2,000, or 60 GB), runs (1,000, or "
    "10 GB), sessions (2,000), uploads and downloads of the page (2 GB), journals (200), readings (24 files, or 4 "
    "GB), the log (3 MB).",
    "A chat template is tried with three conversations. One that is made to harm only at certain words is not found by "
    "that; the sandbox keeps it from the machine, but not from keeping a processor busy.",
    "Limits of memory in child processes hold on Linux alone; limits of time everywhere.",
    "Who has the password shares the server with all others who have it: ids of sessions keep visitors apart, and "
    "nothing else does.",
    "Eight visitors who use one machine at once wait for each other: jobs run one after the other.",
)
