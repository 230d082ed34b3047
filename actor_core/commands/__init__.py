"""What each command of ``python -m actor_core`` does; its options are in `actor_core.__main__`."""
