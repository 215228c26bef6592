package datasets

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/parquet-go/parquet-go"
)

// parquetBatch is how many rows are decoded at a time.
const parquetBatch = 64

// parquetRows decodes the rows of a Parquet file by way of JSON, so that they
// are checked like those of the other formats. They are read in the file's own
// schema and not in R's: lists are three-level groups whose inner names differ
// with the age of the writer ("item", "element"), and reading into a struct
// finds nothing under the other name and says nothing.
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
		if err := checkFooter(f); err != nil {
			give(located[R]{where: name}, err)
			return
		}
		file, err := parquet.OpenFile(f, f.Size())
		if err != nil {
			give(located[R]{where: name}, err)
			return
		}
		rows := parquet.NewGenericReader[any](file)
		defer rows.Close()
		batch := make([]any, parquetBatch)
		for {
			clear(batch)
			got, err := rows.Read(batch)
			if got == 0 && err == nil {
				err = io.ErrNoProgress
			}
			for i := range got {
				n++
				row := located[R]{where: rowOf(name, n)}
				line, err := json.Marshal(batch[i])
				if err == nil {
					err = decodeJSON(line, required, &row.value)
				}
				if !give(row, err) || err != nil {
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

// checkFooter holds the length of the file's metadata, which its last bytes
// give, against the file: the library allocates what it says.
func checkFooter(f readerAt) error {
	const magic = 4
	var tail [4 + magic]byte
	if f.Size() < int64(magic+len(tail)) {
		return errors.New("damaged Parquet file: too short")
	}
	if _, err := f.ReadAt(tail[:], f.Size()-int64(len(tail))); err != nil {
		return err
	}
	n := int64(binary.LittleEndian.Uint32(tail[:]))
	if string(tail[4:]) != "PAR1" || n > f.Size()-int64(magic+len(tail)) {
		return errors.New("damaged Parquet file: cut, or not closed by its writer")
	}
	return nil
}

func rowOf(name string, n int) string { return fmt.Sprintf("%s: row %d", name, n) }
