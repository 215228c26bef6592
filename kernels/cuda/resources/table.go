package resources

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Row is a kernel on one architecture.
type Row struct {
	File, Kernel, Arch string
	Threads            int // of a block
	Registers          int // of a thread
	Spilled            int // bytes of a thread
	Stack              int // bytes of a thread in local memory
	Shared             int // static, bytes of a block
	Dynamic            int // bytes of a block with Llama-2-7B's shapes (dynamic.go)
	Blocks             int // that fit on a multiprocessor
	Occupancy          int // percent of its warps, rounded
}

// Table is all kernels on all architectures, compiled by one release of nvcc:
// another compiles them to other registers.
type Table struct {
	Release string
	Rows    []Row
}

var columns = []string{"file", "kernel", "arch", "threads", "registers", "spill_bytes", "stack_bytes", "static_shared_bytes", "dynamic_shared_bytes", "blocks_per_sm", "occupancy_percent"}

const remark = "# What nvcc %s makes of the kernels; `make cuda-resources` writes this file, go doc servebench/kernels/cuda/resources explains it.\n"

// TableOf is the table of a build. A kernel without __launch_bounds__ is an error:
// its block is not known.
func TableOf(b *Build) (*Table, error) {
	t := &Table{Release: b.Release}
	seen := map[string]string{}
	for _, k := range b.Kernels {
		if k.Threads == 0 {
			return nil, fmt.Errorf("%s: %s has no __launch_bounds__: give it the threads that it is launched with", k.File, k.Name)
		}
		if other, ok := seen[k.Name+k.Arch]; ok {
			return nil, fmt.Errorf("%s and %s both have a kernel %s: rename one", other, k.File, k.Name)
		}
		seen[k.Name+k.Arch] = k.File
		dynamic, err := dynamicOf(k.Name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.File, err)
		}
		r := Row{File: k.File, Kernel: k.Name, Arch: k.Arch, Threads: k.Threads, Registers: k.Registers, Spilled: k.Spilled, Stack: k.Stack, Shared: k.Shared, Dynamic: dynamic}
		blocks, share, err := Occupancy(k.Arch, k.Threads, k.Registers, r.Shared+r.Dynamic)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", k.File, k.Name, err)
		}
		r.Blocks, r.Occupancy = blocks, int(100*share+0.5)
		t.Rows = append(t.Rows, r)
	}
	slices.SortStableFunc(t.Rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Kernel, b.Kernel), cmp.Compare(a.Arch, b.Arch))
	})
	return t, nil
}

// Write writes the table as CSV.
func (t *Table) Write(w io.Writer) error {
	if _, err := fmt.Fprintf(w, remark, t.Release); err != nil {
		return err
	}
	out := csv.NewWriter(w)
	if err := out.Write(columns); err != nil {
		return err
	}
	for _, r := range t.Rows {
		record := []string{r.File, r.Kernel, r.Arch}
		for _, n := range r.numbers() {
			record = append(record, strconv.Itoa(*n))
		}
		if err := out.Write(record); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// numbers are the columns behind arch.
func (r *Row) numbers() []*int {
	return []*int{&r.Threads, &r.Registers, &r.Spilled, &r.Stack, &r.Shared, &r.Dynamic, &r.Blocks, &r.Occupancy}
}

// ReadTable reads what Write has written.
func ReadTable(r io.Reader) (*Table, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	t := &Table{}
	first, rest, _ := strings.Cut(string(text), "\n")
	if _, err := fmt.Sscanf(first, strings.SplitAfter(remark, "%s")[0], &t.Release); err != nil {
		return nil, fmt.Errorf("line 1 does not say which nvcc the table is of: %w", err)
	}
	in := csv.NewReader(strings.NewReader(rest))
	in.FieldsPerRecord = len(columns)
	records, err := in.ReadAll()
	if err != nil {
		return nil, err
	}
	if len(records) == 0 || !slices.Equal(records[0], columns) {
		return nil, fmt.Errorf("line 2 should name the columns %s", strings.Join(columns, ","))
	}
	for i, record := range records[1:] {
		row := Row{File: record[0], Kernel: record[1], Arch: record[2]}
		numbers, err := atoi(record[3:])
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", i+1, err)
		}
		for j, n := range row.numbers() {
			*n = numbers[j]
		}
		t.Rows = append(t.Rows, row)
	}
	return t, nil
}

// Differ tells in which rows got is not as the table says, of the architectures
// that got has; nothing where all is.
func (t *Table) Differ(got *Table) []string {
	type key struct{ kernel, arch string }
	rows, archs := map[key]Row{}, map[string]bool{}
	for _, r := range got.Rows {
		rows[key{r.Kernel, r.Arch}], archs[r.Arch] = r, true
	}
	var said []string
	for _, want := range t.Rows {
		if !archs[want.Arch] {
			continue
		}
		k := key{want.Kernel, want.Arch}
		r, ok := rows[k]
		delete(rows, k)
		switch {
		case !ok:
			said = append(said, fmt.Sprintf("%s for %s is in the table, and not in the library", want.Kernel, want.Arch))
		case r != want:
			said = append(said, fmt.Sprintf("%s for %s: the table has %+v, the library %+v", want.Kernel, want.Arch, want, r))
		}
	}
	for _, r := range got.Rows {
		if _, left := rows[key{r.Kernel, r.Arch}]; left {
			said = append(said, fmt.Sprintf("%s for %s is not in the table", r.Kernel, r.Arch))
		}
	}
	return said
}
