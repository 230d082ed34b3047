"""The five steps of the page, a file each.

Each has ``build(page)`` (its parts), ``wire(page)`` (its events) and ``restore(studio, session)``
(what was typed and chosen, put back after a reload), and registers its view: what it shows of a
session.
"""
