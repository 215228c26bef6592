// Command smollm2 fetches SmolLM2-135M-Instruct, the small real model that tests
// and a suite without a hub use, and prints the path of its GGUF file.
package main
