// Package api is the OpenAI-compatible HTTP interface of the server: routes,
// request parsing, streams and errors. It holds no tensors and knows no model;
// recorded exchanges of vLLM are the model for shapes, statuses and error bodies.
//
// # The life of a request
//
//  1. Gate answers 503 while the model loads, then hands over to Server.
//  2. Server.ServeHTTP routes (server.go) and turns what has no route into 404 and 405.
//  3. readBody bounds and checks the body; parseObject splits it and runs the
//     field table of the route (fields.go), so that every error names its field.
//  4. Server.prepare (params.go) checks values against the model's limits
//     (sampling.go), encodes the prompts (prompts.go) and makes a job: one
//     engine.Request for each of n choices of each prompt.
//  5. Server.start (choices.go) submits them; the request's context ends them all
//     when the client goes away. One that fails ends the others and the answer.
//  6. generation.next (generation.go) waits for a choice's token, detokenises it
//     and runs the stop matcher (stop.go), which holds back what may become a
//     stop string. A single choice is read by the handler; of several, each has a
//     goroutine, and choices.next takes their pieces in the order they come.
//  7. The answer is one JSON value (answers.go), or events appended by the event
//     writer (sse.go) and flushed one by one; tokenLog (logprobs.go) writes the
//     log-probabilities of both.
//
// # Routes
//
//	route                     what
//	POST /v1/completions      text for prompts
//	POST /v1/chat/completions the next message of a chat
//	GET /v1/models            the names served
//	GET /v1/models/{id...}    one of them
//	GET /health               200 with an empty body, or 503 and why
//	GET /ping                 the same
//	GET /version              this server's version
//	GET /metrics              Prometheus' text format, with vLLM's names
//	GET /load                 how many sequences run or wait
//	POST /tokenize            token ids of a prompt or a chat
//	POST /detokenize          the text of token ids
//	POST /reset_prefix_cache  forgets the prefix cache
//	POST /generate            TGI's: a text for a prompt
//	POST /generate_stream     TGI's: the same, as a stream
//	POST /{$}                 TGI's: either of them
//	GET /{$}                  TGI's: /health
//	GET /info                 TGI's: model and limits
//
// The fields of TGI's routes are listed in tgi.go, vLLM's metrics and which of
// them are here in testdata/vllm_metrics.txt.
//
// # Fields
//
// Field names are matched exactly. null means left out. Of two fields of one
// name the last counts. A field is
//
//	done     it does what OpenAI and vLLM say it does
//	refused  a 400 that names it and says why, unless it has the value that
//	         changes nothing (in the last column, besides null)
//	ignored  any value is taken: it says nothing about the text
//	-        unknown: ignored as vLLM does, but its name is logged and sent
//	         back in the header X-Ignored-Fields; so is any field not listed
//
// The table is held to the code by a test.
//
//	field                         completions  chat     tokenize  detokenize  values
//	model                         done         done     done      done        a name served; the first of them
//	prompt                        done         -        done      -           string, list of strings, of ids, of lists of ids; tokenize: a string
//	messages                      -            done     done      -           role and content; at least one, at most the context's tokens
//	tokens                        -            -        -         done        list of ids
//	max_tokens                    done         done     -         -           1 to the context, 0 with echo; 16, chat: to the end of the context
//	max_completion_tokens         -            done     -         -           wins over max_tokens
//	min_tokens                    done         done     -         -           0 to max_tokens; 0
//	request_id                    done         done     -         -           at most 256 bytes, part of id; the header X-Request-Id wins
//	n                             done         done     -         -           1 or more, 256 choices over all prompts; 1
//	best_of                       done         -        -         -           what n is
//	temperature                   done         done     -         -           0 or more, below 0.01 raised to it; generation_config.json, 1
//	top_p                         done         done     -         -           above 0, to 1; generation_config.json, 1
//	top_k                         done         done     -         -           -1 and 0 keep all; generation_config.json, all
//	min_p                         done         done     -         -           0 to 1; generation_config.json, 0
//	seed                          done         done     -         -           64 bits, choice i of a prompt has seed+i; random
//	presence_penalty              done         done     -         -           -2 to 2; 0
//	frequency_penalty             done         done     -         -           -2 to 2; 0
//	repetition_penalty            done         done     -         -           above 0; generation_config.json, 1
//	logit_bias                    done         done     -         -           ids as strings, to -100 … 100
//	allowed_token_ids             done         done     -         -           list of ids, not empty; all
//	stop                          done         done     -         -           string or list of at most 4, none empty
//	stop_token_ids                done         done     -         -           list of at most 128 ids
//	include_stop_str_in_output    done         done     -         -           bool; false
//	ignore_eos                    done         done     -         -           bool; false
//	skip_special_tokens           done         done     -         -           bool; true
//	logprobs                      done         done     -         -           0 to --max-logprobs; chat: bool
//	top_logprobs                  -            done     -         -           0 to --max-logprobs, with logprobs; 0
//	prompt_logprobs               done         done     -         -           0 to --max-logprobs; not with stream
//	return_tokens_as_token_ids    done         done     -         -           bool; false
//	return_token_ids              done         done     -         -           bool; false
//	echo                          done         done     -         -           bool; false; chat: repeats a last message of the assistant
//	truncate_prompt_tokens        done         done     -         -           keeps the last ids of a prompt; -1 for what fits
//	add_special_tokens            done         done     done      -           bool; true, chat: false
//	add_generation_prompt         -            done     done      -           bool; true, unless continue_final_message
//	continue_final_message        -            done     done      -           bool; false
//	return_token_strs             -            -        done      -           bool; false
//	stream                        done         done     -         -           bool; false
//	stream_options                done         done     -         -           include_usage, and with it continuous_usage_stats; only with stream
//	suffix                        refused      -        -         -           ""
//	prompt_embeds                 refused      -        -         -
//	bad_words                     refused      refused  -         -           []
//	cache_salt                    refused      refused  -         -
//	kv_transfer_params            refused      refused  -         -
//	logits_processors             refused      refused  -         -           []
//	use_beam_search               refused      refused  -         -           false
//	length_penalty                refused      refused  -         -           1
//	response_format               refused      refused  -         -           {"type":"text"}
//	structured_outputs            refused      refused  -         -
//	guided_json                   refused      refused  -         -
//	guided_regex                  refused      refused  -         -
//	guided_choice                 refused      refused  -         -
//	guided_grammar                refused      refused  -         -
//	tools                         -            refused  refused   -           []
//	tool_choice                   -            refused  -         -           "none"
//	functions                     -            refused  -         -           []
//	function_call                 -            refused  -         -           "none"
//	chat_template                 -            refused  refused   -
//	chat_template_kwargs          -            refused  refused   -           {}
//	documents                     -            refused  -         -           []
//	web_search_options            -            refused  -         -
//	audio                         -            refused  -         -
//	modalities                    -            refused  -         -           ["text"]
//	mm_processor_kwargs           -            refused  refused   -           {}
//	prediction                    -            refused  -         -
//	reasoning_effort              -            refused  -         -
//	verbosity                     -            refused  -         -
//	metadata                      ignored      ignored  -         -
//	parallel_tool_calls           ignored      ignored  -         -
//	priority                      ignored      ignored  -         -
//	prompt_cache_key              ignored      ignored  -         -
//	safety_identifier             ignored      ignored  -         -
//	service_tier                  ignored      ignored  -         -
//	spaces_between_special_tokens ignored      ignored  -         -
//	store                         ignored      ignored  -         -
//	user                          ignored      ignored  -         -
//
// Choices are numbered prompt by prompt: choice i of prompt p is p·n+i. usage
// counts a prompt once, whatever n is, and the output of all choices; the usage
// on an event of continuous_usage_stats is its choice's own. n above 1 needs a
// temperature above 0.
//
// Of a chat's message, what is neither role nor content passes when it is null,
// tool calls are refused, and the rest is ignored and named; so is what a content
// part has besides type and text. Texts of a list of parts are joined with newlines.
//
// finish_reason is "stop" after an end-of-sequence token (stop_reason null), a
// token of stop_token_ids (its id) or a stop string (the string), and "length"
// at max_tokens or the end of the context. Before min_tokens no stop token is
// drawn, and a stop string that is complete there stops nothing.
//
// A prompt that is echoed comes with the first token's event, and with logprobs
// its tokens do too: the first of them has null, because nothing comes before
// it. echo with max_tokens 0 gives the prompt alone. Log-probabilities are of
// the model's own distribution, before temperature, penalties and biases. A
// token that is half a character is spelled U+FFFD; bytes has its bytes.
//
// # Errors
//
// Every answer that is no success has OpenAI's shape, {"error": {message, type,
// param, code}}, where code is the status and param the field at fault or null:
//
//	400  bad JSON (with the byte), a wrong type or value, a prompt over the context
//	404  unknown model, unknown route      405  wrong method, with Allow
//	413  body over Config.MaxBody
//	500  the engine failed                 503  loading, overloaded or shutting
//	                                            down, with Retry-After
//
// # Streams
//
// Headers are sent as soon as the engine took the request. Then each token is
// one event and one flush, also one that adds no text (an unfinished character,
// a special token, text held back for a stop string), so events count tokens. A
// chat begins with an event for the role of each choice, sent with the first
// token. The event with a choice's finish_reason is its last; usage, if asked
// for, is an event without choices. When a choice fails midway the stream ends
// with the error as an event, then [DONE], as vLLM does. A client that hangs up,
// or takes nothing for Config.WriteLimit, has its request ended; what it does
// never delays others.
//
// # Differences from vLLM
//
// Every exchange recorded with vLLM, and every request recorded with llama.cpp,
// TGI and Transformers, is answered as vLLM answers it, value by value, but for
//
//	what                                      why
//	id, created                               made anew for every answer
//	system_fingerprint, owned_by, version     names this server
//	service_tier, metrics, routed_experts     null in vLLM unless a flag or a field asks for it; left out here
//	prompt_text, prompt_token_ids, token_ids  null in vLLM unless a flag or a field asks for it; left out here
//	prompt_logprobs, ec_transfer_params       null in vLLM unless a flag or a field asks for it; left out here
//	kv_transfer_params                        null in vLLM unless a flag or a field asks for it; left out here
//	usage.completion_tokens_details           null in vLLM unless a flag or a field asks for it; left out here
//	annotations, function_call of a message   null in vLLM, of what this server does not have
//	audio, reasoning of a message             null in vLLM, of what this server does not have
//	permission of a model                     dropped by OpenAI from its API
//	usage.prompt_tokens_details               always told; vLLM needs --enable-prompt-tokens-details
//	usage of every event                      asked for with continuous_usage_stats; vLLM also has a flag
//	error.message                             says what is allowed and what to do, in words of its own
//	error.type                                one type a status; vLLM has two for 400
//	error.param                               the field as the caller wrote it, wherever one is at fault
//	detail, error of a 404 or 405             every error has OpenAI's shape; vLLM's framework has another there
//
// and what no recording shows: top_logprobs of a chat are the likeliest tokens,
// where vLLM begins with the one drawn; bytes are a token's own, where vLLM
// encodes its spelling; echo with max_tokens 0 counts no output token, where
// vLLM counts one; logit_bias beyond ±100 is refused, where vLLM cuts it off.
package api
