// Package target knows the frameworks that are measured: one file each, one
// entry of All each.
//
// # Pipeline
//
//  1. ByName finds a Target.
//  2. Target.Program finds or builds what is run; Target.Version asks it what it is.
//  3. Target.Prepare makes what a server needs besides the model (folder.go).
//  4. Target.Args writes its command line for a Config, whatever its flags are
//     called, and Target.Env its variables; package launch runs it and polls
//     Target.Ready.
//  5. ServedName asks a running server what it calls its model; of one that the
//     suite started Target.Served knows it.
//  6. Target.Body writes a prompt's request as the framework takes it
//     (Target.Payload), and Target.Route says where it goes.
//
// Capabilities say in which ways frameworks differ; the suite never asks for a
// framework by name. A framework that runs in a container has an image in place
// of a program.
//
// # The same work
//
// Every framework gets the same text, sampling, limits and lengths, in its own
// words:
//
//	what                 custom, vllm      llamacpp                 tgi                     transformers
//	end of sequence      ignore_eos        ignore_eos (bans it)     the model's folder      generation_config
//	what is left out     off, by a flag    off, by fields           off by default          the model's generation config
//	top_p 1              sent              sent                     left out: it is 422     sent
//	to sample            temperature > 0   temperature > 0          temperature > 0         do_sample in generation_config
//	unknown fields       passed over       passed over              passed over             422: none are sent
//	context and batch    flags             slots of the context     flags                   no limit; one request at a time
//	prefix cache         flag              flag and field           variable                has none
//
// Where a framework cannot do as the others do, its Capabilities say so and the
// suite writes it into the row.
package target
