#!/bin/sh
# Builds nsqd, nsqlookupd, nsqadmin and bench_reader of NSQ 1.3.0 from the Go module proxy, once, and
# prints the folder that they are in. They are tools of go.mod beside this file, because NSQ's own
# go.mod has a `replace`, with which `go install ...@v1.3.0` refuses.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder="${XDG_CACHE_HOME:-$HOME/.cache}/playtally/nsq-1.3.0"
if ! [ -x "$folder/nsqd" ]; then
    if ! command -v go >/dev/null; then
        echo "tests/nsq/build.sh: no go on PATH, expected Go 1.24 or newer to build nsqd with" >&2
        exit 1
    fi
    mkdir -p "$folder.new"
    (cd "$here" && go build -o "$folder.new/" tool) >&2
    rm -rf "$folder" && mv "$folder.new" "$folder"
fi
echo "$folder"
