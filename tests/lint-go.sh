#!/bin/sh
# Formatting of the Go module that builds Kubernetes. No `go vet`: it would analyse all of Kubernetes
# for two minutes to look at seventy lines, which the build compiles anyway.
set -eu
cd "$(dirname "$0")/cluster/kube"
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { echo "gofmt: $unformatted (mend with \`make fmt\`)" >&2; exit 1; }
