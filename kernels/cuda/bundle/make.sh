#!/usr/bin/env bash
# make.sh makes bin/gpu-bundle and bin/gpu-bundle.tar.gz: all that run.sh needs on a
# machine with a GPU that has neither Go nor a network. bin/libservebench_cuda.so, if
# `make cuda` has built it, goes along for machines without nvcc.
#
#   kernels/cuda/bundle/make.sh
#
# The folder has the layout of the repository, in which tests find their files. It
# may have 60 MB at most, and is refused with more.
set -euo pipefail
cd "$(dirname "$0")/../../.."
root=$PWD
go=${GO:-go}
most=$((60 * 1000 * 1000))

say() { printf '%s\n' "make.sh: $*" >&2; }

mkdir -p bin
new=$(mktemp -d bin/.gpu-bundle.XXXXXX)
trap 'rm -rf "$root/$new"' EXIT
chmod 755 "$new"

# The programs. -s and -w leave out what debuggers read; a third less.
mkdir "$new/bin"
flags=(-trimpath -ldflags '-s -w')
"$go" build "${flags[@]}" -o "$new/bin/" ./serving/cmd/serve ./serving/cmd/tokenize
"$go" test -c "${flags[@]}" -o "$new/bin/cuda.test" ./kernels/cuda
"$go" test -c "${flags[@]}" -o "$new/bin/models.test" ./serving/models
"$go" test -c "${flags[@]}" -o "$new/bin/sample.test" ./serving/sample
"$go" test -c "${flags[@]}" -o "$new/bin/serve.test" ./serving/cmd/serve
"$go" test -c "${flags[@]}" -tags gpu -o "$new/bin/benchtests.test" ./benchtests
tar -czf "$new/programs.tar.gz" -C "$new" bin
rm -r "$new/bin"

# What the kernels are built of, and what the programs read. go.mod says where the
# module's root is.
cp go.mod "$new/"
git ls-files -z --cached --others --exclude-standard -- kernels/cuda ':!kernels/cuda/*.go' ':!kernels/cuda/sim' \
  testdata/models testdata/prompts testdata/serve testdata/kernels serving/models/testdata serving/cmd/serve/testdata |
  while IFS= read -r -d '' file; do
    [ -f "$file" ] && install -D -m "$(stat -c %a "$file")" "$file" "$new/$file"
  done
mkdir -p "$new/serving/models" "$new/serving/sample" "$new/serving/cmd/serve" "$new/benchtests"
mv "$new/kernels/cuda/bundle/run.sh" "$new/run.sh"
rm -r "$new/kernels/cuda/bundle"
{ git describe --always --dirty 2>/dev/null || echo unknown; } >"$new/version"
if [ -f bin/libservebench_cuda.so ]; then
  mkdir "$new/prebuilt"
  cp bin/libservebench_cuda.so "$new/prebuilt/"
  strip --strip-unneeded "$new/prebuilt/libservebench_cuda.so" || true
else
  say "without a library: make cuda was not run, so the machine with the GPU needs nvcc"
fi

size=$(du -sb "$new" | cut -f1)
[ "$size" -le "$most" ] || { say "the bundle has $size bytes, and may have $most"; exit 1; }
rm -rf bin/gpu-bundle bin/gpu-bundle.tar.gz
mv "$new" bin/gpu-bundle
tar -czf bin/gpu-bundle.tar.gz -C bin gpu-bundle
say "bin/gpu-bundle: $size bytes; bin/gpu-bundle.tar.gz: $(stat -c %s bin/gpu-bundle.tar.gz)"
