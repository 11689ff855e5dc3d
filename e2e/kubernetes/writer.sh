# Runs in a pod, beside the cluster. One loop a member, each of which writes to its own member only: a member that hangs
# does not delay what another acknowledges. Followers answer 421 at once, so the leader's loop is the one that writes.
#   acknowledged MICROSECONDS ID      answered MICROSECONDS CODE
exec {never}<> <(:)
pause() { read -rt "$1" -u "$never" _; } # without a process
write() {
  local id code url=http://$HOST-$1.$SERVICE:8089/persons
  while [ ! -e /tmp/stop ]; do
    read -r id </proc/sys/kernel/random/uuid
    code=$(curl -s -o /dev/null -w '%{http_code}' --connect-timeout 1 --max-time 2 -H 'Content-Type: application/json' \
      -d "{\"firstName\": \"Writer\", \"lastName\": \"$1\", \"id\": \"$id\"}" "$url")
    case $code in
    200 | 201) echo "acknowledged ${EPOCHREALTIME/./} $id" ;;
    *)
      echo "answered ${EPOCHREALTIME/./} $code"
      pause 0.02
      ;;
    esac
  done
}
for member in $(seq 0 $((MEMBERS - 1))); do write "$member" & done
wait
