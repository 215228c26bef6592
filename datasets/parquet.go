package datasets

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// parquetBatch is how many rows are decoded at a time.
const parquetBatch = 64

// parquetRows decodes a Parquet file as the hub has them: every column
// optional, lists as three-level LIST groups whose inner names differ between
// versions of the writer, structs as groups.
func parquetRows[R any](name string, f readerAt, required []string) iter.Seq2[located[R], error] {
	return func(yield func(located[R], error) bool) {
		n := 0
		// A damaged file can make the library panic: its decoders trust the
		// lengths and levels they read. A panic of the consumer passes.
		decoding := true
		give := func(row located[R], err error) bool {
			decoding = false
			more := yield(row, err)
			decoding = true
			return more
		}
		defer func() {
			if !decoding {
				return
			}
			if p := recover(); p != nil {
				yield(located[R]{where: rowOf(name, n+1)}, fmt.Errorf("damaged Parquet file: %v", p))
			}
		}()
		file, err := parquet.OpenFile(f, f.Size())
		if err == nil {
			err = hasColumns(file.Schema(), required)
		}
		if err != nil {
			give(located[R]{where: name}, err)
			return
		}
		rows := parquet.NewGenericReader[R](file)
		defer rows.Close()
		batch := make([]R, parquetBatch)
		for {
			clear(batch)
			got, err := rows.Read(batch)
			for i := range got {
				n++
				if !give(located[R]{where: rowOf(name, n), value: batch[i]}, nil) {
					return
				}
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				give(located[R]{where: rowOf(name, n+1)}, err)
				return
			}
		}
	}
}

func rowOf(name string, n int) string { return fmt.Sprintf("%s: row %d", name, n) }

// hasColumns checks that the required fields are columns of the file.
func hasColumns(schema *parquet.Schema, required []string) error {
	for _, path := range required {
		var node parquet.Node = schema
		for name := range strings.SplitSeq(path, ".") {
			fields := map[string]parquet.Node{}
			if !node.Leaf() {
				for _, field := range node.Fields() {
					fields[field.Name()] = field
				}
			}
			next, ok := fields[name]
			if !ok {
				return missingField(path, fields)
			}
			node = next
		}
	}
	return nil
}
