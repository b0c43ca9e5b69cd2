#!/bin/sh
# Builds the programs of NSQ 1.3.0 that the tests use from the Go module proxy, once, and prints the folder that
# they are in. They are tools of go.mod beside this file, because NSQ's own go.mod has a `replace`, with which
# `go install ...@v1.3.0` refuses.
# Also builds nsqd-set-clock, an nsqd whose ids and stamps are off by $NSQD_CLOCK_OFFSET_NS nanoseconds.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder="${XDG_CACHE_HOME:-$HOME/.cache}/playtally/nsq-1.3.0"
missing=
for program in $(sed -n '/^tool (/,/^)/s|^\t.*/||p' "$here/go.mod"); do
    [ -x "$folder/$program" ] || missing="$missing $program"
done
if [ -n "$missing" ]; then
    if ! command -v go >/dev/null; then
        echo "tests/nsq/build.sh: no go on PATH, expected Go 1.24 or newer to build$missing with" >&2
        exit 1
    fi
    mkdir -p "$folder"
    new=$(mktemp -d "$folder/new.XXXXXX")
    (cd "$here" && go build -o "$new/" tool) >&2
    for program in $missing; do  # the others may be running
        mv -f "$new/$program" "$folder/$program"
    done
    rm -rf "$new"
fi
if ! [ -x "$folder/nsqd-set-clock" ]; then
    copy=$(mktemp -d)
    trap 'chmod -R u+w "$copy"; rm -rf "$copy"' EXIT
    cp -R "$(cd "$here" && go list -m -f '{{.Dir}}' github.com/nsqio/nsq)" "$copy/nsq"
    chmod -R u+w "$copy/nsq"
    cp "$here/go.mod" "$here/go.sum" "$copy/"
    cp "$here/clock.go.txt" "$copy/nsq/nsqd/clock.go"
    sed -i.old 's/time\.Now()\.UnixNano()/clockUnixNano()/' "$copy/nsq/nsqd/guid.go" "$copy/nsq/nsqd/message.go"
    sed -i.old '/^\t"time"$/d' "$copy/nsq/nsqd/guid.go"  # which uses it for nothing else
    (cd "$copy" && go mod edit -replace github.com/nsqio/nsq=./nsq &&
        go build -o "$folder/nsqd-set-clock.new" github.com/nsqio/nsq/apps/nsqd) >&2
    mv "$folder/nsqd-set-clock.new" "$folder/nsqd-set-clock"
fi
echo "$folder"
