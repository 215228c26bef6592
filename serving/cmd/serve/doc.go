// Command serve is the custom server: an OpenAI-compatible HTTP API over one
// model.
//
//		serve --model FOLDER|FILE.gguf|HUB-ID [flags]
//
//	 1. parseFlags (flags.go) reads the command line and refuses what cannot work.
//	 2. run (run.go) takes the port, and answers 503 on it until the model is there.
//	 3. load (load.go) finds the model and checks the flags against its
//	    configuration. place (device.go) finds where it goes: the GPU, which is opened,
//	    or the CPU. measure (memory.go) counts what the model needs of memory there
//	    (layout.go), fit compares that with what is free (free.go) and sizes the KV
//	    cache; a model that does not fit is refused here, with the figures. load then
//	    opens the CPU, if it is that, loads the weights, has a GPU keep steps in which
//	    all sequences decode as CUDA graphs (capture.go), and starts the engine.
//	 4. run opens the API and waits for a signal. The first SIGINT or SIGTERM stops
//	    accepting, gives running requests --shutdown-timeout seconds and exits 0;
//	    the second one ends everything at once.
//
// # Memory
//
// Weights are held once, in the device's dtype and layout. While they are loaded
// the process holds a few of the checkpoint's largest tensors beside them (need.loading
// says how much at most; Phi-2: 0.3 GiB), and gives them back before it serves. The
// last line of loading tells the peak. BenchmarkRealSizes (make real-sizes) shows
// that for the models of real size, and how fast they then are.
//
// On a GPU the KV cache takes what --gpu-memory-utilization of its memory leaves
// beside what is in use when the server starts, the weights and what a step takes.
// Weights go there in pieces, straight from the checkpoint's files. The GPU's memory
// is given back before the process ends.
//
// It exits with 2 when the command line is at fault, 1 when something else is.
package main
