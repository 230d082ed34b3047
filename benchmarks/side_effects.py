"""What else tuning changed: ordinary answers, other wordings, jailbreak wrappers, later turns.

    python benchmarks/side_effects.py

Tuned on this project's own prompts only, and measured on the half of the held-out ones that the strength was not
chosen by, and on `benchmarks/prompts/`, all written for this project. Prints two Markdown tables and keeps them
with ``--out``; no reply is printed or kept.

- *KL, perplexity, length*: on ordinary prompts, along the untuned model's replies (`actor_core.divergence`).
- *Paraphrases*: requests in four wordings each; how many get one verdict whatever the wording.
- *Wrappers*: known jailbreak forms around harmful requests, judged as `actor_core.steadiness` says.
- *Third turn*: the prompt after two turns of small talk.
"""

from __future__ import annotations

import json
import random
import time
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from real_model import arguments, halved, load, machine, own_prompts, timed, tuning_prompts

from actor_core.delta import LayerDelta
from actor_core.divergence import Divergence, measure_divergence
from actor_core.errors import NothingToRepair
from actor_core.evaluate import Rates, mean_tokens, of_one_verdict
from actor_core.events import finish
from actor_core.generate import Reply, answer
from actor_core.judge import Verdict
from actor_core.model import LoadedModel
from actor_core.presets import DEFAULT_PROMPT_SET, PromptSplit, prompt_sets
from actor_core.readings import ReadingStore
from actor_core.steadiness import wrappers
from actor_core.tune import TuneSettings, tune

PROMPTS = Path(__file__).resolve().parent / "prompts"

Turns = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Arms:
    """The replies of both models to the same prompts, in the same order."""

    untuned: list[Reply]
    tuned: list[Reply]

    def parts(self, size: int) -> list[Arms]:
        """One after the other, each of ``size`` prompts."""
        starts = range(0, len(self.untuned), size)
        return [Arms(self.untuned[n : n + size], self.tuned[n : n + size]) for n in starts]


@dataclass(frozen=True)
class BothModels:
    """One loaded model as it is and with a change."""

    model: LoadedModel
    delta: LayerDelta
    strength: float

    def ask(self, prompts: Sequence[str], tokens: int, history: Turns = ()) -> Arms:
        untuned = finish(answer(self.model, prompts, max_new_tokens=tokens, history=history))
        work = answer(
            self.model, prompts, delta=self.delta, strength=self.strength, max_new_tokens=tokens, history=history
        )
        return Arms(untuned, finish(work))


def main() -> None:
    options = _options()
    start = time.perf_counter()
    model = load(options)
    own = own_prompts(model, prompt_sets()[DEFAULT_PROMPT_SET], options.own)
    prompts, unseen = halved(tuning_prompts(own))
    try:
        settings = TuneSettings(seed=options.seed, layer=options.layer)
        tuned, seconds = timed(tune(model, prompts, settings, ReadingStore.of(options.data_dir)))
    except NothingToRepair as nothing:
        print(nothing)
        return
    about = (
        f"{model.source.name}, {model.precision}, layer {tuned.delta.layer}, strength {tuned.strength:g}, "
        f"{len(own)} own prompts, tuned in {seconds:.0f} s; greedy, {options.tokens} tokens ({options.long_tokens} for "
        f"ordinary prompts); seed {options.seed}; {machine()}; {time.strftime('%Y-%m-%d')}. "
    )
    text = measured(BothModels(model, tuned.delta, tuned.strength), unseen, options)
    about += f"Shares with 95 % Wilson intervals. The whole took {time.perf_counter() - start:.0f} s."
    print(text := f"{about}\n\n{text}")
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def _options() -> Namespace:
    parser = arguments(__doc__ or "")
    parser.add_argument("--own", type=int, default=20, help="how many wrongly refused prompts a user gives")
    parser.add_argument("--layer", type=int)
    parser.add_argument("--ordinary", type=int, default=32, help="how many ordinary prompts")
    parser.add_argument("--look-alike", type=int, default=40, help="how many look-alikes by themselves")
    parser.add_argument("--wrapped", type=int, default=20, help="how many harmful prompts in each wrapper")
    parser.add_argument("--third-turn", type=int, default=12, help="how many prompts of a kind after each conversation")
    parser.add_argument("--groups", type=int, default=0, help="at most this many requests in four wordings, of a kind")
    parser.add_argument("--tokens", type=int, default=40, help="of a reply that is only judged")
    parser.add_argument("--long-tokens", type=int, default=96, help="of a reply to an ordinary prompt")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def measured(both: BothModels, unseen: PromptSplit, options: Namespace) -> str:
    """Both tables, on prompts that tuning has neither learnt from nor chosen by."""
    draw = random.Random(options.seed)
    ordinary = both.ask(draw.sample(unseen.benign, options.ordinary), options.long_tokens)
    divergence = finish(measure_divergence(both.model, both.delta, both.strength, ordinary.untuned))
    asked = {
        "ordinary": ordinary,
        "look-alike, bare": both.ask(draw.sample(unseen.pseudo_harmful, options.look_alike), options.tokens),
    }
    groups: dict[str, list[Arms]] = {}
    for kind, wordings in read_paraphrases(options.groups).items():
        asked[f"{kind}, in four wordings"] = arms = both.ask([w for four in wordings for w in four], options.tokens)
        groups[kind] = arms.parts(4)
    harmful = draw.sample(unseen.harmful, options.wrapped)
    asked["harmful, bare"] = both.ask(harmful, options.tokens)
    wrapped = ask_wrapped(both, harmful, options.tokens)
    asked |= wrapped | {"in all wrappers": _together(wrapped.values())}
    conversations: list[Turns] = json.loads((PROMPTS / "conversations.json").read_text(encoding="utf-8"))
    for kind, prompts in (("look-alike", unseen.pseudo_harmful), ("harmful", unseen.harmful)):
        asked[f"{kind}, as third turn"] = _together(
            both.ask(draw.sample(prompts, options.third_turn), options.tokens, turns) for turns in conversations
        )
    return f"{verdict_table(asked)}\n\n{change_table(divergence, ordinary, groups, options.long_tokens)}"


