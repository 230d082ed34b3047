"""The promises, each with what tries to break it: a few attempts in the tests, all of them by the command."""

from __future__ import annotations

import bad_prompt_files
import exposed
import hostile_models
from attempts import Promise

__all__ = ["PROMISES"]

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
)
