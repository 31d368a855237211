#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time or number of inputs each. `go test -fuzz` takes one target of
# one package per call and links anew for each; so every package is built once and its targets run one after the other.
# A target that somebody adds is found by itself.
# A number of inputs is the default because a time can end in "context deadline exceeded" on a busy machine; it is a
# twentieth for a target whose comment ends in "Slow.", because each input of it takes a whole exchange. An input that
# reaches new code is not made shorter for long: by default that takes up to a minute each.
set -euo pipefail
fuzztime=${1:-10000x}
go=${GO:-go}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ran=0
while read -r dir package; do
  # An empty listing is most packages' truth, not an error.
  targets=$(grep -hoE '^func Fuzz[A-Za-z0-9_]*\(' "$dir"/*_test.go 2>/dev/null | sed -E 's/^func ([A-Za-z0-9_]*)\(/\1/' | sort -u || true)
  [ -n "$targets" ] || continue
  "$go" test -c -fuzz=Fuzz -o "$work/fuzz.test" "$package"
  for target in $targets; do
    budget=$fuzztime
    if grep -hB1 "^func $target(" "$dir"/*_test.go | grep -E '^//.* Slow\.$' >/dev/null && [[ $fuzztime =~ ^([0-9]+)x$ ]]; then
      budget=$((BASH_REMATCH[1] / 20 + 1))x
    fi
    echo "$package $target $budget"
    (cd "$dir" && "$work/fuzz.test" -test.run='^$' -test.fuzz="^${target}\$" -test.fuzztime="$budget" -test.fuzzminimizetime=100x -test.fuzzcachedir="$work/corpus/$package")
    ran=$((ran + 1))
  done
done < <("$go" list -f '{{.Dir}} {{.ImportPath}}' ./...)
if [ "$ran" -eq 0 ]; then
  echo "no fuzz target found" >&2
  exit 1
fi
echo "$ran passed, 0 failed"
