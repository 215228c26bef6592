#!/usr/bin/env bash
# run.sh does everything that this project wants to know of a GPU, without Go and
# without a network: it builds the kernels with the machine's nvcc, runs the tests of
# kernels, models and server on the GPU, measures the kernels and the server, and
# writes one folder of results, with summary.md to begin with. What fails does not
# stop what follows; the exit status is 1 at the end if anything did.
#
#   ./run.sh                          # all of it
#   ./run.sh --only build,kernels     # stages, of those below
#   ./run.sh --simulated LIBRARY      # on the simulated device, with a tiny model, in minutes
#   ./run.sh --out FOLDER             # default: results-<time> beside this script
#   ./run.sh --seconds 10             # of a serving case (default 10)
#   ./run.sh --model llama-2-7b-chat=/path/of/model     # real weights, may be repeated
#
# Stages, in their order:
#
#   build     the library, by kernels/cuda/build.sh, for this machine's GPU (CUDA_ARCHS
#             names others). Without nvcc the one that came with the bundle is taken
#   kernels   every operation beside the reference in Go, with the table of cases that
#             all devices pass
#   models    logits of tiny models of each architecture beside Transformers'
#   tokens    what the device draws, beside the sampler on the CPU
#   server    the server's own tests
#   limits    what the GPU does at most: reading memory, multiply-adds, tensor cores;
#             and every kernel's GB/s, TFLOP/s and share of that
#   tiny      a tiny model served to 1, 4, 16 and 64 streams
#   gpt2      GPT-2's shapes with random weights, likewise
#   llama     Llama-2-7B's, likewise: 13.5 GB of weights, made in host memory
#
# The GPU is the first that CUDA_VISIBLE_DEVICES leaves.
set -uo pipefail
bundle=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
from=$PWD # where paths that are given begin
cd "$bundle" || exit 1

say() { printf '%s\n' "run.sh: $*" >&2; }
usage() { say "$*"; sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

stages=build,kernels,models,tokens,server,limits,tiny,gpt2,llama
only=$stages simulated="" out="" seconds=10 models=()
while [ $# -gt 0 ]; do
  case $1 in
  --only | --simulated | --out | --seconds | --model)
    [ $# -ge 2 ] || usage "$1 needs a value"
    case $1 in
    --only) only=$2 ;;
    --simulated) simulated=$(cd "$from" && realpath -e "$2") || usage "--simulated: $2 is not there" ;;
    --out) out=$(cd "$from" && realpath -m "$2") ;;
    --seconds) seconds=$2 ;;
    --model) models+=("$2") ;;
    esac
    shift 2
    ;;
  -h | --help) usage "runs everything on a GPU" ;;
  *) usage "unknown argument $1" ;;
  esac
done
[[ $seconds =~ ^[1-9][0-9]*$ ]] || usage "--seconds $seconds: a number of seconds is wanted"
for s in ${only//,/ }; do
  case ",$stages," in *",$s,"*) ;; *) usage "--only: there is no stage $s" ;; esac
done
out=${out:-$bundle/results-$(date -u +%Y%m%dT%H%M%SZ)}
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 1
wanted() { case ",$only," in *",$1,"*) return 0 ;; esac; return 1; }

# Programs come packed: unpacked they are twice as large.
if [ -f programs.tar.gz ] && [ ! -x bin/serve ]; then
  tar -xzf programs.tar.gz || { say "programs.tar.gz cannot be unpacked"; exit 1; }
fi

failed=0
rows=() # of the summary: stage | result | seconds | log
stage() { # stage NAME COMMAND...: runs it, with its output in NAME.log
  local name=$1 began status result
  shift
  wanted "${name%%-*}" || return 0
  say "$name: $*"
  began=$SECONDS
  "$@" >"$out/$name.log" 2>&1 </dev/null
  status=$?
  result=ok
  if [ $status -ne 0 ]; then
    result="**failed** (exit $status)"
    failed=1
    tail -15 "$out/$name.log" | sed "s/^/    /" >&2
  fi
  rows+=("| $name | $result | $((SECONDS - began)) | $name.log |")
  return $status
}
note() { rows+=("| $1 | $2 | 0 | |"); say "$1: $2"; }

# in DIR COMMAND...: tests look for their files from their package's folder.
in_folder() { (cd "$1" && shift && exec "$@"); }

describe() {
  date -u
  echo "bundle: $(cat version 2>/dev/null)"
  uname -a
  grep -h '^PRETTY_NAME' /etc/os-release 2>/dev/null
  grep -m1 'model name' /proc/cpuinfo
  nproc
  free -g 2>/dev/null || grep Mem /proc/meminfo
  df -h "$bundle"
  command -v nvcc && nvcc --version
  nvidia-smi
  nvidia-smi -q
  nvidia-smi topo -m
  env | grep -E '^(CUDA|NVIDIA|LD_LIBRARY_PATH|SERVEBENCH)' | sort
  true
}
describe >"$out/environment.txt" 2>&1

library=$bundle/bin/libservebench_cuda.so
build_library() {
  local capability
  if [ -z "${CUDA_ARCHS:-}" ] && capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1); then
    # A GPU newer than the library's last architecture gets that one's PTX.
    case $capability in 8.0 | 8.6 | 8.9 | 9.0) export CUDA_ARCHS=${capability/./} ;; esac
  fi
  SERVEBENCH_TOOLKIT=own JOBS=$(nproc) kernels/cuda/build.sh
}
have_nvcc() { SERVEBENCH_TOOLKIT=own kernels/cuda/toolkit.sh >/dev/null 2>&1; }
if [ -n "$simulated" ]; then
  library=$simulated
  wanted build && note build "not done: the device is simulated by $simulated"
