#!/usr/bin/env bash
# build.sh compiles the kernels with g++ for the simulated device, and prints the
# libraries' paths. README.md tells what each is for.
#
#   kernels/cuda/sim/build.sh                  # all three kinds
#   kernels/cuda/sim/build.sh checked          # bin/libservebench_cuda_sim.so
#   kernels/cuda/sim/build.sh asan             # bin/libservebench_cuda_sim_asan.so
#   kernels/cuda/sim/build.sh fast             # bin/libservebench_cuda_sim_fast.so
#   kernels/cuda/sim/build.sh test [KIND...]   # the simulator's own tests, built and run
#
# JOBS      files that are compiled at a time (2)
# CXX       the compiler (g++)
# SBC_TOOLKIT  a folder with the toolkit's include, instead of what toolkit.sh finds
#
# Only what has changed is compiled again. Several may call it at once: they take turns.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../../.. && pwd)

say() { printf '%s\n' "sim/build.sh: $*" >&2; }

run=false
if [ "${1:-}" = test ]; then
  run=true
  shift
fi
kinds=("$@")
[ "${#kinds[@]}" -gt 0 ] || kinds=(checked asan fast)
for kind in "${kinds[@]}"; do
  case $kind in
  checked | asan | fast) ;;
  *)
    say "$kind: checked, asan and fast can be built"
    exit 2
    ;;
  esac
done

toolkit=${SBC_TOOLKIT:-$(../toolkit.sh)}
mkdir -p "$root/bin/obj/sim"
exec 8>"$root/bin/obj/sim/.lock"
flock 8
for kind in "${kinds[@]}"; do
  targets=(library)
  $run && targets+=(tests)
  make --no-print-directory -j"${JOBS:-2}" KIND="$kind" TOOLKIT="$toolkit" CXX="${CXX:-g++}" "${targets[@]}" >&2 ||
    { say "the $kind library was not built"; exit 1; }
done
exec 8>&-

for kind in "${kinds[@]}"; do
  case $kind in
  checked) library=libservebench_cuda_sim.so ;;
  *) library=libservebench_cuda_sim_$kind.so ;;
  esac
  if $run; then
    objects=$root/bin/obj/sim/$kind
    export UBSAN_OPTIONS=print_stacktrace=1:${UBSAN_OPTIONS:-}
    say "$kind: check"
    # Stacks that are given up in the middle of a kernel leave what they held.
    ASAN_OPTIONS=detect_leaks=0:${ASAN_OPTIONS:-} "$objects/check"
    say "$kind: abi_check"
    # Here none are: what the library keeps on the host is gone with its contexts.
    ASAN_OPTIONS=detect_leaks=1:${ASAN_OPTIONS:-} "$objects/abi_check"
  fi
  printf '%s\n' "$root/bin/$library"
done
