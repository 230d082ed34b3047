"""What happens before any package is there: the environment, its installer, the machine, the check-up.

Standard library only. Nothing here is imported by `app` or `actor_core`.
"""


class CannotStart(Exception):
    """Something that a person has to change first; the message says what happened and what to do."""
