#!/usr/bin/env bash
# toolkit.sh prints the folder of a CUDA toolkit, with bin/nvcc, include and lib64:
#
#  1. $CUDA_HOME, where it is set; an error if it is none of version 12 or 13
#  2. that of the nvcc in PATH, or /usr/local/cuda, of version 12 or 13
#  3. one that it installs with pip, of NVIDIA's packages for Python, below
#     ${XDG_CACHE_HOME:-~/.cache}/servebench, where it is not there yet (about 0.6 GB
#     over the network, 1.3 GB on the disk): no GPU, driver or root is needed
#
# It prints nothing else on stdout and may be run by several at once or be cut short:
# the folder has its name only once everything is in it and nvcc has compiled.
#
#   SERVEBENCH_TOOLKIT=pip kernels/cuda/toolkit.sh    # the third, whatever there is
#   SERVEBENCH_TOOLKIT=own kernels/cuda/toolkit.sh    # never the third: an error instead
set -euo pipefail

say() { printf '%s\n' "toolkit.sh: $*" >&2; }
die() { say "$*"; exit 1; }

# The pip packages. cuobjdump, and nvdisasm which it calls, are for the test that looks
# at machine code, and there are none of that version; nothing that is built needs them.
version=13.0
packages=(nvidia-cuda-nvcc nvidia-nvvm nvidia-cuda-crt nvidia-cuda-runtime nvidia-cuda-cccl nvidia-cublas)
packages=("${packages[@]/%/==$version.*}" "nvidia-cuda-cuobjdump==13.2.*" "nvidia-cuda-nvdisasm==13.2.*")

# major prints the major version of a toolkit's nvcc.
major() { "$1/bin/nvcc" --version 2>/dev/null | sed -n 's/.*release \([0-9]*\)\..*/\1/p'; }

# usable says whether a folder is a toolkit that the kernels can be built with.
usable() {
  [ -x "$1/bin/nvcc" ] && [ -f "$1/include/cuda_runtime.h" ] && [ -f "$1/include/cublasLt.h" ] || return 1
  case $(major "$1") in 12 | 13) ;; *) return 1 ;; esac
}

# own looks for a toolkit that the machine has, and prints its folder.
own() {
  local nvcc folder
  for nvcc in "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc; do
    [ -n "$nvcc" ] && [ -x "$nvcc" ] || continue
    folder=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
    if usable "$folder"; then
      printf '%s\n' "$folder"
      return
    fi
    say "$nvcc: passed over: it is no toolkit of version 12 or 13 with headers and cuBLAS in $folder"
  done
  return 1
}

# link gives a library the names that a linker looks for: libNAME.so beside libNAME.so.13.
link() {
  local name=$1 file
  [ -e "$name.so" ] && return
  for file in "$name".so.*; do
    [ -e "$file" ] && ln -s "$file" "$name.so" && return
  done
  die "$name.so is not in the packages that were installed: another layout than that of $version?"
}

# compiles sees to it that the toolkit compiles a kernel, the library's headers included.
compiles() {
  local folder=$1 dir=$2
  cat >"$dir/try.cu" <<'CUDA'
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
__global__ void try_kernel(__nv_bfloat16 *x) { x[threadIdx.x] = __float2bfloat16(float(threadIdx.x)); }
CUDA
  "$folder/bin/nvcc" -std=c++17 -arch=sm_80 -c -o "$dir/try.o" "$dir/try.cu" >&2 && rm "$dir/try.cu" "$dir/try.o"
}

# install puts the packages into a folder that nobody else has, and renames it.
install() {
  local to=$1 new
  new=$(mktemp -d "$to.new.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  say "installing CUDA $version from pip packages into $to"
  python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location --root-user-action ignore --no-deps --only-binary :all: \
    --target "$new" "${packages[@]}" >&2 ||
    die "pip could not install CUDA $version; install a CUDA toolkit and set CUDA_HOME, or look at pip's message above"
  ln -s nvidia/cu13 "$new/toolkit"
  (
    cd "$new/toolkit"
    [ -e lib64 ] || ln -s lib lib64
    cd lib
    link libcudart
    link libcublas
    link libcublasLt
  )
  chmod +x "$new"/toolkit/bin/* "$new"/toolkit/nvvm/bin/*
  compiles "$new/toolkit" "$new" || die "nvcc of the pip packages does not compile here: see above (it needs g++)"
  printf '%s\n' "${packages[@]}" >"$new/packages"
  chmod 755 "$new"
  # Another list of packages has another place: whoever compiles with the old one
  # misses it for as long as a rename takes.
  rm -rf "$to.old"
  [ ! -e "$to" ] || mv "$to" "$to.old"
  mv "$new" "$to"
  trap - EXIT
  rm -rf "$to.old"
}

# installed says whether a folder has these packages.
installed() { [ "$(cat "$1/packages" 2>/dev/null)" = "$(printf '%s\n' "${packages[@]}")" ]; }

# pip_toolkit prints the folder of the toolkit of pip packages, installed if need be.
pip_toolkit() {
  local cache=${XDG_CACHE_HOME:-$HOME/.cache}/servebench
  local to=$cache/cuda-$version
  mkdir -p "$cache"
  if ! installed "$to"; then
    # Whoever else installs it now is waited for; what a killed one left is removed.
    exec 9>"$cache/.cuda-$version.lock"
    flock 9
    if ! installed "$to"; then
      rm -rf "$to".new.*
      install "$to"
    fi
    exec 9>&-
  fi
  printf '%s\n' "$to/toolkit"
}

case ${SERVEBENCH_TOOLKIT:-} in
pip)
  pip_toolkit
  exit
  ;;
'' | own) ;;
*) die "SERVEBENCH_TOOLKIT=$SERVEBENCH_TOOLKIT: it is pip, own, or not set" ;;
esac
if [ -n "${CUDA_HOME:-}" ]; then
  usable "$CUDA_HOME" || die "CUDA_HOME=$CUDA_HOME is no CUDA toolkit of version 12 or 13 with bin/nvcc, include/cuda_runtime.h and include/cublasLt.h"
  printf '%s\n' "$CUDA_HOME"
elif ! own; then
  [ "${SERVEBENCH_TOOLKIT:-}" != own ] || die "there is no nvcc of version 12 or 13 in PATH or /usr/local/cuda, and CUDA_HOME is not set"
  pip_toolkit
fi
