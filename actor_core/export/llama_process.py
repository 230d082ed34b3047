"""llama.cpp in a process of its own: a fault in native code ends it alone, and its memory goes back.

Started by `llama` as a script, with one JSON object on the standard input::

    {"model": path, "adapter": path or "", "socket": path or "", "threads": n, "top": n,
     "asks": [{"ids": [token id, ...], "scale": 0.0, "tokens": n}, ...]}

and answering, on the standard output, with one line of JSON for each of the asks, in their order::

    {"token": id, "text": "...", "truncated": bool, "logprobs": {id: log-probability}}

where token and logprobs are those of the reply's first token. It imports the standard library and xllamacpp alone.
"""

from __future__ import annotations

import json
import secrets
import sys
from typing import Any

import xllamacpp


def main() -> None:
    asked = json.load(sys.stdin)
    server = xllamacpp.Server(_parameters(asked))
    for ask in asked["asks"]:
        sys.stdout.write(json.dumps(_reply(server, ask, asked["top"])) + "\n")
        sys.stdout.flush()


def _parameters(asked: dict[str, Any]) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = asked["model"]
    if asked["adapter"]:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(asked["adapter"], 1.0)]
    params.n_ctx = max(len(ask["ids"]) + ask["tokens"] for ask in asked["asks"]) + 64
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.warmup = False
    params.cpuparams.n_threads = asked["threads"]
    params.cpuparams_batch.n_threads = asked["threads"]
    params.verbosity = 1
    params.ui = False
    params.n_threads_http = 1
    # Its server listens on something: a socket file in a private folder, where the system has such
    # files, and no port; elsewhere a port of this machine alone, with a key that nobody knows.
    if asked["socket"]:
        params.hostnames = [asked["socket"]]
    else:
        params.api_keys = [secrets.token_hex(32)]
    return params


def _reply(server: xllamacpp.Server, ask: dict[str, Any], top: int) -> dict[str, Any]:
    result = server.handle_completions(
        {
            "prompt": ask["ids"],
            "max_tokens": ask["tokens"],
            "temperature": 0,
            "top_k": 1,
            "repeat_penalty": 1.0,
            "n_probs": top,
            "cache_prompt": False,
            "lora": [{"id": 0, "scale": ask["scale"]}],
        }
    )
    if "choices" not in result:
        raise RuntimeError(json.dumps(result)[:500])
    choice = result["choices"][0]
    first = choice["logprobs"]["content"][0]
    return {
        "token": first["id"],
        "text": choice["text"],
        "truncated": choice["finish_reason"] == "length",
        "logprobs": {entry["id"]: entry["logprob"] for entry in first["top_logprobs"]},
    }


if __name__ == "__main__":
    main()
