#!/bin/sh
# Builds the clients of other languages, once for each state of their sources, and prints the folder that they are
# in: go-nsq-client, if go is there, and node_modules with nsqjs, if npm is there. Says what could not be built, and
# fails then. With --look it builds nothing: it prints the folder.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
state=$(cat "$here/go/go.mod" "$here/go/go.sum" "$here/go/main.go" "$here/node/package-lock.json" | cksum)
folder="${XDG_CACHE_HOME:-$HOME/.cache}/playtally/nsq-clients-${state% *}"
echo "$folder"
[ "${1:-}" != --look ] || exit 0
mkdir -p "$folder"
failed=0
if ! [ -x "$folder/go-nsq-client" ]; then
    if command -v go >/dev/null; then
        (cd "$here/go" && go build -o "$folder/go-nsq-client.$$" .) >&2
        mv "$folder/go-nsq-client.$$" "$folder/go-nsq-client"
    else
        echo "tests/conformance/clients/build.sh: no go on PATH, expected Go 1.24 or newer" >&2
        failed=1
    fi
fi
if ! [ -d "$folder/node_modules" ]; then
    if command -v npm >/dev/null; then
        new=$(mktemp -d "$folder/new.XXXXXX")
        cp "$here/node/package.json" "$here/node/package-lock.json" "$new/"
        (cd "$new" && npm ci --silent --ignore-scripts --no-audit --no-fund) >&2
        mv "$new/node_modules" "$folder/node_modules" && rm -rf "$new"
    else
        echo "tests/conformance/clients/build.sh: no npm on PATH" >&2
        failed=1
    fi
fi
exit "$failed"
