#!/usr/bin/env bash
# Restarts a Semi-PD engine at several splits and prints the SM counts that its workers log.
# Not yet run on a GPU. The unit must read the file (EnvironmentFile=) and append its output to the log.
#   ./semi-pd-readback.sh <env file> <log file> <health URL> systemctl restart semi-pd.service
# Proves: the file reaches both workers, the "Available SMs" lines come after each restart, and how long it is away.
set -euo pipefail
env_file=${1:?the environment file}
log_file=${2:?the log file}
health=${3:?the health URL}
shift 3
[ $# -gt 0 ] || { echo "the restart command is missing" >&2; exit 2; }
old=$(cat "$env_file" 2>/dev/null || true)
trap 'printf "%s\n" "$old" >"$env_file"; "$@" || true' EXIT

for split in "80 100" "60 40" "30 70"; do
  read -r prefill decode <<<"$split"
  printf 'SEMI_PD_PREFILL_SM_PERCENTILE=%s\nSEMI_PD_DECODE_SM_PERCENTILE=%s\n' "$prefill" "$decode" >"$env_file"
  from=$(($(stat -c %s "$log_file" 2>/dev/null || echo 0) + 1))
  began=$SECONDS
  "$@"
  until curl -fsS -o /dev/null --max-time 5 "$health"; do
    [ $((SECONDS - began)) -lt 1800 ] || { echo "not well within 30 minutes" >&2; exit 1; }
    sleep 1
  done
  echo "prefill $prefill %, decode $decode %: away $((SECONDS - began)) s"
  tail -c "+$from" "$log_file" | grep -E 'Available SMs: [0-9]+' || echo "no SM count in the log"
done
