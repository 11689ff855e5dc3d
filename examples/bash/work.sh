#!/usr/bin/env bash
# A program that knows nothing of leaders: `sidecar exec -- ./work.sh` starts it where its pod leads, and ends it, with all
# its children, before another pod can lead. The term is for those who want to pass it on.
set -euo pipefail

while :; do
  echo "term $LEASEHOLD_TERM: $LEASEHOLD_POD works"
  sleep 0.5
done
