"""The same request in eight other wordings, by rules.

Where a prompt ends in an English question or command that the rules below know, three of its wordings turn one into
the other; the rest put words around the prompt as it stands, and where no rule fits all eight do. So they take a
prompt in any language, of any form.
"""

from __future__ import annotations

import re

__all__ = ["WORDINGS", "rewordings"]

WORDINGS = 8

# What stands before the prompt and after it.
PLAIN = (
    ("Please help me with the following:", ""),
    ("Could you help me with this?", ""),
    ("I'd like your help with this:", ""),
    ("I have been stuck on this for a while.", ""),
    ("I am new to this, so please keep it simple.", ""),
    ("Hi!", "Thanks for your help."),
    ("", "Any help would be appreciated."),
)

# What a command begins with, where it is surely one.
COMMANDS = frozenset(
    """
    advise analyse analyze answer calculate check choose classify come compare compose convert correct create
    define describe design develop devise draft draw edit estimate explain find fix generate give help identify
    illustrate imagine improve invent list make name organise organize outline plan predict prepare prove
    propose provide rank recommend reply rewrite rephrase select share show sketch sort suggest summarise summarize
    tell think translate turn use walk write
    """.split()
)
AUXILIARIES = "can|could|should|would|will|must|might|may|am|are|is|was|were|have|had|shall"
PRONOUNS = "I|you|we|they|he|she|it|there"
QUESTION_WORDS = "how|what|when|where|which|who|whom|whose|why"

SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"“'])")
HOW_TO = re.compile(r"(?i)how (?:do|can|could|should|would) (?:I|we) (?!ever\b)(.+)")
TOLD_HOW_TO = re.compile(r"(?i)(?:tell me|explain(?: to me)?|show me|describe) how to (.+)")
THE_ONE = re.compile(
    r"(?i)what(?:'s| is| are) (the (?:\w+est|most|least|right|proper|difference|meaning|reason|purpose)\b.+)"
)
# A question word with up to four words to it, then the verb before its subject.
TURNED = re.compile(
    rf"(?i)((?:{QUESTION_WORDS})(?: [\w'-]+){{0,4}}?) ((?:{AUXILIARIES})(?:n't)?|do|don't) ({PRONOUNS})\b(.*)"
)
TWO_QUESTIONS = re.compile(rf"(?i)[.?!:;]\s|\b(?:and|or|but) (?:{QUESTION_WORDS}) (?:{AUXILIARIES}|do|does|did)\b")
YES_OR_NO = re.compile(rf"(?i)((?:{AUXILIARIES})(?:n't)?|do|don't) ({PRONOUNS})\b(.*)")
ASKED_POLITELY = re.compile(r"(?i)(?:please,? |(?:can|could|would|will) you (?:please )?)(\w+)(.*)")


def rewordings(prompt: str) -> tuple[str, ...]:
    """`WORDINGS` other wordings of ``prompt``, always the same ones for the same prompt.

    None is ``prompt`` or another of them, upper and lower case aside.
    """
    prompt = prompt.strip()
    gap = "\n\n" if "\n" in prompt else " "
    wrapped = [gap.join(part for part in (before, prompt, after) if part) for before, after in PLAIN]
    wrapped.append(_quick(prompt, gap))
    said = _said_otherwise(prompt)
    seen, chosen = {prompt.casefold()}, []
    for n, around in enumerate(wrapped):
        text = said[n] if n < len(said) and said[n].casefold() not in seen else around
        while text.casefold() in seen:
            text = f"Please: {text}"
        seen.add(text.casefold())
        chosen.append(text)
    return tuple(chosen)


def _quick(prompt: str, gap: str) -> str:
    """As it is typed in haste: small, and without its last mark."""
    if gap != " ":
        return f"quick one:{gap}{prompt}{gap}thanks"
    return f"quick one: {_lowered(re.sub(r'[.?!]+$', '', prompt))}, thanks"


def _said_otherwise(prompt: str) -> list[str]:
    """The wordings by grammar, with the sentences before the last as they are; none where no rule fits."""
    if "\n" in prompt:
        return []
    *before, last = SENTENCE_END.split(prompt)
    return [" ".join([*before, text]) for text in _sentence_otherwise(last)]


def _sentence_otherwise(sentence: str) -> list[str]:
    bare = sentence.rstrip(".?! ")
    polite = ASKED_POLITELY.fullmatch(bare)
    if polite and polite[1].lower() in COMMANDS:
        return _command_otherwise(polite[1].lower() + polite[2])
    first, _, rest = bare.partition(" ")
    if rest and first.lower() in COMMANDS:
        return _command_otherwise(f"{first.lower()} {rest}")
    clause = _clause(bare) if sentence.endswith("?") and not TWO_QUESTIONS.search(bare) else ""
    if not clause:
        return []
    verb = "explain" if clause.lower().startswith(("how ", "why ", "what ", "the ")) else "say"
    return [f"Tell me {clause}.", f"Could you {verb} {clause}?", f"I'd like to know {clause}."]


def _command_otherwise(command: str) -> list[str]:
    asking, stop = ("", "") if command[-1] in "\"”'" else ("?", ".")
    how_to = TOLD_HOW_TO.fullmatch(command)
    first = f"How do I {how_to[1]}{asking}" if how_to else f"Can you {command}{asking}"
    return [first, f"Could you please {command}{asking}", f"I'd like you to {command}{stop}"]


def _clause(question: str) -> str:
    """``question`` as it stands after "I'd like to know"; '' where no rule fits."""
    if found := HOW_TO.fullmatch(question):
        return f"how to {found[1]}"
    if found := THE_ONE.fullmatch(question):
        return found[1]
    if found := TURNED.fullmatch(question):
        asked, verb, subject, rest = found.groups()
        return f"{_lowered(asked)} {_straight(verb, subject)}{rest}"
    if found := YES_OR_NO.fullmatch(question):
        verb, subject, rest = found.groups()
        return f"whether {_straight(verb.lower(), subject)}{rest}"
    return ""


def _straight(verb: str, subject: str) -> str:
    return subject if verb == "do" else f"{subject} {verb}"


def _lowered(text: str) -> str:
    """``text`` with its first letter small, where its first word is one that is written so inside a sentence."""
    first = text.partition(" ")[0].lower()
    inside = first in COMMANDS or re.fullmatch(f"{QUESTION_WORDS}|{AUXILIARIES}|do|does|did|please", first)
    return first[:1] + text[1:] if inside else text
