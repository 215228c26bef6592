#!/usr/bin/env bash
# test.sh runs everything that can be shown of the CUDA backend without a GPU, on the
# three libraries of the simulated device (sim/README.md):
#
#  1. the simulator's own tests, and those of the C ABI, without Go
#  2. package cuda on the library that watches every access: each operation beside the
#     reference, and every call of the runtime failing in turn; drawn tokens beside the
#     CPU's
#  3. operations under the address and undefined behaviour sanitizers, a few in each
#     process, whose shadow of memory grows with every device it opens
#  4. whole models, the engine and the server
#  5. the suite, which measures the server on the simulated device
#
#   make test-cuda-sim
#   kernels/cuda/test.sh sanitized suite     # parts: simulator, operations, sanitized, serving, suite
set -euo pipefail
cd "$(dirname "$0")/../.."
go=${GO:-go}
cxx=${CXX:-g++}
library=$PWD/bin/libservebench_cuda_sim
parts=("$@")
[ "${#parts[@]}" -gt 0 ] || parts=(simulator operations sanitized serving suite)

say() { printf '%s\n' "test.sh: $*" >&2; }

# Nothing of this is skipped for want of a library.
export SERVEBENCH_CUDA_SIM=required

simulator() { kernels/cuda/sim/build.sh test >/dev/null; }

operations() {
  SERVEBENCH_CUDA_LIBRARY=$library.so "$go" test -count=1 -timeout 30m ./kernels/cuda
  SERVEBENCH_CUDA_LIBRARY=$library.so "$go" test -count=1 -timeout 30m -run Device ./serving/sample
}

# The sanitizer's runtime has to be there before the library that needs it. It stays
# out of the go command's own processes. Its account of memory that was reserved once
# grows to gigabytes over many devices: each group of cases has a process of its own.
sanitized() {
  local runtime group program
  runtime=$("$cxx" -print-file-name=libasan.so)
  program=$PWD/bin/obj/cuda_asan.test
  mkdir -p bin/obj
  "$go" test -c -o "$program" ./kernels/cuda
  for group in 'bfloat16/(Embed|Norm|Rotate|Activate|AddGather)' bfloat16/MatMul bfloat16/Attention 'bfloat16/(Draw|Graph)' \
    'float16/MatMul$' float16/Draw 'float32/MatMul$' float32/Draw; do
    (
      cd kernels/cuda
      ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:${ASAN_OPTIONS:-} UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        SERVEBENCH_CUDA_LIBRARY=${library}_asan.so LD_PRELOAD=$runtime \
        "$program" -test.timeout 30m -test.run "TestDevice/$group"
    )
  done
}

serving() {
  SERVEBENCH_CUDA_LIBRARY=${library}_fast.so "$go" test -count=1 -timeout 30m ./serving/models ./serving/engine ./serving/cmd/serve
}

# -device cpu asks no driver for anything; what the server computes on is its affair.
# It takes 0.9 of the device's memory for its cache, which is the host's here.
suite() {
  local results
  results=$(mktemp -d)
  SBC_SIM_MEMORY=${SBC_SIM_MEMORY:-256M} SERVEBENCH_CUDA_LIBRARY=${library}_fast.so "$go" test ./benchtests -tags gpu -run '^$' -bench . -timeout 0 -benchtime 4x \
    -framework custom -device cpu -launch process -serve-args "--device cuda" -model "smollm2-135m-instruct=testdata/serve" \
    -load-format dummy -task fixed -input-len 21 -output-len 16 -concurrency 1,4 -results "$results"
  # It was the simulated device that was measured, not the CPU.
  grep -rqi 'simulated' "$results"/latest/logs || { say "no log in $results/latest/logs has the simulated device"; return 1; }
  rm -rf "$results"
}

for part in "${parts[@]}"; do
  case $part in
  simulator | operations | sanitized | serving | suite) ;;
  *)
    say "there is no part $part"
    exit 2
    ;;
  esac
  say "$part"
  "$part"
done
