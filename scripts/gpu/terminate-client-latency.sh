#!/usr/bin/env bash
# How long `terminate_client` takes for a client with work in flight, and whether a second client lives through it.
# Not yet run on a GPU. Needs an MPS daemon (v2 commands) and gpu-load.py beside it.
#   CUDA_MPS_PIPE_DIRECTORY=/tmp/nvidia-mps ./terminate-client-latency.sh [rounds]
# Proves: terminate_client ends one client within the agent's deadline and leaves the others and the server ACTIVE.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
rounds=${1:-10}
folder=$(mktemp -d)
bystander=""
trap 'kill $bystander 2>/dev/null || true; rm -rf "$folder"' EXIT

"$here/gpu-load.py" >"$folder/bystander" &
bystander=$!
for _ in $(seq 300); do grep -q '^pid' "$folder/bystander" && break; sleep 0.1; done
server=$(echo get_server_list | timeout 10 nvidia-cuda-mps-control | head -1)

for round in $(seq "$rounds"); do
  "$here/gpu-load.py" >"$folder/victim" &
  victim=$!
  for _ in $(seq 300); do grep -q '^alive' "$folder/victim" && break; sleep 0.1; done
  began=$(date +%s%N)
  echo "terminate_client $server $victim" | timeout 60 nvidia-cuda-mps-control
  answered=$(date +%s%N)
  wait "$victim" || true
  gone=$(date +%s%N)
  echo "round $round: answered after $(((answered - began) / 1000000)) ms, gone after $(((gone - began) / 1000000)) ms," \
    "server $(echo "get_server_status $server" | timeout 10 nvidia-cuda-mps-control)"
  kill -0 "$bystander" || { echo "the other client died with it"; exit 1; }
done
