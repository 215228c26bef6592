package tokenizertest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"strings"
	"testing"
	"time"

	"servebench/datasets"
)

// Behaviour is what the program does.
type Behaviour string

// Good answers every line; the others fail in the way they are named for.
const (
	Good     Behaviour = "good"
	Silent   Behaviour = "silent"    // never says that it is ready
	DieAtOne Behaviour = "die"       // ends with status 3 at the first text, saying why
	Hang     Behaviour = "hang"      // is ready, but answers nothing
	Garbage  Behaviour = "garbage"   // answers with what is not JSON
	NotReady Behaviour = "not-ready" // its first line is an error
	Miscount Behaviour = "miscount"  // counts differ from the ids
	BadID    Behaviour = "bad-id"    // ids outside its vocabulary
	Refuse   Behaviour = "refuse"    // answers texts with "refuse" in them with an error
	Stubborn Behaviour = "stubborn"  // answers, but does not end when its input is closed
)

const env = "SERVEBENCH_TOKENIZERTEST"

// Vocabulary is the program's number of tokens.
const Vocabulary = 5000

// Use makes the test's tokenizer program the test binary itself.
func Use(t *testing.T, b Behaviour) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(env, string(b))
	t.Setenv(datasets.TokenizeEnv, self)
}

// Main is the program, where the process was started as it.
func Main() {
	if b := Behaviour(os.Getenv(env)); b != "" && len(os.Args) > 2 && os.Args[1] == "--model" {
		serve(b)
		os.Exit(0)
	}
}

// pieceLen is the longest run of letters that is one token, about what a
// vocabulary of a few thousand tokens has for English.
const pieceLen = 6

// Encode is the program's tokenizer: short runs of letters, runs of white
// space, and single bytes of anything else, hashed. A run of letters takes the
// one space before it along. Token 0 begins a text and counts as special.
func Encode(text string, special bool) []int32 {
	ids := []int32{}
	if special {
		ids = append(ids, 0)
	}
	for i := 0; i < len(text); {
		start := i
		if text[i] == ' ' && i+1 < len(text) && kind(text[i+1]) != blank {
			i++
		}
		k := kind(text[i])
		for i++; i < len(text) && k != other && kind(text[i]) == k && (k == blank || i-start < pieceLen); i++ {
		}
		h := fnv.New32a()
		h.Write([]byte(text[start:i]))
		ids = append(ids, int32(1+h.Sum32()%(Vocabulary-1)))
	}
	return ids
}

const (
	other = iota
	letter
	blank
)

func kind(c byte) int {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return letter
	case c == ' ', c == '\n', c == '\t':
		return blank
	default:
		return other
	}
}

// Render is the program's chat template.
func Render(messages []datasets.Message) string {
	var b strings.Builder
	for _, m := range messages {
		b.WriteString("<" + m.Role + ">" + m.Content + "\n")
	}
	return b.String() + "<assistant>"
}

// sleep is how the program hangs: for longer than a test, but not for ever.
func sleep() {
	time.Sleep(2 * time.Minute)
	os.Exit(4)
}

// Local is the program's tokenizer without the program.
type Local struct{}

// Count implements datasets.Tokenizer.
func (Local) Count(_ context.Context, texts []string, special bool) ([]int, error) {
	n := make([]int, len(texts))
	for i, text := range texts {
		n[i] = len(Encode(text, special))
	}
	return n, nil
}

// Encode implements datasets.Tokenizer.
func (Local) Encode(_ context.Context, texts []string, special bool) ([][]int32, error) {
	ids := make([][]int32, len(texts))
	for i, text := range texts {
		ids[i] = Encode(text, special)
	}
	return ids, nil
}

// CountChat implements datasets.Tokenizer.
func (Local) CountChat(_ context.Context, conversations [][]datasets.Message) ([]int, error) {
	n := make([]int, len(conversations))
	for i, c := range conversations {
		n[i] = len(Encode(Render(c), false))
	}
	return n, nil
}

func serve(b Behaviour) {
	out := json.NewEncoder(os.Stdout)
	switch b {
	case Silent:
		sleep()
	case NotReady:
		_ = out.Encode(map[string]any{"error": "no tokenizer in " + os.Args[2]})
		os.Exit(1)
	}
	_ = out.Encode(map[string]any{"ready": true, "vocab_size": Vocabulary, "chat_template": true, "eos": []int{0}})
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		answer(b, in.Bytes(), out)
	}
	if b == Stubborn {
		sleep()
	}
}

func answer(b Behaviour, line []byte, out *json.Encoder) {
	var q struct {
		Text     *string
		Special  bool
		Messages []datasets.Message
	}
	if err := json.Unmarshal(line, &q); err != nil || (q.Text == nil) == (q.Messages == nil) {
		_ = out.Encode(map[string]any{"error": fmt.Sprintf("want one of text and messages: %s", line)})
		return
	}
	var ids []int32
	if q.Text != nil {
		ids = Encode(*q.Text, q.Special)
	} else {
		ids = Encode(Render(q.Messages), false)
	}
	count := len(ids)
	switch b {
	case DieAtOne:
		fmt.Fprintln(os.Stderr, "out of luck")
		os.Exit(3)
	case Hang:
		sleep()
	case Garbage:
		fmt.Println("Segmentation fault")
		return
	case Miscount:
		count++
	case BadID:
		ids = append(ids, Vocabulary)
		count++
	case Refuse:
		if q.Text != nil && strings.Contains(*q.Text, "refuse") {
			_ = out.Encode(map[string]any{"error": "will not"})
			return
		}
	}
	_ = out.Encode(map[string]any{"ids": ids, "count": count})
}
