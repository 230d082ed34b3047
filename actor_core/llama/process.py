"""llama.cpp in a process of its own: a fault in native code ends it alone, and its memory goes back.

Started by `server` as a script. The first line of the standard input is one JSON object::

    {"model": path, "adapter": path or "", "socket": path or "", "threads": n, "context": tokens, "slots": n}

and each further line asks for one reply::

    {"ids": [token id, ...], "scale": 0.0, "tokens": n, "top": n, "slot": n, "reads_on": bool}

It is answered, on the standard output, with the reply's text in pieces as it comes, and then the whole::

    {"piece": "..."}
    {"token": id, "text": "...", "truncated": bool, "logprobs": {id: log-probability}}

where token and logprobs are those of the reply's first token; there are none where ``top`` is 0. One that reads on
takes what its slot has read already of the same tokens. It imports the standard library and xllamacpp alone.
"""

from __future__ import annotations

import json
import secrets
import sys
from typing import Any

import xllamacpp


def main() -> None:
    server = xllamacpp.Server(_parameters(json.loads(sys.stdin.readline())))
    for line in sys.stdin:
        _say(_reply(server, json.loads(line)))


def _parameters(wanted: dict[str, Any]) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = wanted["model"]
    if wanted["adapter"]:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(wanted["adapter"], 1.0)]
    params.n_ctx = wanted["context"] * wanted["slots"]
    params.n_parallel = wanted["slots"]
    params.n_gpu_layers = 0
    params.warmup = False
    params.cpuparams.n_threads = wanted["threads"]
    params.cpuparams_batch.n_threads = wanted["threads"]
    params.verbosity = 1
    params.ui = False
    params.n_threads_http = 1
    # Its server listens on something: a socket file in a private folder, where the system has such
    # files, and no port; elsewhere a port of this machine alone, with a key that nobody knows.
    if wanted["socket"]:
        params.hostnames = [wanted["socket"]]
    else:
        params.api_keys = [secrets.token_hex(32)]
    return params


def _reply(server: xllamacpp.Server, ask: dict[str, Any]) -> dict[str, Any]:
    chunks: list[dict[str, Any]] = []

    def came(chunk: dict[str, Any]) -> bool:
        if "choices" in chunk and chunk["choices"][0]["text"]:
            _say({"piece": chunk["choices"][0]["text"]})
        chunks.append(chunk)
        return "choices" not in chunk  # a fault ends it

    result = server.handle_completions(
        {
            "prompt": ask["ids"],
            "max_tokens": ask["tokens"],
            "temperature": 0,
            "top_k": 1,
            "repeat_penalty": 1.0,
            "n_probs": ask["top"],
            "cache_prompt": ask["reads_on"],
            "id_slot": ask["slot"],
            "lora": [{"id": 0, "scale": ask["scale"]}],
            "stream": True,
        },
        came,
    )
    for answer in (result, *chunks):
        if answer is not None and "choices" not in answer:
            raise RuntimeError(json.dumps(answer)[:500])
    choices = [chunk["choices"][0] for chunk in chunks]
    first = choices[0]["logprobs"]["content"][0] if ask["top"] else {"id": None, "top_logprobs": []}
    return {
        "token": first["id"],
        "text": "".join(choice["text"] for choice in choices),
        "truncated": choices[-1]["finish_reason"] == "length",
        "logprobs": {entry["id"]: entry["logprob"] for entry in first["top_logprobs"]},
    }


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
