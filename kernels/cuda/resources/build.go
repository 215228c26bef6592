package resources

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// ErrNotBuilt is returned by ReadBuild where build.sh has not been.
var ErrNotBuilt = errors.New("the library of CUDA kernels was not built by nvcc: make cuda")

// Build is what build.sh has left.
type Build struct {
	Release string   // of nvcc, as 13.0
	Toolkit string   // folder that nvcc is in the bin of
	Archs   []string // sm_80, …
	Kernels []Kernel // in the order of files, then of ptxas
	Entries []Entry  // PTX of all kernels, each for one architecture
}

// Kernel is what a kernel takes on one architecture.
type Kernel struct {
	File      string // as matmul_small.cu
	Name      string // as norm_kernel<float>: no namespace, no parameters
	Symbol    string // what the linker calls it
	Arch      string // sm_80, …
	Threads   int    // of a block at most, which is what it is launched with; 0: it does not say
	Registers int    // of a thread
	Spilled   int    // bytes of a thread that are stored for want of registers, or loaded again
	Stack     int    // bytes of a thread in local memory, what is spilled included
	Shared    int    // static, bytes of a block
}

// ReadBuild reads bin/obj/cuda. It needs c++filt, which comes with the linker.
func ReadBuild(dir string) (*Build, error) {
	text, err := os.ReadFile(filepath.Join(dir, "build"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotBuilt
	}
	if err != nil {
		return nil, err
	}
	head := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(head) != 3 {
		return nil, fmt.Errorf("%s: %d lines instead of three: run make cuda again", filepath.Join(dir, "build"), len(head))
	}
	b := &Build{Release: head[0], Toolkit: head[1]}
	for a := range strings.FieldsSeq(head[2]) {
		b.Archs = append(b.Archs, "sm_"+a)
	}
	keys, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return nil, err
	}
	for _, path := range keys {
		if err := b.add(dir, strings.TrimSuffix(filepath.Base(path), ".log")); err != nil {
			return nil, err
		}
	}
	if len(b.Kernels) == 0 {
		return nil, fmt.Errorf("%s has no kernel of which ptxas said anything: remove the folder and run make cuda again", dir)
	}
	return b, b.name()
}

// Missing returns the architectures of the table that the build is not for.
func (b *Build) Missing() []string {
	var missing []string
	for _, arch := range slices.Sorted(maps.Keys(limits)) {
		if !slices.Contains(b.Archs, arch) {
			missing = append(missing, arch)
		}
	}
	return missing
}

// add adds the kernels of one source file.
func (b *Build) add(dir, name string) error {
	log, err := os.Open(filepath.Join(dir, name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	kernels, err := readPtxas(log)
	if err != nil {
		return fmt.Errorf("%s: %w", log.Name(), err)
	}
	files, err := filepath.Glob(filepath.Join(dir, name, "*.ptx"))
	if err != nil {
		return err
	}
	threads := map[string]int{}
	for i, path := range files {
		entries, err := readPTXFile(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, e := range entries {
			threads[e.Symbol] = e.Threads
		}
		if i == 0 {
			b.Entries = append(b.Entries, entries...)
		}
	}
	for _, k := range kernels {
		n, ok := threads[k.symbol]
		if !ok {
			return fmt.Errorf("%s: %s is not in the PTX beside it: remove %s and run make cuda again", log.Name(), k.symbol, dir)
		}
		b.Kernels = append(b.Kernels, Kernel{
			File: name + ".cu", Symbol: k.symbol, Arch: k.arch, Threads: n,
			Registers: k.registers, Spilled: k.stores + k.loads, Stack: k.stack, Shared: k.shared,
		})
	}
	return nil
}

func readPTXFile(path string) ([]Entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadPTX(f)
}

// name gives the kernels the names that their source has.
func (b *Build) name() error {
	var symbols bytes.Buffer
	for _, k := range b.Kernels {
		fmt.Fprintln(&symbols, k.Symbol)
	}
	cmd := exec.Command("c++filt")
	cmd.Stdin = &symbols
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("c++filt, which tells kernels' names and comes with binutils: %w", err)
	}
	names := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(names) != len(b.Kernels) {
		return fmt.Errorf("c++filt: %d names of %d symbols: %w", len(names), len(b.Kernels), io.ErrUnexpectedEOF)
	}
	for i := range b.Kernels {
		b.Kernels[i].Name = plain(names[i])
	}
	return nil
}

// types are what the names of types are shortened to.
var types = strings.NewReplacer("__nv_bfloat16", "bf16", "__half", "f16", "(anonymous namespace)::", "", "sbc::", "")

// plain is a demangled symbol without the return type, namespaces and parameters.
func plain(name string) string {
	name = types.Replace(name)
	depth := 0
	for i, c := range name {
		switch c {
		case '<':
			depth++
		case '>':
			depth--
		case '(':
			if depth == 0 {
				name = name[:i]
			}
		}
		if len(name) == i {
			break
		}
	}
	depth = 0
	for i, c := range name {
		switch {
		case c == '<':
			depth++
		case c == '>':
			depth--
		case c == ' ' && depth == 0:
			return name[i+1:]
		}
	}
	return name
}
