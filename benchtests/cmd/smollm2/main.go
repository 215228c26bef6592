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
