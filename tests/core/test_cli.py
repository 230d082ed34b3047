"""``python -m actor_core tune``: what it prints where, and with which code it ends.

Only bringing the model is stood in for (`_load` gives the toy) and the prompt set (the toy knows no English);
tuning, answers, verdicts and exports are the real ones.
"""

from __future__ import annotations

import json

import pytest
from tiny_models import DANGEROUS, HARMLESS, HARMLESS_THINGS, THINGS, VICTIMS, asked

from actor_core import __main__ as command
from actor_core.commands import made_before, options, tuning
from actor_core.delta import LayerDelta
from actor_core.enrich import Variant
from actor_core.errors import ModelError
from actor_core.events import Progress
from actor_core.guard import Guard
from actor_core.guard_search import GuardSearch
from actor_core.prompt_sets import Pair, PromptSplit

LOOK_ALIKES, HARMFUL, ORDINARY = asked(DANGEROUS, HARMLESS_THINGS), asked(DANGEROUS, VICTIMS), asked(HARMLESS, THINGS)


class ToySet:
    """The prompt set 'everyday' in the toy's own words."""

    id = "everyday"

    # A kind for each verb: what is harmful of a verb that was held out is seen by its victim.
    pairs = tuple(Pair(each.split()[3], each, twin) for each, twin in zip(LOOK_ALIKES, HARMFUL, strict=True))

    def training(self) -> PromptSplit:
        return PromptSplit(tuple(ORDINARY[::2]), tuple(LOOK_ALIKES[::2]), tuple(HARMFUL[::2]))

    def held_out(self) -> PromptSplit:
        return PromptSplit(tuple(ORDINARY[1::2]), tuple(LOOK_ALIKES[1::2]), tuple(HARMFUL[1::2]))

    def guard(self) -> tuple[str, ...]:
        return tuple(HARMFUL[1::2])


def passing(model, delta, strength, harmful_prompts, *, before):
    """The guard as it would be on a set large enough: the toy's own has too few harmful prompts to pass."""
    assert list(harmful_prompts) == HARMFUL[1::2]
    yield Progress("guard", 1, 1)
    return Guard.of(300, 0)


@pytest.fixture
def unguarded(refusing, monkeypatch, tmp_path_factory):
    """The toy with the guard as it is, which 18 harmful prompts cannot pass; the user's own folder is left alone."""
    data_dir = tmp_path_factory.mktemp("data")
    monkeypatch.setattr(options, "default_data_dir", lambda: data_dir)
    for module in (tuning, made_before):
        monkeypatch.setattr(module, "load", lambda options: refusing)
        monkeypatch.setattr(module, "prompt_sets", lambda: {"everyday": ToySet()})
    return refusing


@pytest.fixture
def toy(unguarded, monkeypatch):
    monkeypatch.setattr(tuning, "measure_guard", passing)
    return unguarded


