#!/usr/bin/env python3
"""How many CUs a queue gets under HSA_CU_MASK as the agent writes it, for shares of the GPU: `0:0-31` is 32 CUs of GPU 0.

Not yet run on a GPU. Needs the ROCm runtime (libhsa-runtime64.so); only the standard library.
  ./cu-mask-readback.py [--gpu 0] [--step 10]
Proves: a mask in the environment of a process that starts takes effect in its own queues, and what
hsa_amd_queue_cu_get_mask gives for them, which is what a worker should tell as smCount.
"""
import argparse
import ctypes
import os
import subprocess
import sys

GPU, AGENT_INFO_DEVICE, AGENT_INFO_CU_COUNT = 1, 17, 0xA002  # hsa.h, hsa_ext_amd.h


class Handle(ctypes.Structure):
    _fields_ = [("handle", ctypes.c_uint64)]


def check(status, what):
    if status != 0:
        sys.exit(f"{what}: hsa status 0x{status:x}")


def count(gpu):
    hsa = ctypes.CDLL("libhsa-runtime64.so.1")
    check(hsa.hsa_init(), "hsa_init")
    gpus = []

    @ctypes.CFUNCTYPE(ctypes.c_int, Handle, ctypes.c_void_p)
    def see(agent, _):
        kind = ctypes.c_uint32()
        check(hsa.hsa_agent_get_info(agent, AGENT_INFO_DEVICE, ctypes.byref(kind)), "device type")
        if kind.value == GPU:
            gpus.append(agent.handle)
        return 0

    check(hsa.hsa_iterate_agents(see, None), "hsa_iterate_agents")
    agent = Handle(gpus[gpu])
    units = ctypes.c_uint32()
    check(hsa.hsa_agent_get_info(agent, AGENT_INFO_CU_COUNT, ctypes.byref(units)), "CU count")
    queue = ctypes.c_void_p()
    size, most = ctypes.c_uint32(1024), ctypes.c_uint32(0xFFFFFFFF)
    check(hsa.hsa_queue_create(agent, size, 0, None, None, most, most, ctypes.byref(queue)), "hsa_queue_create")
    words = (units.value + 31) // 32
    mask = (ctypes.c_uint32 * words)()
    check(hsa.hsa_amd_queue_cu_get_mask(queue, ctypes.c_uint32(words * 32), mask), "hsa_amd_queue_cu_get_mask")
    print(units.value, sum(bin(word).count("1") for word in mask))


parser = argparse.ArgumentParser()
parser.add_argument("--gpu", type=int, default=0)
parser.add_argument("--step", type=int, default=10)
parser.add_argument("--count", action="store_true", help=argparse.SUPPRESS)
options = parser.parse_args()
if options.count:
    count(options.gpu)
    sys.exit()


def seen(mask):
    environment = {**os.environ, **({} if mask is None else {"HSA_CU_MASK": mask})}
    command = [sys.executable, __file__, "--count", "--gpu", str(options.gpu)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout.split()


units = int(seen(None)[0])
print(f"{units} CUs; without a mask a queue has {seen(None)[1]}")
for pct in range(options.step, 101, options.step):
    asked = max(1, units * pct // 100)
    got = int(seen(f"{options.gpu}:0-{asked - 1}")[1])
    print(f"{pct:3d} %: asked {asked:3d} CUs, the queue has {got:3d}{'' if got == asked else '  <-- differs'}")
