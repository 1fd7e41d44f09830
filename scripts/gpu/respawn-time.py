#!/usr/bin/env python3
"""How long a worker takes from its start to its "ready" line, and how much GPU memory one more of it needs.

Not yet run on a GPU. Starts the command beside what runs already, once per percentage, and ends it with SIGTERM.
  ./respawn-time.py --ready 'text of the ready line' --percentages 30,50,80 -- python worker.py --args
Proves: preparation times and the memory that a second generation needs while two run.
"""
import argparse
import os
import signal
import subprocess
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--ready", required=True)
parser.add_argument("--percentages", default="50")
parser.add_argument("--device", default="0")
parser.add_argument("--limit-s", type=float, default=600)
parser.add_argument("command", nargs=argparse.REMAINDER)
options = parser.parse_args()
command = options.command[1:] if options.command[:1] == ["--"] else options.command
if not command:
    parser.error("a command is needed after --")


def used_mib():
    query = ["nvidia-smi", f"--id={options.device}", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout)


print("percentage,ready_s,memory_mib")
for percentage in options.percentages.split(","):
    before, began = used_mib(), time.monotonic()
    environment = {**os.environ, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": percentage}
    worker = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    signal.signal(signal.SIGALRM, lambda *_: worker.terminate())
    signal.setitimer(signal.ITIMER_REAL, options.limit_s)
    ready = any(options.ready in line for line in worker.stdout)
    signal.setitimer(signal.ITIMER_REAL, 0)
    if not ready:
        sys.exit(f"at {percentage} % the worker ended, or took over {options.limit_s} s, without its ready line")
    print(f"{percentage},{time.monotonic() - began:.2f},{used_mib() - before}", flush=True)
    worker.terminate()
    try:
        worker.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        sys.exit("the worker did not end on SIGTERM: not killed, for that is undefined for other MPS clients")