elif have_nvcc; then
  stage build build_library
elif wanted build; then
  if [ -f prebuilt/libservebench_cuda.so ]; then
    note build "not done: there is no nvcc here; the library is the one that came with the bundle"
  else
    failed=1
    note build "**failed**: there is no nvcc here (PATH, CUDA_HOME), and the bundle has no library"
  fi
fi
if [ ! -f "$library" ] && [ -f prebuilt/libservebench_cuda.so ]; then
  library=$bundle/prebuilt/libservebench_cuda.so
fi

# cuBLASLt comes with the toolkit, or with a Python package, in folders that the
# loader does not always know. It is too large for a bundle.
blas_folder() {
  local missing folder
  missing=$(ldd "$library" 2>/dev/null | sed -n 's/^[[:space:]]*\(libcublasLt[^ ]*\) => not found.*/\1/p')
  [ -n "$missing" ] || return 1
  for folder in "${CUDA_HOME:-/usr/local/cuda}/lib64" /usr/local/cuda*/lib64 /usr/local/cuda*/targets/*/lib \
    $(python3 -c 'import sys; print("\n".join(p + "/nvidia/" + d for p in sys.path if p for d in ("cu13/lib", "cublas/lib")))' 2>/dev/null); do
    if [ -e "$folder/$missing" ]; then
      printf '%s\n' "$folder"
      return 0
    fi
  done
  say "$missing, which the library needs, is in no folder that was looked in: name it in LD_LIBRARY_PATH"
  return 1
}
if [ -f "$library" ] && folder=$(blas_folder); then
  export LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  echo "LD_LIBRARY_PATH=$LD_LIBRARY_PATH" >>"$out/environment.txt"
fi
export SERVEBENCH_CUDA_LIBRARY=$library SERVEBENCH_CUDA_SIM=required SERVEBENCH_TOKENIZE=$bundle/bin/tokenize SERVEBENCH_SERVE=$bundle/bin/serve
{ ldd "$library"; sha256sum "$library" bin/*; } >>"$out/environment.txt" 2>&1

# Tests and benchmarks. On the simulated device kernels are measured once each: the
# figures say nothing there, that they can be had is what is tested.
once=()
[ -n "$simulated" ] && once=(-test.benchtime 1x -test.short)
stage kernels in_folder kernels/cuda ../../bin/cuda.test -test.v -test.timeout 30m
stage models in_folder serving/models ../../bin/models.test -test.v -test.timeout 30m -test.run 'CUDA|Parity'
stage tokens in_folder serving/sample ../../bin/sample.test -test.v -test.timeout 30m -test.run Device
stage server in_folder serving/cmd/serve ../../../bin/serve.test -test.v -test.timeout 30m
stage limits in_folder kernels/cuda ../../bin/cuda.test -test.run '^$' -test.bench . -test.timeout 30m "${once[@]}"

# serve NAME MODEL ARGUMENTS: the suite measures the server on the device.
serve() {
  local name=$1 model=$2
  shift 2
  local device=(-device cuda) time=${seconds}s streams=1,4,16,64
  if [ -n "$simulated" ]; then
    device=(-device cpu) time=2x streams=1,4
    local -x SBC_SIM_MEMORY=${SBC_SIM_MEMORY:-256M} # the server takes 0.9 of it, which is the host's
  fi
  stage "$name" in_folder benchtests ../bin/benchtests.test -test.run '^$' -test.bench . -test.timeout 0 -test.benchtime "$time" \
    -framework custom -launch process "${device[@]}" \
    -model "$model" -task fixed -input-len 21 -output-len 64 -mode stream -concurrency "$streams" \
    -serve-bin "$SERVEBENCH_SERVE" -serve-args "--device cuda" -results "$out/runs-$name" "$@"
}
serve tiny "smollm2-135m-instruct=$bundle/testdata/serve" -load-format dummy
if [ -z "$simulated" ]; then
  serve gpt2 gpt2 -load-format dummy
  serve llama llama-2-7b-chat -load-format dummy
  for m in "${models[@]}"; do
    serve "llama-$(printf '%s' "${m%%=*}" | tr -c 'a-z0-9.\n' -)" "$m"
  done
fi

# The summary: what ran, and the lines of the logs that have figures.
figures() { # figures TITLE PATTERN FILE...
  local title=$1 pattern=$2 found
  shift 2
  found=$(grep -hE "$pattern" "$@" 2>/dev/null) || return 0
  printf '\n## %s\n\n```\n%s\n```\n' "$title" "$found"
}
{
  echo "# servebench on $(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -1 | grep . || echo 'no GPU')"
  [ -n "$simulated" ] && printf '\nThe device was simulated: the figures say nothing of a GPU.\n'
  printf '\nBundle %s, library %s, %s.\n\n' "$(cat version 2>/dev/null)" "${library#"$bundle"/}" "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
  printf '| stage | result | seconds | log |\n|---|---|---|---|\n'
  printf '%s\n' "${rows[@]}"
  figures "Tests" '^(--- FAIL|FAIL|ok|PASS|panic:)|^ +--- FAIL|SKIPPED' "$out/kernels.log" "$out/models.log" "$out/tokens.log" "$out/server.log"
  figures "Logits beside Transformers'" '^ *\| (model|tiny)' "$out/models.log"
  figures "Kernels" '^Benchmark|^cpu:' "$out/limits.log"
  figures "Serving" '^#  ' "$out"/tiny.log "$out"/gpt2.log "$out"/llama*.log
} >"$out/summary.md"
tar -czf "$out.tar.gz" -C "$(dirname "$out")" "$(basename "$out")"
say "results: $out/summary.md, and all of them in $out.tar.gz"
exit $failed
