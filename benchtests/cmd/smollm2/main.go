// Command smollm2 fetches SmolLM2-135M-Instruct, the small real model that tests
// and a suite without a hub use, and prints the path of its GGUF file.
package main

import (
	"context"
	"fmt"
	"os"

	"servebench/benchtests"
)

func main() {
	path, err := benchtests.FetchSmolLM2(context.Background(), os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "smollm2:", err)
		os.Exit(1)
	}
	fmt.Println(path)
}
