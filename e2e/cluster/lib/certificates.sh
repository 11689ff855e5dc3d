# shellcheck shell=bash disable=SC2154
# The cluster's own authorities, and a certificate and kubeconfig for every client of the API server.

new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

# new_authority NAME
new_authority() {
  [ -s "$1.crt" ] && return 0
  new_key "$1.key"
  openssl req -x509 -new -key "$1.key" -subj "/CN=$NAME-$1" -days 3650 -out "$1.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature
}

# certificate AUTHORITY NAME CN O USAGE [SAN]
certificate() {
  local authority=$1 name=$2 cn=$3 o=$4 usage=$5 san=${6:-}
  [ -s "$name.crt" ] && return 0
  new_key "$name.key"
  openssl req -new -key "$name.key" -subj "${o:+/O=$o}/CN=$cn" -out "$name.csr"
  {
    echo "basicConstraints=CA:FALSE"
    echo "keyUsage=digitalSignature"
    echo "extendedKeyUsage=$usage"
    [ -z "$san" ] || echo "subjectAltName=$san"
  } >"$name.ext"
  # Renamed at the end: an interrupted `up` must not leave half a certificate that the next one would use as whole.
  openssl x509 -req -in "$name.csr" -CA "$authority.crt" -CAkey "$authority.key" -CAcreateserial -days 3650 \
    -extfile "$name.ext" -out "$name.new" 2>/dev/null
  mv "$name.new" "$name.crt"
  rm -f "$name.csr" "$name.ext"
}

# kubeconfig NAME: with the client certificate NAME.crt
kubeconfig() {
  cat >"$1.kubeconfig" <<Y
apiVersion: v1
kind: Config
clusters: [{name: $NAME, cluster: {server: "$API", certificate-authority-data: "$(base64 -w0 ca.crt)"}}]
users: [{name: "$1", user: {client-certificate-data: "$(base64 -w0 "$1.crt")", client-key-data: "$(base64 -w0 "$1.key")"}}]
contexts: [{name: $NAME, context: {cluster: $NAME, user: "$1"}}]
current-context: $NAME
Y
  chmod 600 "$1.kubeconfig"
}

make_certificates() {
  mkdir -p "$STATE/certificates"
  pushd "$STATE/certificates" >/dev/null || return 1
  umask 077
  local i who
  new_authority ca
  # A second one for the aggregation layer: without --requestheader-* controller-manager and scheduler log an error
  # every 5 s.
  new_authority front-ca
  if [ ! -s service-accounts.pub ]; then
    new_key service-accounts.key
    openssl ec -in service-accounts.key -pubout -out service-accounts.pub 2>/dev/null
  fi
  local dns=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
  certificate ca apiserver kube-apiserver "" serverAuth "$dns,DNS:localhost,IP:$API_SERVICE,IP:$CP,IP:127.0.0.1"
  certificate ca apiserver-kubelet kube-apiserver-kubelet-client system:masters clientAuth
  certificate front-ca front-proxy front-proxy-client "" clientAuth
  certificate ca admin "$NAME-admin" system:masters clientAuth
  for who in kube-controller-manager kube-scheduler kube-proxy coredns; do
    certificate ca $who system:$who "" clientAuth
  done
  for who in admin kube-controller-manager kube-scheduler kube-proxy coredns; do kubeconfig $who; done
  for i in $(nodes); do
    certificate ca "node$i" "system:node:node$i" system:nodes clientAuth
    kubeconfig "node$i"
    certificate ca "node$i-serving" "node$i" "" serverAuth "DNS:node$i,IP:$(ip_of "$i")"
  done
  umask 022
  popd >/dev/null || return 1
}
