package datasets

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"servebench/datasets/hub"
)

// Dataset is a public dataset: where its rows are and how a row becomes a prompt.
type Dataset struct {
	Name   string   // "trivia_qa": file names and -dataset
	Hub    string   // repository on the hub: "mandarjoshi/trivia_qa"
	Config string   // configuration there: "rc.nocontext"
	Splits []string // of the configuration; the first is taken unless another is asked for
	Task   Task
	Rule   string // how a row becomes a prompt and which rows are dropped, for the header

	folder string                             // of the configuration's parquet files in the repository
	read   func(input) iter.Seq2[Row, error]  // the rows of one file
	prompt func(row Row, examples int) string // the text sent; examples as counted by maxExamples
	// maxExamples is how many few-shot examples prompt can put in; as few as
	// bring the text into the window are taken.
	maxExamples int
}

// Row is what a task needs of a dataset's row.
type Row struct {
	ID    string
	Where string // file and line, or row number in a Parquet file
	Text  string // the message, article, question, or signature with docstring
	Drop  string // why the dataset's rule turns the row away; "" if it does not
}

// Datasets returns the known datasets, one a task, in the order of Tasks.
func Datasets() []Dataset { return []Dataset{oasst1, cnnDailyMail, triviaQA, humanEval} }

// DatasetByName returns the dataset of that name, or of that repository on the
// hub; the error lists those that exist.
func DatasetByName(name string) (Dataset, error) {
	var names []string
	for _, d := range Datasets() {
		if name == d.Name || name == d.Hub {
			return d, nil
		}
		names = append(names, d.Name)
	}
	return Dataset{}, unknown("dataset", name, names)
}

// DatasetFor returns the dataset of a task. It panics on a task that is not in Tasks.
func DatasetFor(t Task) Dataset {
	for _, d := range Datasets() {
		if d.Task == t {
			return d
		}
	}
	panic(fmt.Sprintf("datasets: no dataset for task %q", t))
}

// Source is a dataset's rows, read from files.
type Source struct {
	Dataset Dataset
	Split   string // "" when the files were given, not downloaded
	Files   []SourceFile
	inputs  []input
}

// Open names the files a dataset's rows are in: JSONL, gzipped JSONL or
// Parquet, told apart by their first bytes. The files are hashed here and read
// when Rows is ranged over.
func (d Dataset) Open(paths ...string) (*Source, error) {
	if len(paths) == 0 {
		return nil, errors.New("no files to read rows from")
	}
	s := &Source{Dataset: d}
	for _, path := range paths {
		sum, err := hashFile(path)
		if err != nil {
			return nil, fmt.Errorf("rows of %s: %w", d.Name, err)
		}
		s.Files = append(s.Files, SourceFile{Name: filepath.Base(path), SHA256: sum})
		s.inputs = append(s.inputs, fileInput(path))
	}
	return s, nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Rows yields the rows in the order of the files. The first error ends it; it
// names the file and the line.
func (s *Source) Rows() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for _, in := range s.inputs {
			for row, err := range s.Dataset.read(in) {
				if err != nil {
					err = fmt.Errorf("%s is not a row of %s (%s): %w", row.Where, s.Dataset.Hub, s.Dataset.Config, err)
				}
				if !yield(row, err) || err != nil {
					return
				}
			}
		}
	}
}

// Download fetches a split's Parquet files from the hub, or finds them in its
// cache, and opens them. split "" is the first of d.Splits.
func (d Dataset) Download(ctx context.Context, c *hub.Client, split string) (*Source, error) {
	if split == "" {
		split = d.Splits[0]
	}
	if !slices.Contains(d.Splits, split) {
		return nil, unknown("split of "+d.Name, split, d.Splits)
	}
	pattern := d.folder + "/" + split + "-*.parquet"
	repo := hub.Repo{Kind: hub.Dataset, ID: d.Hub}
	dir, err := c.Snapshot(ctx, repo, hub.Files{Need: []string{pattern}})
	if err != nil {
		return nil, fmt.Errorf("rows of %s, split %s: %w (or give a local copy with -in)", d.Name, split, err)
	}
	paths, err := filepath.Glob(filepath.Join(escapeGlob(dir), filepath.FromSlash(pattern)))
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	if err := allShards(paths); err != nil {
		return nil, fmt.Errorf("rows of %s, split %s in %s: %w", d.Name, split, dir, err)
	}
	s, err := d.Open(paths...)
	if err != nil {
		return nil, err
	}
	s.Split = split
	return s, nil
}

var globMeta = regexp.MustCompile(`[*?\[\\]`)

func escapeGlob(dir string) string { return globMeta.ReplaceAllString(dir, `\$0`) }

var shardName = regexp.MustCompile(`-(\d{5})-of-(\d{5})[-.]`)

// allShards checks that sorted paths are all parts of a split: a cache that
// was filled offline or by another tool can hold some of them.
func allShards(paths []string) error {
	for i, p := range paths {
		m := shardName.FindStringSubmatch(filepath.Base(p))
		if m == nil {
			return fmt.Errorf("%s is not named like a shard (split-00000-of-00001.parquet)", filepath.Base(p))
		}
		part, _ := strconv.Atoi(m[1])
		of, _ := strconv.Atoi(m[2])
		if of != len(paths) || part != i {
			return fmt.Errorf("%d files, but %s is part %d of %d: download the others, or remove files of an older revision",
				len(paths), filepath.Base(p), part+1, of)
		}
	}
	if len(paths) == 0 {
		return errors.New("no files")
	}
	return nil
}
