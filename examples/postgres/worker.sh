#!/usr/bin/env bash
# worker.sh COMMAND...: where this pod leads, runs COMMAND again and again, and stores what it prints, unless a newer leader
# has written. The database decides that, so nothing here needs a clock. psql finds the database by PGHOST, PGUSER and so on.
set -euo pipefail
trap 'exit 0' TERM # process 1 of a container would ignore it, and the sidecar lets go only when this program has ended
role_file=${LEASEHOLD_ROLE_FILE:-/run/leasehold/role.json}
export PGCONNECT_TIMEOUT=${PGCONNECT_TIMEOUT:-5}

# member NAME: of role.json, which has one a line
member() { sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" <<<"$file" | head -n 1; }

# store TERM POD VALUE: prints `stored`, or nothing if a newer leader has written. One statement: PostgreSQL locks the row
# of the fence, so a write is before the new leader's first one, or is refused.
store() {
  psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 --set term="$1" --set pod="$2" --set value="$3" <<'SQL'
WITH passed AS (UPDATE fence SET term = :'term' WHERE id = 1 AND term <= :'term' RETURNING term)
INSERT INTO result (term, pod, value) SELECT term, :'pod', :'value' FROM passed RETURNING 'stored';
SQL
}

while :; do
  # Read once: the term must be the one in which this very pod leads.
  file=$(cat "$role_file" 2>/dev/null) || file=
  if [ "$(member role)" = leader ]; then
    term=$(member term) pod=$(member self)
    # However long this takes: the fence knows who leads when it is done.
    if value=$("$@") && answer=$(store "$term" "$pod" "$value"); then
      if [ -n "$answer" ]; then echo "term $term: $pod stored $value"; else echo "term $term: $pod was refused"; fi
    fi
  fi
  sleep 0.5 &
  wait $!
done
