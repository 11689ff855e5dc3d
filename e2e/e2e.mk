# The tests on a real Kubernetes. Included by the Makefile.
#   make images  builds both images                       (IMAGES=registry.example/prefix; default localhost)
#   make e2e     installs the chart and breaks things     (ARGS="20-pods" or the name of a scenario; KEEP=1)
#   make e2e KUBECONFIG=FILE IMAGES=registry.example/prefix   on a cluster of yours: only what stays in one namespace

IMAGES ?= localhost

.PHONY: images e2e e2e-packages e2e-clean chart backup-servers

images:
	$(STEP) "images" ./e2e/kubernetes/images.sh $(IMAGES)

# An inherited KUBECONFIG is no permission to break things there: only one that stands on make's command line counts.
# `exec`: a signal to make then reaches run.sh, which takes the cluster down.
e2e:
	@exec env REGISTRY="$(IMAGES)" USER_KUBECONFIG="$(if $(filter command line,$(origin KUBECONFIG)),$(KUBECONFIG))" \
	  ./e2e/kubernetes/run.sh $(ARGS)

# What the cluster of our own needs, promtool for the chart, PostgreSQL for the examples, a libc and a shell as Alpine has them, and
# what opens backups without us, on Debian. CI calls it.
e2e-packages:
	@missing=$$({ ./e2e/cluster/cluster packages; command -v promtool >/dev/null || echo prometheus; \
	    command -v psql >/dev/null || echo postgresql; \
    command -v musl-gcc >/dev/null || echo musl-tools; command -v busybox >/dev/null || echo busybox-static; \
	    for tool in age jq zstd; do command -v $$tool >/dev/null || echo $$tool; done; } | xargs); [ -z "$$missing" ] || \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; }

# Servers of buckets, for `cargo test -p leasehold-backup --test servers`. `make nightly` calls it; needs Go and Node.
backup-servers:
	GOBIN=$(CURDIR)/target/backup-servers/bin go install github.com/versity/versitygw/cmd/versitygw@v1.8.0
	npm install --silent --no-fund --no-audit --prefix target/backup-servers/azurite azurite@3.35.0

# The chart without a cluster: only where there is a helm.
chart:
	$(STEP) "chart" ./helm/tests/run.sh

e2e-clean:
	./e2e/cluster/cluster down
	./e2e/cluster/images.sh clean
	rm -rf e2e/cluster/bin e2e/cluster/images e2e/kubernetes/results
