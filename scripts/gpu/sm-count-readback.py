#!/usr/bin/env python3
"""Prints, for every MPS percentage, the SM count that a client sees: the table of how the hardware rounds.

Not yet run on a GPU. Needs the NVIDIA driver and a running MPS daemon; nothing else (libcuda through ctypes).
  CUDA_MPS_PIPE_DIRECTORY=/tmp/nvidia-mps ./sm-count-readback.py [device] > sm-counts.csv
Proves: percentage -> SM count rounds down to whole TPCs, and that a wrong pipe directory shows as the full count.
"""
import ctypes
import os
import subprocess
import sys

MULTIPROCESSOR_COUNT = 16  # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT


def sm_count(ordinal):
    cuda = ctypes.CDLL("libcuda.so.1")
    device, context, count = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_int()
    for name, arguments in (
        ("cuInit", (0,)),
        ("cuDeviceGet", (ctypes.byref(device), ordinal)),
        ("cuDevicePrimaryCtxRetain", (ctypes.byref(context), device)),
        ("cuDeviceGetAttribute", (ctypes.byref(count), MULTIPROCESSOR_COUNT, device)),
    ):
        status = getattr(cuda, name)(*arguments)
        if status != 0:
            raise SystemExit(f"{name} failed with CUDA error {status}")
    return count.value


def main():
    if os.environ.get("FULCRUM_PROBE") == "1":
        print(sm_count(int(sys.argv[1])))
        return
    ordinal = sys.argv[1] if len(sys.argv) > 1 else "0"
    print("percentage,sm_count")
    for percentage in range(1, 101):
        # A process each: the percentage is fixed when a process makes its context.
        probe = subprocess.run(
            [sys.executable, __file__, ordinal],
            env={**os.environ, "FULCRUM_PROBE": "1", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(percentage)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        if probe.returncode != 0:
            raise SystemExit(f"at {percentage} %: {probe.stderr.strip()}")
        print(f"{percentage},{probe.stdout.strip()}", flush=True)


main()
