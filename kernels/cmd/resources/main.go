package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"servebench/kernels/cuda/resources"
)

func main() {
	objects := flag.String("objects", filepath.Join("bin", "obj", "cuda"), "folder that kernels/cuda/build.sh has filled")
	out := flag.String("out", filepath.Join("kernels", "cuda", "resources.csv"), "file to write")
	flag.Parse()
	if err := run(*objects, *out); err != nil {
		fmt.Fprintln(os.Stderr, "resources:", err)
		os.Exit(1)
	}
}

func run(objects, out string) error {
	b, err := resources.ReadBuild(objects)
	if err != nil {
		return err
	}
	if missing := b.Missing(); len(missing) > 0 {
		return fmt.Errorf("%s was built without %v: run make cuda without CUDA_ARCHS", objects, missing)
	}
	t, err := resources.TableOf(b)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(out), ".resources-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := t.Write(f); err != nil {
		f.Close()
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), out)
}
