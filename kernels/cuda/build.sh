#!/usr/bin/env bash
# build.sh builds bin/libservebench_cuda.so of the sources that sources.txt lists,
# with the toolkit that toolkit.sh finds or installs, and prints the library's path.
#
#   kernels/cuda/build.sh
#   CUDA_ARCHS=90 kernels/cuda/build.sh      # for one architecture, in a quarter of the time
#
# CUDA_ARCHS  architectures that machine code is made for (80 86 89 90); of the last
#             one there is PTX too, which the driver compiles for newer GPUs
# JOBS        files that are compiled at a time (2)
# CXX         the compiler of host code, which links (g++)
#
# A file is compiled again when it, a header, a flag or the compiler has changed.
# Behind it stay in bin/obj/cuda, which the tests of package resources read:
#
#   build          version of nvcc, folder of the toolkit, architectures
#   NAME.o         the object
#   NAME.log       what ptxas says of every kernel: registers, spills, shared memory
#   NAME/*.ptx     what ptxas was given
#
# The library takes cuBLASLt from where the loader looks, or from its own folder,
# where this script puts a link to that of pip's packages.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
objects=$root/bin/obj/cuda
library=$root/bin/libservebench_cuda.so
read -ra archs <<<"${CUDA_ARCHS:-80 86 89 90}"
jobs=${JOBS:-2}
cxx=${CXX:-g++}

say() { printf '%s\n' "build.sh: $*" >&2; }
die() { say "$*"; exit 1; }

toolkit=$(./toolkit.sh)
command -v "$cxx" >/dev/null || die "$cxx is not installed: nvcc and the linker need a C++ compiler (CXX names another)"
[ "${#archs[@]}" -gt 0 ] || die "CUDA_ARCHS is empty: name at least one architecture, as 80"
mkdir -p "$objects"
exec 8>"$objects/.lock" # one build at a time
flock 8

sources=()
while read -r line || [ -n "$line" ]; do
  line=${line%%#*}
  [ -n "${line// /}" ] && sources+=("${line// /}")
done <sources.txt
[ "${#sources[@]}" -gt 0 ] || die "sources.txt lists no file"

flags=(-std=c++17 -O3 -ccbin "$cxx" -Werror all-warnings -Xptxas -v --keep
  -Xcompiler -fPIC,-Wall,-Wextra)
for a in "${archs[@]}"; do
  [[ $a =~ ^[0-9]+a?$ ]] || die "CUDA_ARCHS: $a is no architecture: write 80 for sm_80"
  flags+=(-gencode "arch=compute_$a,code=sm_$a")
done
flags+=(-gencode "arch=compute_${archs[-1]},code=compute_${archs[-1]}")

compiler=$("$toolkit/bin/nvcc" --version | sed -n 's/.*\(release .*\)/\1/p'; "$cxx" --version | head -1)
common=$({ printf '%s\n' "$compiler" "${flags[@]}"; cat kernels.h ./*.cuh; } | sha256sum)

# key is what an object is made of.
key() { { printf '%s\n' "$common"; cat "$1"; } | sha256sum | cut -d' ' -f1; }

# compile makes NAME.o, NAME.log and NAME/*.ptx of NAME.cu.
compile() {
  local source=$1 name=${1%.cu} log
  log=$objects/$name.log
  rm -rf "$objects/$name" "$objects/$name.key" "$log"
  mkdir "$objects/$name"
  if ! "$toolkit/bin/nvcc" "${flags[@]}" --keep-dir "$objects/$name" -c -o "$objects/$name.o" "$source" >"$log" 2>&1; then
    grep -v '^ptxas info' "$log" >&2 || true
    say "$source does not compile"
    return 1
  fi
  find "$objects/$name" -type f ! -name '*.ptx' -delete
  key "$source" >"$objects/$name.key"
}

todo=()
for source in "${sources[@]}"; do
  [ -f "$source" ] || die "$source, which sources.txt lists, is missing"
  name=$objects/${source%.cu}
  [ -f "$name.o" ] && [ "$(cat "$name.key" 2>/dev/null)" = "$(key "$source")" ] || todo+=("$source")
done

# The longest first, so that none is left alone at the end.
running=0 failed=0
if [ "${#todo[@]}" -gt 0 ]; then
  say "compiling ${todo[*]} for ${archs[*]/#/sm_}"
  for source in $(ls -S "${todo[@]}"); do
    if [ "$running" -ge "$jobs" ]; then
      wait -n || failed=1
      running=$((running - 1))
    fi
    compile "$source" &
    running=$((running + 1))
  done
  while [ "$running" -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
  done
  [ "$failed" = 0 ] || die "the library was not built"
fi

release=$("$toolkit/bin/nvcc" --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p')
printf '%s\n' "$release" "$toolkit" "${archs[*]}" >"$objects/build"

files=("${sources[@]/#/$objects/}")
files=("${files[@]/%.cu/.o}")
linked=$({ cat "${files[@]/%.o/.key}" exports.map; printf '%s\n' "$toolkit"; } | sha256sum)
if [ ! -f "$library" ] || [ "$(cat "$objects/library.key" 2>/dev/null)" != "$linked" ]; then
  # Whoever has loaded the old library keeps it: the new one gets the name when it is whole.
  "$cxx" -shared -o "$library.new" "${files[@]}" -Wl,-soname,libservebench_cuda.so -Wl,--version-script=exports.map \
    -Wl,--no-undefined -Wl,-rpath,'$ORIGIN' -static-libstdc++ -static-libgcc \
    -L"$toolkit/lib64" -lcudart_static -lcublasLt -lpthread -ldl -lrt
  mv "$library.new" "$library"
  printf '%s\n' "$linked" >"$objects/library.key"
fi
# The loader knows nothing of a folder of pip's packages.
case $toolkit in
*/toolkit)
  for blas in "$toolkit"/lib64/libcublasLt.so.*; do ln -sfn "$blas" "$root/bin/${blas##*/}"; done
  ;;
esac
printf '%s\n' "$library"
