#!/usr/bin/env python3
"""The largest gap between the tokens of streamed answers, near rollouts and away from them, while Fulcrum moves an engine.

Not yet run on a GPU. Only the standard library. The engine answers POST /v1/completions with "stream": true.
  FULCRUM_KEY=fk_... ./token-gaps.py --engine http://127.0.0.1:8000 --model m --fulcrum http://127.0.0.1:7070 \\
      --instance chat-0 [--streams 8] [--seconds 600] [--near-s 2]
Let the policy, or pins and overrides, move the instance meanwhile. Proves, for an engine whose workers speak the worker
protocol: a hand-over under load is not felt; weights and KV that two generations share outlive the worker that mapped
them (no answer breaks off, and with temperature 0 the same prompt goes on giving the same text); tensor-parallel ranks do not
leave a collective waiting (tokens would stop).
"""
import argparse
import json
import os
import threading
import time
import urllib.request
from datetime import datetime

parser = argparse.ArgumentParser()
parser.add_argument("--engine", required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--fulcrum", required=True)
parser.add_argument("--instance", required=True)
parser.add_argument("--streams", type=int, default=8)
parser.add_argument("--seconds", type=float, default=600)
parser.add_argument("--near-s", type=float, default=2)
options = parser.parse_args()

PROMPT = "Count from one to two hundred in words."
ends_at = time.time() + options.seconds
gaps, broken, texts = [], [], set()
lock = threading.Lock()


def one_answer():
    body = {"model": options.model, "prompt": PROMPT, "stream": True, "temperature": 0, "max_tokens": 256}
    request = urllib.request.Request(f"{options.engine}/v1/completions", data=json.dumps(body).encode(), method="POST")
    request.add_header("content-type", "application/json")
    before, text = None, []
    with urllib.request.urlopen(request, timeout=120) as answer:
        for line in answer:
            if not line.startswith(b"data: ") or line.strip() == b"data: [DONE]":
                continue
            now = time.time()
            text.append(json.loads(line[6:])["choices"][0]["text"])
            if before is not None:
                with lock:
                    gaps.append((before, now))
            before = now
    with lock:
        texts.add("".join(text))


def stream():
    while time.time() < ends_at:
        try:
            one_answer()
        except Exception as error:  # each is a request that was lost
            with lock:
                broken.append(f"{datetime.now().isoformat()} {error!r}")


def rollouts():
    url = f"{options.fulcrum}/v1/reconfigurations?instance={options.instance}&limit=500"
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {os.environ['FULCRUM_KEY']}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        items = json.load(answer)["items"]
    at = lambda text: datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    return [(at(item["createdAt"]), at(item["endedAt"])) for item in items if item["endedAt"]]


threads = [threading.Thread(target=stream) for _ in range(options.streams)]
began_at = time.time()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
moves = [(a, b) for a, b in rollouts() if b >= began_at]
near, away = [], []
for before, now in gaps:
    is_near = any(now >= a - options.near_s and before <= b + options.near_s for a, b in moves)
    (near if is_near else away).append((now - before) * 1000)
show = lambda of: f"{max(of):.1f} ms largest, {sorted(of)[len(of) // 2]:.1f} ms median of {len(of)}" if of else "none"
print(f"rollouts: {len(moves)}")
print(f"gaps within {options.near_s:g} s of one: {show(near)}")
print(f"gaps away from them: {show(away)}")
print(f"answers that broke off: {len(broken)}; different texts for one prompt: {len(texts)}")
for line in broken[:20]:
    print(f"  {line}")
