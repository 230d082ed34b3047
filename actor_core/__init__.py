"""ACTOR (arXiv 2507.04250): repairs over-refusal by moving the activations of one layer.

The files follow the method's own steps:

    presets, prompt_sets, prompts   models and prompts that ship with the program; a user's own
    fetch, weights/                 weights on the disk, checked
    memory, model_shape, in_turns   what fits this machine and is faster on it; what a model needs
    model, loading, few_rows        a model in memory, how it gets there, and what it does faster
    passages, prefill               prompts through its layers, also where it is larger than memory
    generate, judge, coherence      replies and their verdicts
    refusal_odds                    the fast verdict, from the first token
    activations, direction          one read of the prompts; R, the causal direction, the layer
    targets, solve, train           how far to move each prompt; the closed form; the published loop
    delta                           what was learnt: apply, scale, save
    probe, tune                     held-out prompts at any strength; all of it in order
    evaluate, export/               shares with intervals; files that other programs load

Importing the package loads none of them.
"""