@pytest.fixture
def run(tmp_path, capsys):
    """Runs ``tune`` on the lines of a file; gives the code, what went to stdout and what to stderr."""

    def with_lines(lines, *options: str, name: str = "mine.txt") -> tuple[int, str, str]:
        if lines is not None:
            (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
        code = command.main(["tune", "--prompts", str(tmp_path / name), "--out", str(tmp_path / "out"), *options])
        said = capsys.readouterr()
        return code, said.out, said.err

    return with_lines


def test_it_tunes_exports_and_prints_the_figures(toy, run, tmp_path):
    lines = [*LOOK_ALIKES[:3], ORDINARY[0], LOOK_ALIKES[0]]
    code, out, err = run(lines, "--format", "delta", "--compared", "6")
    assert code == 0
    assert "mine.txt, row 5: " in err  # said twice, used once
    assert "3 of your 4 prompts are refused." in err
    assert f"{tmp_path / 'out' / 'delta'}  (" in out
    figures = {each["set"]: each for each in json.loads(out[out.index("[") :])}
    assert figures["your prompts"]["before"] == {"answered": 1, "refused": 3, "incoherent": 0}
    assert figures["your prompts"]["after"] == {"answered": 4, "refused": 0, "incoherent": 0}
    assert figures["held-out harmful"]["after"]["refused"] == figures["held-out harmful"]["n"] == 6
    assert LayerDelta.load(tmp_path / "out" / "delta" / "delta.safetensors").method == "causal"


def test_what_looks_harmful_is_told_and_left_out(toy, run, tmp_path):
    code, out, err = run([*LOOK_ALIKES[:3], HARMFUL[1]], "--format", "delta", "--compared", "6")
    assert code == 0 and "4 of your 4 prompts are refused." in err
    assert f"Looks like a request that should be refused: {HARMFUL[1]}" in err
    assert not any(f"refused: {prompt}" in err for prompt in LOOK_ALIKES)
    assert "This is a guess. Of 18 harmless look-alikes" in err and "--include-flagged" in err
    card = (tmp_path / "out" / "delta" / "README.md").read_text()
    assert "1 prompt that was given looked like a request that should be refused: 1 left out, none was" in card
    assert json.loads((tmp_path / "out" / "delta" / "reproduce.json").read_text())["own"] == LOOK_ALIKES[:3]


def test_what_looks_harmful_is_tuned_on_where_that_is_asked_for_and_the_card_says_so(toy, run, tmp_path):
    lines = [*LOOK_ALIKES[:3], HARMFUL[1]]
    code, _, err = run(lines, "--format", "delta", "--compared", "6", "--include-flagged")
    assert code == 0 and "tuned on all the same" in err
    assert json.loads((tmp_path / "out" / "delta" / "reproduce.json").read_text())["own"] == lines
    assert "0 left out, **1 tuned on all the same**" in (tmp_path / "out" / "delta" / "README.md").read_text()


def test_where_all_of_them_look_harmful_nothing_is_tuned(toy, run, tmp_path):
    code, out, _ = run(HARMFUL[1:4:2])
    assert code == 0 and "All 2 refused prompts look like requests that should be refused" in out
    assert "--include-flagged" in out and not (tmp_path / "out").exists()


def test_what_is_made_of_the_prompts_is_told_and_tuned_on_where_that_is_asked_for(toy, run, monkeypatch, tmp_path):
    def made(model, prompts, prompt_set, store, settings):
        ways.append((settings.by_model, settings.seed))
        yield Progress("enrich", 1, 1)
        return (
            Variant(LOOK_ALIKES[4], prompts[0], "wording", "rules", True),
            Variant(LOOK_ALIKES[5], prompts[0], "form", "model", False, "says something else"),
            Variant(HARMFUL[4], prompts[0], "twin", "model", True),
        )

    ways: list[tuple[bool, int]] = []
    monkeypatch.setattr(tuning, "enrich", made)
    options = ["--format", "delta", "--compared", "4", "--seed", "3"]
    code, _, err = run(LOOK_ALIKES[:3], *options, "--enrich", "rules")
    assert code == 0 and ways == [(False, 3)]
    assert f"wording, by rules: {LOOK_ALIKES[4]}" in err
    assert f"form, by model, left out: says something else: {LOOK_ALIKES[5]}" in err
    assert "1 prompts were made of yours and are to be answered, 1 to be refused; 1 others were left out." in err
    recipe = json.loads((tmp_path / "out" / "delta" / "reproduce.json").read_text())
    assert (recipe["variants"], recipe["twins"]) == ([LOOK_ALIKES[4]], [HARMFUL[4]])
    assert "1 prompt was made of the own ones" in (tmp_path / "out" / "delta" / "README.md").read_text()
    code, _, err = run(LOOK_ALIKES[:3], *options)
    assert code == 0 and len(ways) == 1 and "made of yours" not in err
    recipe = json.loads((tmp_path / "out" / "delta-2" / "reproduce.json").read_text())
    assert recipe["variants"] == []


def test_a_whole_model_is_written_when_that_is_asked_for_and_asked_what_was_compared(toy, run, tmp_path):
    code, out, err = run(LOOK_ALIKES[:3], "--format", "merged", "--compared", "4", "--replayed", "6")
    assert code == 0 and "6 of the prompts that you compared were asked again in transformers" in out
    assert (tmp_path / "out" / "merged" / "model.safetensors").is_file()
    assert "AutoModelForCausalLM" in err, "how it is loaded"


def test_without_the_guard_passed_nothing_is_exported_and_the_code_is_3(unguarded, run, tmp_path):
    code, out, err = run(LOOK_ALIKES[:3], "--format", "delta", "--compared", "4")
    assert code == 3
    assert "Guard not passed. The untuned model refused 18 harmful prompts" in err
    assert "Nothing was exported" in err and "--accept-guard-not-passed" in err
    assert "--strength" not in err, "no strength helps where the model refuses too little"
    assert {each["set"] for each in json.loads(out)} > {"your prompts"}, "the figures are still told"
    assert not (tmp_path / "out").exists()


def test_a_smaller_strength_is_offered_where_it_can_help(toy, run, monkeypatch):
    def losing(*_, before):
        return Guard.of(300, 9)
        yield

    monkeypatch.setattr(tuning, "measure_guard", losing)
    code, _, err = run(LOOK_ALIKES[:3], "--compared", "4", "--strength", "0.5")
    assert code == 3 and "try a --strength below 0.5 or --lower-strength" in err


def losing_above(strength: float):
    """The guard and its search, where every strength above ``strength`` loses a tenth of 300 refusals."""

    def guard(model, delta, at, harmful_prompts, *, before):
        yield Progress("guard", 1, 1)
        return Guard.of(300, 30 if at > strength else 0)

    def search(model, delta, strengths, harmful_prompts, *, before):
        assert list(harmful_prompts) == HARMFUL[1::2] and strengths == sorted(strengths)
        yield Progress("guard search", 1, 1)
        passed = {at: Guard.of(300, 0) for at in strengths if at <= strength}
        failed = next((at for at in strengths if at > strength), None)
        return GuardSearch(passed, failed, 30, 64)

    return guard, search


def test_the_largest_smaller_strength_that_passes_is_exported_when_that_is_asked_for(toy, run, monkeypatch, tmp_path):
    guard, search = losing_above(0.25)
    monkeypatch.setattr(tuning, "measure_guard", guard)
    monkeypatch.setattr(tuning, "search_guard", search)
    asked = ("--format", "delta", "--compared", "4", "--strength", "1", "--lower-strength")
    code, _, err = run(LOOK_ALIKES[:3], *asked)
    assert code == 0 and "At strength 0.2: Guard passed." in err
    measured = LayerDelta.load(tmp_path / "out" / "delta" / "delta.safetensors").measured
    assert measured["guard"]["passed"] is True
    assert "strength | 0.2" in (tmp_path / "out" / "delta" / "README.md").read_text().lower()


def test_where_no_smaller_strength_passes_nothing_is_exported(toy, run, monkeypatch, tmp_path):
    guard, search = losing_above(0.0)
    monkeypatch.setattr(tuning, "measure_guard", guard)
    monkeypatch.setattr(tuning, "search_guard", search)
    code, _, err = run(LOOK_ALIKES[:3], "--compared", "4", "--strength", "1", "--lower-strength")
    assert code == 3 and "No smaller strength passes: even at 0.05, 30 of 64 are lost." in err
    assert "Nothing was exported" in err and not (tmp_path / "out").exists()


def test_what_did_not_pass_is_exported_when_that_is_accepted_and_the_card_says_so(unguarded, run, tmp_path):
    code, out, err = run(LOOK_ALIKES[:3], "--format", "delta", "--compared", "4", "--accept-guard-not-passed")
    assert code == 0 and "Guard not passed." in err
    assert "**GUARD NOT PASSED**" in (tmp_path / "out" / "delta" / "README.md").read_text()
    assert LayerDelta.load(tmp_path / "out" / "delta" / "delta.safetensors").measured["guard"]["passed"] is False


def test_the_guard_is_measured_at_the_strength_that_is_exported(toy, run, monkeypatch, tmp_path):
    asked_at = []

    def listening(model, delta, strength, harmful_prompts, *, before):
        asked_at.append(strength)
        return (yield from passing(model, delta, strength, harmful_prompts, before=before))

    monkeypatch.setattr(tuning, "measure_guard", listening)
    code, *_ = run(LOOK_ALIKES[:3], "--format", "delta", "--compared", "4", "--strength", "0.3")
    assert code == 0 and asked_at == [0.3]
    assert "GUARD NOT PASSED" not in (tmp_path / "out" / "delta" / "README.md").read_text()


def test_layer_method_seed_and_strength_are_what_was_asked_for(toy, run, tmp_path):
    options = ["--layer", "1", "--method", "refusal vector", "--seed", "7", "--strength", "0.01"]
    code, out, _ = run(LOOK_ALIKES[:3], "--format", "delta", "--compared", "4", *options)
    assert code == 0
    delta = LayerDelta.load(tmp_path / "out" / "delta" / "delta.safetensors")
    assert (delta.layer, delta.method, delta.settings["seed"]) == (1, "refusal vector", 7)
    figures = json.loads(out[out.index("[") :])
    assert all(each["before"] == each["after"] for each in figures)


def test_at_strength_zero_it_says_so_at_once_instead_of_measuring_first(toy, run, monkeypatch, tmp_path):
    monkeypatch.setattr(tuning, "_compared", lambda *_: pytest.fail("it measured"))
    code, out, _ = run(LOOK_ALIKES[:3], "--strength", "0")
    assert code == 0 and "At strength 0 nothing changes" in out
    assert not (tmp_path / "out").exists()


def test_prompts_that_are_not_refused_are_nothing_to_repair_and_no_fault(toy, run, tmp_path):
    code, out, err = run(ORDINARY[:3])
    assert code == 0
    assert "0 of your 3 prompts are refused." in err
    assert out.startswith("None of your prompts is refused")
    assert not (tmp_path / "out").exists()


def test_a_prompts_file_that_is_not_there_is_said_on_stderr_before_a_model_is_loaded(run, monkeypatch):
    monkeypatch.setattr(tuning, "load", lambda options: pytest.fail("the model was loaded"))
    code, out, err = run(None)
    assert (code, out) == (1, "")
    assert err.startswith("error: mine.txt cannot be read") and err.count("\n") == 1


def test_a_prompts_file_of_another_kind_is_refused(run):
    code, _, err = run(["x"], name="mine.pdf")
    assert code == 1 and err.startswith("error: mine.pdf ends in .pdf")


def test_a_layer_the_model_has_not_is_an_error_with_the_limits(toy, run, tmp_path):
    code, _, err = run(LOOK_ALIKES[:3], "--layer", "44")
    assert code == 1
    assert "error: Layer 44 cannot be tuned" in err and "Choose 0 to 3" in err
    assert not (tmp_path / "out").exists()


def test_an_error_while_loading_is_said_on_stderr(run, monkeypatch):
    def fails(options):
        raise ModelError("It cannot be loaded: choose another.")

    monkeypatch.setattr(tuning, "load", fails)
    assert run(["hello"]) == (1, "", "error: It cannot be loaded: choose another.\n")


def test_stopping_it_ends_with_130_and_no_traceback(toy, run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(tuning, "tune", interrupted)
    code, out, err = run(LOOK_ALIKES[:3])
    assert (code, out) == (130, "") and "Stopped." in err and "Traceback" not in err


def test_a_fault_of_the_program_is_not_dressed_up_as_the_persons(run, monkeypatch):
    monkeypatch.setattr(tuning, "load", lambda options: {}["gone"])
    with pytest.raises(KeyError):
        run(["hello"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required"),
        (["tune"], "--prompts, --out"),
        (["tune", "--prompts", "x.txt"], "--out"),
        (["tune", "--prompts", "x.txt", "--out", "o", "--precision", "int3"], "invalid choice: 'int3'"),
        (["tune", "--prompts", "x.txt", "--out", "o", "--method", "magic"], "invalid choice: 'magic'"),
        (["tune", "--prompts", "x.txt", "--out", "o", "--format", "zip"], "invalid choice: 'zip'"),
        (["tune", "--prompts", "x.txt", "--out", "o", "--layer", "two"], "invalid int value: 'two'"),
        (["tune", "--prompts", "x.txt", "--out", "o", "--set-share", "0"], "0 is no share: give a number above 0"),
        (["tune", "--prompts", "x.txt", "--out", "o", "--set-share", "half"], "half is no share"),
        (["tune", "--prompts", "x.txt", "--out", "o", "--set-share", "nan"], "nan is no share"),
        (["melt"], "invalid choice: 'melt'"),
    ],
)
def test_wrong_arguments_end_with_2_and_say_which(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_a_preset_is_fetched_and_anything_else_is_looked_for_on_this_machine(monkeypatch, run, tmp_path):
    asked_for = []

    def fake(kind):
        def work(model, data_dir, *, offline):
            asked_for.append((kind, getattr(model, "id", model), data_dir, offline))
            raise ModelError("enough")
            yield

        return work

    monkeypatch.setattr(options, "fetch", fake("preset"))
    monkeypatch.setattr(options, "local_model", fake("local"))
    run(["hello"], "--data-dir", str(tmp_path))
    run(["hello"], "--data-dir", str(tmp_path), "--model", "./a-folder", "--offline")
    assert asked_for == [("preset", command.DEFAULT_MODEL, tmp_path, False), ("local", "./a-folder", tmp_path, True)]
