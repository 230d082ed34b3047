"""The promises, each with what tries to break it: a few attempts in the tests, all of them by the command."""

from __future__ import annotations

import exposed
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
)
