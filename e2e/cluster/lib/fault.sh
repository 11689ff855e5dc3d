# shellcheck shell=bash disable=SC2154
# What can be broken, on command.

fault() {
  local what=${1:-} b=${2:-} other=${3:-} i
  b=${b#node}
  other=${other#node}
  [ "$b" = cp ] || [ "$b" = all ] || [[ $b =~ ^[1-9][0-9]*$ ]] || { say "fault $what: which box? (cp or a number)"; return 2; }
  case $what in
  # The switch's side of the cable: the box's own eth0 stays up, so that its routes stay.
  cut) ip -n "$NAME-net" link set "p-$(box "$b")" down ;;
  # After kube-proxy's rewriting (postrouting), for the node's own processes and its pods alike.
  # nft: `fwd` is a keyword, no chain may be called so.
  cut-api)
    in_network "$b" nft -f - <<Y
table inet fault {
  chain post { type filter hook postrouting priority 0; $IP daddr $CP tcp dport 6443 drop; }
}
Y
    ;;
  cut-peer)
    in_network "$b" nft -f - <<Y
table inet fault {
  chain pre { type filter hook prerouting priority -300; $IP saddr { $(ip_of "$other"), $(pods_of "$other") } drop; }
  chain post { type filter hook postrouting priority 0; $IP daddr { $(ip_of "$other"), $(pods_of "$other") } drop; }
}
Y
    ;;
  heal)
    if [ "$b" = all ]; then
      for i in cp $(nodes); do fault heal "$i"; done
      return 0
    fi
    ip -n "$NAME-net" link set "p-$(box "$b")" up
    in_network "$b" nft delete table inet fault 2>/dev/null || true
    ;;
  stop) stop_daemon "$b" "$3" "${4:-TERM}" ;;
  start) if [ "$b" = cp ]; then start_control_plane "$3"; else start_node "$b" "$3"; fi ;;
  crash)
    # The cable first: a machine without power says goodbye to nobody, but the kernel here would close its connections.
    fault cut "$b"
    crash_box "$b"
    for i in $(seq 50); do
      remove_cgroups "/$NAME/node$b"
      [ -n "$(cgroups "/$NAME/node$b")" ] || break
      sleep 0.1
    done
    # What a machine's memory held, but outlives the processes here, because the network namespace does.
    in_network "$b" nft flush ruleset
    ip -n "$NAME-node$b" link del cni0 2>/dev/null || true
    ;;
  # A file system of its own at that folder, empty, only in the box's mounts: processes started from now on see it.
  own-disk)
    mkdir -p "$STATE/own-disks"
    truncate -s 1G "$STATE/own-disks/${3##*/}"
    mkfs.ext4 -q -F "$STATE/own-disks/${3##*/}"
    enter "$b" mount -o loop "$STATE/own-disks/${3##*/}" "$3"
    ;;
  # Processes that have it open keep it; processes started from now on see the earlier folder.
  no-disk)
    enter "$b" umount --lazy "$3"
    rm -f "$STATE/own-disks/${3##*/}"
    ;;
  # By a process of the host, which outlives the box: whatever waits for a frozen file system cannot be killed.
  hang-disk)
    setsid nsenter -t "$(init_pid "$b")" -m -- \
      sh -c 'fsfreeze -f "$1" && { sleep "$2"; fsfreeze -u "$1"; }' hang "$3" "$4" </dev/null >/dev/null 2>&1 &
    ;;
  boot)
    ip -n "$NAME-net" link set "p-$(box "$b")" up
    up_node "$b"
    ;;
  *)
    say "there is no fault $what"
    return 2
    ;;
  esac
}

# find_container NAMESPACE POD CONTAINER: its node's number and the PID of its main process there. Needs the API server.
find_container() {
  local node id pid path="?(@.name=='$3')"
  node=$(kubectl_quick -n "$1" get pod "$2" -o jsonpath='{.spec.nodeName}')
  node=${node#node}
  id=$(kubectl_quick -n "$1" get pod "$2" \
    -o jsonpath="{.status.containerStatuses[$path].containerID}{.status.initContainerStatuses[$path].containerID}")
  [ -n "$id" ] || { say "pod $2 has no running container $3"; return 1; }
  pid=$(enter "$node" ctr -n k8s.io tasks ls | awk -v id="${id#containerd://}" '$1 == id {print $2}')
  [ -n "$pid" ] || { say "container $3 of $2 is not running"; return 1; }
  echo "$node $pid"
}

# signal_container NAMESPACE POD CONTAINER SIGNAL: STOP freezes it, as a paused machine would.
signal_container() {
  local node pid found
  found=$(find_container "$1" "$2" "$3") || return 1
  read -r node pid <<<"$found"
  enter "$node" kill "-$4" "$pid"
}
