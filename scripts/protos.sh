#!/bin/sh
# Writes src/buildkit/generated anew from src/buildkit/protos: first protobuf's own form of them, which tests compare
# with, into testdata, then of that the form that costs nothing at start. `--check` only says, by its exit code, whether it is what
# the last run has written of these protos: for that nothing has to be fetched, the tools are only for writing.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$root/src/buildkit"
for node in "$root"/node_modules/node-linux-*/bin/node; do break; done
PATH=$(dirname "$node"):$PATH
export PATH

digest() {
  cat protos/*.proto testdata/*_pb.ts generated/*.ts | sha256sum | cut -d ' ' -f 1
}

if [ "${1-}" = --check ]; then
  [ "$(digest)" = "$(cat generated/digest)" ] || {
    echo "src/buildkit/generated is not of these protos: run 'npm run protos'." >&2
    exit 1
  }
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/buf.gen.yaml" <<'YAML'
version: v2
plugins:
  - local: protoc-gen-es
    out: testdata
    opt: [target=ts, import_extension=ts]
YAML
# Not among the packages of every checkout: they are 125 MB and needed when a message changes.
here=$PWD
version=$("$node" -p 'require("../../node_modules/@bufbuild/protobuf/package.json").version')
(cd "$work" && npm exec --yes --package=@bufbuild/buf@1.75.0 --package="@bufbuild/protoc-gen-es@$version" -- \
  sh -c "cd '$here' && rm -f testdata/*_pb.ts && buf generate protos --template '$work/buf.gen.yaml'")
"$node" "$root/scripts/protos.ts"
digest >generated/digest
