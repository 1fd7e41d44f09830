#!/usr/bin/env python3
"""Cycles through an engine's SM groups by the hook of docs/engines.md while one answer streams.

Not yet run on a GPU, and no engine has the hook yet. Only the standard library.
  ./pdmux-hook.py --hook http://127.0.0.1:30000/fulcrum/pdmux --engine http://127.0.0.1:30000 [--every-s 2] [--rounds 20]
Proves: a selection is echoed with its SM counts, how long until it runs, and the largest gap between tokens.
"""
import argparse
import json
import threading
import time
import urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("--hook", required=True)
parser.add_argument("--engine", required=True)
parser.add_argument("--every-s", type=float, default=2)
parser.add_argument("--rounds", type=int, default=20)
options = parser.parse_args()


def hook(body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(options.hook, data=data, method="GET" if data is None else "PUT")
    request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


times = []
done = threading.Event()


def stream():
    body = json.dumps({"text": "Count slowly.", "stream": True, "sampling_params": {"max_new_tokens": 100_000, "ignore_eos": True}})
    request = urllib.request.Request(f"{options.engine}/generate", data=body.encode(), method="POST")
    request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as answer:
        for line in answer:
            if line.startswith(b"data:"):
                times.append(time.monotonic())
            if done.is_set():
                return


def gap_ms(since):
    marks = [at for at in times if at >= since]
    return max((b - a for a, b in zip(marks, marks[1:])), default=float("nan")) * 1000


threading.Thread(target=stream, daemon=True).start()
time.sleep(options.every_s * 3)
print(f"largest gap without switching: {gap_ms(0):.1f} ms of {len(times)} tokens")
switching_since = time.monotonic()
state = hook()
selectable = [index for index, (prefill, decode) in enumerate(state["groups"]) if prefill > 0 and decode > 0]
for step in range(options.rounds):
    index, generation = selectable[step % len(selectable)], state["generation"] + 1
    asked_at = time.monotonic()
    hook({"generation": generation, "index": index})
    while (state := hook())["generation"] < generation:
        if time.monotonic() - asked_at > 60:
            raise SystemExit(f"selection {generation} did not run within 60 s: is prefill work coming in?")
        time.sleep(0.005)
    print(f"group {index}: {state['prefillSms']} + {state['decodeSms']} SMs after {(time.monotonic() - asked_at) * 1000:.1f} ms")
    time.sleep(options.every_s)
done.set()
print(f"largest gap with switching: {gap_ms(switching_since):.1f} ms")
