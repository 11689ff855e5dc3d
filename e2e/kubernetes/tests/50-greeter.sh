# shellcheck shell=bash
# The sidecar beside another program: helm/examples/greeter.yaml.

greeter_leader() { k get lease greeter -o jsonpath='{.spec.holderIdentity}'; }
greets() { local name; name=$(greeter_leader) && [ -n "$name" ] && [ "$name" != "${1:-}" ] && k logs "$name" --tail=2 | grep -q "^hello from $name"; }
greeters() { k get pods -l app=greeter -o name; }

one_greeter_greets_and_another_takes_over() {
  local old name
  sed "s|image: debian:bookworm-slim|image: $registry/leasehold/store:$version|; s|image: localhost/leasehold/sidecar:.*|image: $registry/leasehold/sidecar:$version|" \
    "$chart/examples/greeter.yaml" | k apply -f - >/dev/null
  k rollout status deployment greeter --timeout=60s >/dev/null
  timed "one greets" wait_for "a greeter to greet" 60 greets
  old=$(greeter_leader)
  for name in $(greeters); do
    [ "$name" = "pod/$old" ] || ! k logs "$name" | grep '^hello' || return 1
  done
  k delete pod "$old" --wait=false >/dev/null
  timed "$old deleted, another greets" wait_for "another to greet" 60 greets "$old"
  sed 's/^$//' "$chart/examples/greeter.yaml" | k delete -f - --wait=false >/dev/null
  k delete lease greeter --ignore-not-found >/dev/null
}

scenario one_greeter_greets_and_another_takes_over
