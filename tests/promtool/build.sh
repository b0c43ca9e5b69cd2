#!/bin/sh
# Builds Prometheus' promtool from the Go module proxy, once, and prints the folder that it is in: some two minutes
# on two cores. Its version is the one in go.mod beside this file. Without the tag it would bring every cloud's
# service discovery, and take several times as long.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's|.*github.com/prometheus/prometheus v\([0-9.]*\).*|\1|p' "$here/go.mod")
folder="${XDG_CACHE_HOME:-$HOME/.cache}/playtally/promtool-$version"
if ! [ -x "$folder/promtool" ]; then
    if ! command -v go >/dev/null; then
        echo "tests/promtool/build.sh: no go on PATH, expected Go 1.26 or newer to build promtool with" >&2
        exit 1
    fi
    new=$(mktemp -d)
    trap 'rm -rf "$new"' EXIT
    (cd "$here" && go build -tags remove_all_sd -ldflags '-s -w' -o "$new/promtool" \
        github.com/prometheus/prometheus/cmd/promtool) >&2
    mkdir -p "$folder"
    mv "$new/promtool" "$folder/promtool"
fi
echo "$folder"
