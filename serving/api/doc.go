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
//  4. Server.prepare (params.go) checks values against the model's limits,
//     encodes the prompt and makes the engine.Request.
//  5. Engine.Submit queues it; the request's context ends it when the client goes away.
//  6. generation.next (generation.go) waits for a token, detokenises it and runs
//     the stop matcher (stop.go), which holds back what may become a stop string.
//  7. The answer is one JSON value (answers.go), or events appended by
//     the event writer (sse.go) and flushed one by one.
//
// # Fields
//
// Field names are matched exactly. null means left out.
//
//	field                  completions       chat              default
//	model                  name served       name served       the first served name
//	prompt                 string, [int],    -                 required
//	                       [string], [[int]]
//	messages               -                 role + content    required, at least one
//	max_tokens             1 … context       1 … context       16; chat: to the end of the context
//	max_completion_tokens  ignored (unknown) wins over max_tokens
//	min_tokens             0 … max_tokens    same              0
//	temperature            ≥ 0               same              generation_config.json, else 1
//	top_p                  (0, 1]            same              generation_config.json, else 1
//	top_k                  -1, 0 = all, ≥ 1  same              generation_config.json, else all
//	seed                   64-bit integer    same              random
//	stop                   string, ≤ 4 of them, none empty     none
//	ignore_eos             bool              same              false
//	stream                 bool              same              false
//	stream_options         include_usage, continuous_usage_stats; only with stream
//
// Fields that OpenAI or vLLM have and this server does not (neutral, in
// fields.go) pass when they carry the value that changes nothing (n: 1,
// presence_penalty: 0, logprobs: null …) and are a 400 that names them otherwise.
// Any other field is unknown: ignored like vLLM does, but its name is logged
// and sent back in the header X-Ignored-Fields.
//
// A temperature between 0 and 0.01 is raised to 0.01, as in vLLM. Texts of a
// list of content parts are joined with newlines. Of two fields of one name the
// last counts.
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
// chat begins with an event for the role, sent with the first token. The event
// with finish_reason is the last with choices; usage, if asked for, is an event
// with none. When the engine fails midway the stream ends with the error as an
// event, then [DONE], as vLLM does. A client that hangs up, or takes nothing for
// Config.WriteLimit, has its request ended; what it does never delays others.
//
// replay_test.go lists, with reasons, every way in which answers differ from
// vLLM's recorded ones.
package api
