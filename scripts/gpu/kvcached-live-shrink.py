#!/usr/bin/env python3
"""How long a kvcached engine under load takes to come under a lower limit, and whether the exact start-up value works.

Not yet run on a GPU. Run it on an engine that has not been limited yet and is under load.
  ./kvcached-live-shrink.py /dev/shm/kvcached_x --bundle-mib 128 [--share 0.5] [--limit-s 300]
Proves: the shrink needs no restart, the time until used <= limit, and kvcached #498 (a growth back to exactly the
start-up total is ignored; the load must be high enough to use more than the lower limit).
"""
import argparse
import fcntl
import mmap
import struct
import time

FIELDS = struct.Struct("=3q")
parser = argparse.ArgumentParser()
parser.add_argument("segment")
parser.add_argument("--bundle-mib", type=int, required=True, help="page x layers x KV buffers")
parser.add_argument("--share", type=float, default=0.5)
parser.add_argument("--limit-s", type=float, default=300)
options = parser.parse_args()


def fields(limit=None):
    with open(options.segment, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with mmap.mmap(file.fileno(), FIELDS.size) as view:
            total, used, prealloc = FIELDS.unpack_from(view)
            if limit is not None:
                view[0:8] = struct.pack("=q", limit)
                total = limit
            return total, used, prealloc


def wait(what, reached):
    began = time.monotonic()
    while time.monotonic() - began < options.limit_s:
        total, used, prealloc = fields()
        if reached(used):
            print(f"{what}: {time.monotonic() - began:.3f} s, used {used}, prealloc {prealloc}, limit {total}")
            return
        time.sleep(0.02)
    print(f"{what}: not within {options.limit_s} s; used {used}, limit {total}")


bundle = options.bundle_mib * 2**20
start, used_at_start, _ = fields()
lower = max(bundle, int(start * options.share) // bundle * bundle)
print(f"start-up total {start}, used {used_at_start}, lower limit {lower}")
try:
    fields(lower)
    wait("under the lower limit", lambda used: used <= lower)
    fields(start)
    wait("above it again at exactly the start-up total (#498: never)", lambda used: used > lower)
finally:
    fields(start // bundle * bundle - bundle)
wait("above it again at one bundle less", lambda used: used > lower)
