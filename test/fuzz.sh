#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time or number of inputs each: `go test -fuzz` takes one target of
# one package per call, so they are listed first. A target that somebody adds is found by itself.
# A number of inputs is the default because a time can end in "context deadline exceeded" on a busy machine.
set -euo pipefail
fuzztime=${1:-10000x}
go=${GO:-go}
ran=0
while read -r dir package; do
  # An empty listing is most packages' truth, not an error.
  targets=$(grep -hoE '^func Fuzz[A-Za-z0-9_]*\(' "$dir"/*_test.go 2>/dev/null | sed -E 's/^func ([A-Za-z0-9_]*)\(/\1/' | sort -u || true)
  for target in $targets; do
    "$go" test -run '^$' -fuzz "^${target}\$" -fuzztime "$fuzztime" "$package"
    ran=$((ran + 1))
  done
done < <("$go" list -f '{{.Dir}} {{.ImportPath}}' ./...)
if [ "$ran" -eq 0 ]; then
  echo "no fuzz target found" >&2
  exit 1
fi
echo "$ran fuzz targets ran"
