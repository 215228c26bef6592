package ratio

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"servebench/results"
)

// RoundColumn is the column that Merge puts before those of results.csv.
const RoundColumn = "round"

// Row is one pass over a case.
type Row struct {
	Round  int // 0 in a table without rounds
	Repeat int // pass within the round's run
	Case   results.Case

	Requests, Failed     int
	PromptTokens         int             // sum over completed requests; 0 not known
	OutputMin, OutputMax int             // of an answer; 0 not known
	OutputMedian         float64         // likewise
	Contract             results.Verdict // "" in a table from before there was one
	Notes                string

	figures map[string]float64
}

// Figure returns a figure by its column, and whether it could be had.
func (r *Row) Figure(column string) (float64, bool) {
	v, ok := r.figures[column]
	return v, ok
}

// ErrTable is returned, wrapped with where, for what is not a table of results.
var ErrTable = errors.New("not a table of results")

// Read reads a results.csv, or a table that Merge wrote.
func Read(r io.Reader) ([]Row, error) {
	cr := csv.NewReader(r)
	header, err := cr.Read()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTable, err)
	}
	index := map[string]int{}
	for i, name := range header {
		index[name] = i
	}
	for _, name := range []string{"framework", "model", "task", "mode", "parallel", "repeat", "requests", "failed"} {
		if _, ok := index[name]; !ok {
			return nil, fmt.Errorf("%w: there is no column %q", ErrTable, name)
		}
	}
	var rows []Row
	for {
		cells, err := cr.Read()
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrTable, err)
		}
		line, _ := cr.FieldPos(0)
		p := parser{cells: cells, index: index}
		row := p.row()
		if p.err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrTable, line, p.err)
		}
		rows = append(rows, row)
	}
}

// parser reads the cells of one line; err is the first fault.
type parser struct {
	cells []string
	index map[string]int
	err   error
}

// text returns a cell, "" where the table has no such column.
func (p *parser) text(column string) string {
	i, ok := p.index[column]
	if !ok {
		return ""
	}
	return p.cells[i]
}

// count returns a cell as a number from 0; an empty one is 0.
func (p *parser) count(column string) int {
	text := p.text(column)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if (err != nil || n < 0) && p.err == nil {
		p.err = fmt.Errorf("%s is %q", column, text)
	}
	return n
}

// number returns a cell as a finite number; an empty one is 0.
func (p *parser) number(column string) float64 {
	text := p.text(column)
	if text == "" {
		return 0
	}
	v, err := strconv.ParseFloat(text, 64)
	if (err != nil || math.IsInf(v, 0) || math.IsNaN(v)) && p.err == nil {
		p.err = fmt.Errorf("%s is %q", column, text)
	}
	return v
}

// verdict returns a cell that is empty or one of those of a contract.
func (p *parser) verdict(column string) results.Verdict {
	v := results.Verdict(p.text(column))
	if !slices.Contains([]results.Verdict{"", results.Kept, results.Unknown, results.Broken}, v) && p.err == nil {
		p.err = fmt.Errorf("%s is %q", column, v)
	}
	return v
}

func (p *parser) row() Row {
	r := Row{
		Round: p.count(RoundColumn), Repeat: p.count("repeat"),
		Case: results.Case{
			Framework: p.text("framework"), Model: p.text("model"), Task: p.text("task"), Mode: p.text("mode"), Parallel: p.count("parallel"),
		},
		Requests: p.count("requests"), Failed: p.count("failed"), PromptTokens: p.count("prompt_tokens"),
		OutputMin: p.count("output_tokens_min"), OutputMax: p.count("output_tokens_max"),
		Notes: p.text("notes"), figures: map[string]float64{},
		OutputMedian: p.number("output_tokens_p50"), Contract: p.verdict("contract"),
	}
	for _, m := range results.Metrics {
		text := p.text(m.Column)
		if text == "" {
			continue
		}
		r.figures[m.Column] = p.number(m.Column)
	}
	return r
}

// Part is the table of one run.
type Part struct {
	Round int
	Name  string // for errors
	CSV   io.Reader
}

// Merge writes the tables of several runs as one, each row under its round.
// All must have the same columns.
func Merge(w io.Writer, parts []Part) error {
	var header []string
	cw := csv.NewWriter(w)
	for _, part := range parts {
		lines, err := csv.NewReader(part.CSV).ReadAll()
		if err == nil && len(lines) == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("%s: %w: %w", part.Name, ErrTable, err)
		}
		if header == nil {
			header = lines[0]
			if err := cw.Write(append([]string{RoundColumn}, header...)); err != nil {
				return err
			}
		}
		if !slices.Equal(lines[0], header) {
			return fmt.Errorf("%s: %w: its columns are not those of %s: %s", part.Name, ErrTable, parts[0].Name, strings.Join(lines[0], ","))
		}
		for _, line := range lines[1:] {
			if err := cw.Write(append([]string{strconv.Itoa(part.Round)}, line...)); err != nil {
				return err
			}
		}
	}
	cw.Flush()
	return cw.Error()
}
