// Package target knows the frameworks that are measured: one file each, one
// entry of All each.
//
// # Pipeline
//
//  1. ByName finds a Target.
//  2. Target.Program finds or builds what is run; Target.Version asks it what it is.
//  3. Target.Args writes its command line for a Config, whatever its flags are
//     called; package launch runs it and polls Target.Ready.
//  4. ServedName asks a running server what it calls its model.
//  5. Target.Body writes a prompt's request as the framework takes it, and
//     Target.Route says where it goes.
//
// Capabilities say in which ways frameworks differ; the suite never asks for a
// framework by name. A framework that runs in a container has an image in place
// of a program.
package target
