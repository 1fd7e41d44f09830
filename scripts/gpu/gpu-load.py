#!/usr/bin/env python3
"""An MPS client with work always in flight, for the other scripts: prints its pid and SM count, then one line a second.

Not yet run on a GPU. Writes 1 GiB over and over (cuMemsetD8Async); ends, with the CUDA error, when a call fails.
  ./gpu-load.py [device]
"""
import ctypes
import os
import sys
import time

SIZE = 1 << 30
BATCH = 64
cuda = ctypes.CDLL("libcuda.so.1")


def call(name, *arguments):
    status = getattr(cuda, name)(*arguments)
    if status != 0:
        print(f"ended {time.monotonic():.6f} {name} error {status}", flush=True)
        sys.exit(1)


device, context, memory, count = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64(), ctypes.c_int()
call("cuInit", 0)
call("cuDeviceGet", ctypes.byref(device), int(sys.argv[1]) if len(sys.argv) > 1 else 0)
call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
call("cuCtxSetCurrent", context)
call("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(SIZE))
call("cuDeviceGetAttribute", ctypes.byref(count), 16, device)
print(f"pid {os.getpid()} sms {count.value}", flush=True)
told_at = time.monotonic()
while True:
    for _ in range(BATCH):
        call("cuMemsetD8Async", memory, ctypes.c_ubyte(1), ctypes.c_size_t(SIZE), None)
    call("cuCtxSynchronize")
    if time.monotonic() - told_at >= 1:
        call("cuDeviceGetAttribute", ctypes.byref(count), 16, device)
        print(f"alive sms {count.value}", flush=True)
        told_at = time.monotonic()
