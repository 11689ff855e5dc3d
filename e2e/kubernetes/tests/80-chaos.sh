# shellcheck shell=bash
# Everything that can be broken is broken, by a seed, while clients read and write; then their answers are checked. A minute for
# each change, ten at night.
#   CHAOS_MINUTES=30 CHAOS_SEED=7 make e2e ARGS=80-chaos KEEP=1

chaos_leaves_every_history_linearizable() {
  local seed=${CHAOS_SEED:-$((RANDOM * 32768 + RANDOM))} code=0
  settle 240
  "$E2E" chaos --kubernetes --minutes "${CHAOS_MINUTES:-1}" --seed "$seed" --namespace "$NAMESPACE" \
    --keep "$results/chaos-$seed" | sed 's/^/     /' || code=$?
  [ "$code" = 0 ] && settle 240 && verify
}

[ ! -x "${E2E:-}" ] || scenario chaos_leaves_every_history_linearizable
