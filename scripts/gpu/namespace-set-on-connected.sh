#!/usr/bin/env bash
# Whether MPS v3 `namespace set` reaches a client that is already connected.
# Not yet run on a GPU; the verbs are from NVIDIA's documentation of r615. Needs a v3 daemon (-p 3) and gpu-load.py.
#   ./namespace-set-on-connected.sh <server> <namespace>       after `nvidia-cuda-mps-control namespace create`
# Proves: the SM count of a connected client stays (respawn is needed) or changes (the split is live from outside).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
server=${1:?name of the server}
namespace=${2:?name of the namespace}
export CUDA_MPS_PROTOCOL_VERSION=3
export CUDA_MPS_PIPE_DIRECTORY=${FULCRUM_MPS_ROOT:-/run/nvidia-mps}/$server/$namespace
folder=$(mktemp -d)
client="" later=""
trap 'kill $client $later 2>/dev/null || true; rm -rf "$folder"' EXIT

set_share() { timeout 30 nvidia-cuda-mps-control namespace set "$namespace" --active-thread-percentage "$1"; }
sms() { tail -1 "$1" | sed 's/.*sms //'; }

set_share 80
"$here/gpu-load.py" >"$folder/connected" &
client=$!
for _ in $(seq 300); do grep -q '^alive' "$folder/connected" && break; sleep 0.1; done
before=$(sms "$folder/connected")
set_share 40
sleep 5
after=$(sms "$folder/connected")
"$here/gpu-load.py" >"$folder/new" &
later=$!
for _ in $(seq 300); do grep -q '^alive' "$folder/new" && break; sleep 0.1; done
echo "connected client: $before SMs at 80 %, $after SMs after the set to 40 %; a new client: $(sms "$folder/new")"
echo "an SM count that stays may still hide a live change: compare the rate of 'alive' lines before and after"