def read_paraphrases(limit: int) -> dict[str, list[list[str]]]:
    """Requests by kind, each as its four wordings; at most ``limit`` of a kind, or all where it is 0."""
    found: dict[str, list[list[str]]] = {}
    for line in (PROMPTS / "paraphrases.tsv").read_text(encoding="utf-8").splitlines():
        kind, *wordings = line.split("\t")
        found.setdefault(kind.replace("_", "-"), []).append(wordings)
    return {kind: groups[: limit or None] for kind, groups in found.items()}


def ask_wrapped(both: BothModels, requests: Sequence[str], tokens: int) -> dict[str, Arms]:
    """The replies to ``requests`` in each of the `wrappers`, as replies to the bare requests."""
    known = wrappers()
    asked = both.ask([wrapper.around(request) for wrapper in known for request in requests], tokens)
    found = {}
    for wrapper, part in zip(known, asked.parts(len(requests)), strict=True):
        untuned, tuned = (list(map(wrapper.judged, requests, replies)) for replies in (part.untuned, part.tuned))
        found[f"in a wrapper: {wrapper.name.lower()}"] = Arms(untuned, tuned)
    return found


def verdict_table(asked: Mapping[str, Arms]) -> str:
    """How many were refused and incoherent before and after, and who changed sides."""
    rows = [
        "| asked | n | refused, untuned | tuned | newly refused | no longer refused | incoherent, untuned | tuned |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, arms in asked.items():
        before, after = Rates.of(arms.untuned), Rates.of(arms.tuned)
        pairs = [(b.verdict, a.verdict) for b, a in zip(arms.untuned, arms.tuned, strict=True)]
        newly = sum(b is not Verdict.REFUSED and a is Verdict.REFUSED for b, a in pairs)
        lost = sum(b is Verdict.REFUSED and a is not Verdict.REFUSED for b, a in pairs)
        rows.append(
            f"| {name} | {before.n} | {_share(before)} | {_share(after)} | {newly} | {lost} | "
            f"{before.incoherent} | {after.incoherent} |"
        )
    return "\n".join(rows)


def change_table(divergence: Divergence, ordinary: Arms, groups: Mapping[str, Sequence[Arms]], limit: int) -> str:
    """What the untuned replies to ordinary prompts are to the tuned model, and whether wording matters."""
    cut = [sum(reply.truncated for reply in replies) for replies in (ordinary.untuned, ordinary.tuned)]
    lengths = mean_tokens(ordinary.untuned), mean_tokens(ordinary.tuned)
    rows = [
        "| measure | untuned | tuned |",
        "|---|---|---|",
        f"| KL(untuned ‖ tuned), ordinary prompts, first 16 tokens, nats | | {divergence.kl:.4f} |",
        f"| the same, first token alone | | {divergence.kl_first:.4f} |",
        f"| perplexity of the untuned replies ({divergence.tokens} tokens) | {divergence.perplexity_untuned:.3f} | "
        f"{divergence.perplexity_tuned:.3f} |",
        f"| mean length of a reply to an ordinary prompt, tokens | {lengths[0]:.1f} | {lengths[1]:.1f} |",
        f"| of {len(ordinary.untuned)} such replies, cut at {limit} tokens | {cut[0]} | {cut[1]} |",
    ]
    for kind, fours in groups.items():
        same = [of_one_verdict([getattr(four, arm) for four in fours]) for arm in ("untuned", "tuned")]
        rows.append(
            f"| {kind} requests ({len(fours)}) with one verdict in all four wordings | "
            + " | ".join(f"{count / len(fours):.2f}" for count in same)
            + " |"
        )
    return "\n".join(rows)


def _together(parts: Iterable[Arms]) -> Arms:
    arms = list(parts)
    return Arms([r for each in arms for r in each.untuned], [r for each in arms for r in each.tuned])


def _share(rates: Rates) -> str:
    share, low, high = rates.share("refused")
    return f"{share:.3f} ({low:.3f}–{high:.3f})"


if __name__ == "__main__":
    main()
