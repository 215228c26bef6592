// Command serve is the custom server: an OpenAI-compatible HTTP API over one
// model.
//
//		serve --model FOLDER|FILE.gguf|HUB-ID [flags]
//
//	 1. parseFlags (flags.go) reads the command line and refuses what cannot work.
//	 2. run (run.go) takes the port, and answers 503 on it until the model is there.
//	 3. load (load.go) finds the model, checks the flags against its configuration,
//	    opens the device (device.go), sizes the KV cache (memory.go), loads the
//	    weights and starts the engine.
//	 4. run opens the API and waits for a signal. The first SIGINT or SIGTERM stops
//	    accepting, gives running requests --shutdown-timeout seconds and exits 0;
//	    the second one ends everything at once.
//
// It exits with 2 when the command line is at fault, 1 when something else is.
package main
