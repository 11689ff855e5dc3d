# shellcheck shell=bash disable=SC2154
# One network namespace for the switch, one for each box.
#
#   NAME-net:   br0 ── p-cp     p-node1   p-node2 ...
#                       │          │         │            veth pairs, made inside NAME-net:
#   NAME-cp:          eth0  node1: eth0    eth0           the host's own network never sees a link
#
# No box has a default route and none is linked to the host: no packet can leave. The pods of a node are reached
# through it (10.244.N.0/24 via 10.66.0.1N, or its like in IPv6), never masqueraded.

# Exactly ours: another cluster may be called NAME-2.
networks() { ip netns list 2>/dev/null | awk '{print $1}' | grep -E "^$NAME-(net|cp|node[0-9]+)\$" || true; }

# in_network BOX PROGRAM...: in the box's network, else on the host (its files, its PIDs).
# Not `ip netns exec`: that mounts a new /sys and so hides /sys/fs/cgroup.
in_network() {
  local network
  network=$(network_of "$1") || return 1
  shift
  nsenter --net="$network" -- "$@"
}

network_of() {
  local network=/run/netns/$NAME-$(box "$1")
  [ -e "$network" ] || { say "there is no $network: is the cluster up?"; return 1; }
  echo "$network"
}

make_network() {
  local b
  if [ ! -e "/run/netns/$NAME-net" ]; then
    ip netns add "$NAME-net"
    ip -n "$NAME-net" link set lo up
    ip -n "$NAME-net" link add br0 type bridge
    ip -n "$NAME-net" link set br0 up
    nsenter --net="/run/netns/$NAME-net" sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0
  fi
  for b in cp $(nodes); do make_port "$b"; done
}

make_port() {
  local b=$1 name=$NAME-$(box "$1") other
  [ ! -e "/run/netns/$name" ] || return 0
  ip netns add "$name"
  ip -n "$NAME-net" link add "p-$(box "$b")" type veth peer name eth0 netns "$name"
  ip -n "$NAME-net" link set "p-$(box "$b")" master br0 up
  ip -n "$name" link set lo up
  # nodad: otherwise an IPv6 address would be unusable for a second, while others are asked for it.
  # shellcheck disable=SC2046 # one word or none
  ip -n "$name" addr add "$(ip_of "$b")/$LENGTH" dev eth0 $([ "$FAMILY" = ipv4 ] || echo nodad)
  ip -n "$name" link set eth0 up
  for other in $(nodes); do
    [ "$other" = "$b" ] || ip -n "$name" route add "$(pods_of "$other")" via "$(ip_of "$other")"
  done
  [ "$b" != cp ] || return 0
  # Without any route to it, a connection to a service's address fails before kube-proxy's rules can rewrite it.
  ip -n "$name" route add "$SERVICES" dev eth0
  nsenter --net="/run/netns/$name" sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1 \
    net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
  [ "$FAMILY" = ipv4 ] || nsenter --net="/run/netns/$name" sysctl -qw net.ipv6.conf.all.forwarding=1 net.bridge.bridge-nf-call-ip6tables=1
}

# processes_in_networks: the PIDs in the networks of this cluster, except this script and its ancestors.
processes_in_networks() {
  local name wanted="" pid own=" " parent=$$
  while [ "$parent" -gt 1 ]; do
    own="$own$parent "
    parent=$(awk '/^PPid:/ {print $2}' "/proc/$parent/status" 2>/dev/null || echo 0)
  done
  for name in $(networks); do wanted="$wanted $(stat -Lc 'net:[%i]' "/run/netns/$name" 2>/dev/null || true)"; done
  [ -n "$wanted" ] || return 0
  for pid in /proc/[0-9]*; do
    case "$wanted " in *" $(readlink "$pid/ns/net" 2>/dev/null) "*) ;; *) continue ;; esac
    pid=${pid#/proc/}
    case "$own" in *" $pid "*) ;; *) echo "$pid" ;; esac
  done
}

# Killing PID 1 of a box kills all in it, also the containers, whose networks are their own.
kill_all_in_networks() {
  local pids end=$((SECONDS + 10))
  pids=$(processes_in_networks | xargs)
  [ -n "$pids" ] || return 0
  # shellcheck disable=SC2086 # a list
  kill -9 $pids 2>/dev/null || true
  while [ -n "$(processes_in_networks)" ] && [ "$SECONDS" -lt "$end" ]; do sleep 0.05; done
}
