#!/usr/bin/env bash
# Whether SGLang starts with the groups file that the agent wrote, one division (sm_group_num: 3), and answers.
# Not yet run on a GPU. Needs SGLang and a model.
#   ./pdmux-start.sh <groups.yaml> <model path> [port]
# Proves: the file's format and its single division are accepted, and what the engine logs of its groups.
set -euo pipefail
groups=$1
model=$2
port=${3:-30000}
log=$(mktemp)
engine=""
trap 'kill $engine 2>/dev/null || true; rm -f "$log"' EXIT

cat "$groups"
python3 -m sglang.launch_server --model-path "$model" --port "$port" --enable-pdmux --pdmux-config-path "$groups" \
  --chunked-prefill-size -1 --disable-overlap-schedule >"$log" 2>&1 &
engine=$!
for _ in $(seq 600); do
  kill -0 "$engine" || { echo "the engine ended:"; tail -30 "$log"; exit 1; }
  curl -fs "http://127.0.0.1:$port/health" >/dev/null && break
  sleep 1
done
curl -fs --max-time 60 "http://127.0.0.1:$port/generate" -H 'content-type: application/json' \
  -d '{"text": "One, two,", "sampling_params": {"max_new_tokens": 16}}'
echo
grep -iE 'sm|group|pdmux|green' "$log" | tail -20
