#!/usr/bin/env bash
# What a real FAULT and a real Xid look like, beside what the agent reads of them.
# Not yet run on a GPU. Needs PyTorch, an MPS daemon (v2 commands) that may be broken, and root for the kernel's log.
#   CUDA_MPS_PIPE_DIRECTORY=/tmp/nvidia-mps ./faults-as-worded.sh
# Proves: NVML's and nvidia-smi's answers parse on this driver (doctor before), the words for FAULT, and the Xid's line.
set -euo pipefail
doctor() { npx fulcrum agent doctor --json || true; }
status() {
  for server in $(echo get_server_list | timeout 10 nvidia-cuda-mps-control); do
    echo "server $server: $(echo "get_server_status $server" | timeout 10 nvidia-cuda-mps-control)"
  done
}

echo "--- before"; nvidia-smi -q | head -40; status; doctor
since=$(date --iso-8601=seconds)
echo "--- a client that reads outside of its memory"
timeout 120 python3 - <<'PY' || true
import torch
x = torch.zeros(1, device="cuda")
print(x[torch.tensor([10**9], device="cuda")].cpu())
PY
echo "--- after"; status; doctor
journalctl -k --since "$since" 2>/dev/null | grep -i xid || dmesg | grep -i xid | tail -5 || echo "no Xid was logged"
