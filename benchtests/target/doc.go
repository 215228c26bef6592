// Package target knows the frameworks that are measured: one file each, one
// entry of All each.
//
// # Pipeline
//
//  1. ByName finds a Target, and Target.Check tells what of a Config it cannot do.
//  2. Target.Program finds or builds what is run as a process, Target.Version
//     asks it what it is; Target.Image is what runs in a container in its place.
//  3. Target.Prepare makes what a server needs besides the model (folder.go).
//     For a container Image.Inside then says what of it is seen where.
//  4. Target.Args writes the command line for a Config, whatever its flags are
//     called: of a process on the loopback interface, or of a container on all of
//     its own. Target.Env and Image.Env are the variables. Package launch runs it
//     and polls Target.Ready; Target.Load then brings the model into a server that
//     has none yet. Of a server that runs already, none of this is done.
//  5. Target.ServedName asks a running server what it calls its model; of one that
//     the suite started Target.Served knows it.
//  6. Target.VersionAt, TokenizeText, Scrape and Reset ask a running server for its
//     version, the token ids of a text and its load, and to forget prompts. What a
//     framework has no route for is errors.ErrUnsupported.
//  7. Target.Body writes a prompt's request as the framework takes it
//     (Target.Payload), and Target.Route says where it goes.
//
// Capabilities say in which ways frameworks differ, CapabilitiesFor also those
// that depend on how a server is started; the suite never asks for a framework by
// name.
//
// # The same work
//
// Every framework gets the same text, sampling, limits and lengths, in its own
// words. openai is any other server: what it does is what it does.
//
//	what                 custom, vllm, sglang  llamacpp                 tgi                     transformers             ollama                   openai
//	end of sequence      ignore_eos            ignore_eos (bans it)     the model's folder      generation_config        stands                   stands
//	what is left out     off, by a flag        off, by fields           off by default          the generation config    off, in the model made   the server's
//	top_p 1              sent                  sent                     left out: it is 422     sent                     sent                     sent
//	to sample            temperature > 0       temperature > 0          temperature > 0         do_sample as well        temperature > 0          temperature > 0
//	unknown fields       passed over           passed over              passed over             422: none are sent       passed over              none are sent
//	context and batch    flags                 slots of the context     flags                   none; one at a time (*)  variables, per slot      the server's
//	prefix cache         flag                  flag and field           variable                has none                 always on                not known
//	  emptied by         a route (**)          a new start (****)       a new start             has none                 a new start              not known
//	completions' prompt  as it is              as it is                 as it is                as it is                 a template that is it    as it is
//	token ids told       /tokenize             /tokenize                /tokenize               no                       no                       no
//	load told            /metrics              /metrics                 /metrics, no KV cache   no                       no                       no
//	GPUs                 tensor parallel (***) rows                     shards                  one                      spread                   the server's
//
// (*) or together with --continuous-batching, where the sampling of the first
// request holds for all. (**) vLLM's only in its developers' mode, in which it is
// started. (***) custom has none. (****) or by erasing slots, if it was started so
// that this is all: see llamacpp.go.
//
// Where a framework cannot do as the others do, its Capabilities say so and the
// suite writes it into the row.
//
// Of vllm, tgi, transformers, llamacpp and ollama what is said here is held
// against recorded exchanges (the quirks_*_test.go files); of sglang it was read
// in its source.
package target
