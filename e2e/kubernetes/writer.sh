# Runs in a pod, beside the cluster. There is one loop for each host in HOSTS, which writes only there: so a hung member
# does not delay what another acknowledges. Followers answer 421 at once, so only the leader's loop really writes.
#   acknowledged MICROSECONDS ID      answered MICROSECONDS CODE (below 100: no answer, and curl's exit code)
exec {never}<> <(:)
pause() { read -rt "$1" -u "$never" _; } # without a process
write() {
  local id code host=$1 url
  case $host in *:*) host="[$host]" ;; esac
  url=http://$host:8089/persons
  while [ ! -e /tmp/stop ]; do
    read -r id </proc/sys/kernel/random/uuid
    code=$(curl -s -o /dev/null -w '%{http_code}:%{exitcode}' --connect-timeout 1 --max-time 2 -H 'Content-Type: application/json' \
      -d "{\"firstName\": \"Writer\", \"lastName\": \"${1%%.*}\", \"id\": \"$id\"}" "$url")
    case ${code%:*} in
    200 | 201) echo "acknowledged ${EPOCHREALTIME/./} $id" ;;
    *)
      [ "${code%:*}" != 000 ] || code=${code#*:}
      echo "answered ${EPOCHREALTIME/./} ${code%:*}"
      pause 0.02
      ;;
    esac
  done
}
for host in $HOSTS; do write "$host" & done
wait
