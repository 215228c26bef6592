package datasets_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
	"servebench/datasets/tokenizertest"
)

func start(t *testing.T, b tokenizertest.Behaviour) *datasets.TokenizerProcess {
	t.Helper()
	tokenizertest.Use(t, b)
	p, err := datasets.StartTokenizer(t.Context(), "some/model", datasets.TokenizerOptions{})
	require.NoError(t, err)
	return p
}

func TestTokenizerProcess(t *testing.T) {
	p := start(t, tokenizertest.Good)
	assert.Equal(t, tokenizertest.Vocabulary, p.Vocabulary)
	assert.True(t, p.ChatTemplate)
	assert.Equal(t, []int32{0}, p.EOS)

	ctx, local := t.Context(), tokenizertest.Local{}
	texts := []string{"one", "", "line\nends", "¿ünï? 😀", `"quotes" <&>`}
	for _, special := range []bool{false, true} {
		got, err := p.Encode(ctx, texts, special)
		require.NoError(t, err)
		want, _ := local.Encode(ctx, texts, special)
		assert.Equal(t, want, got)
		counts, err := p.Count(ctx, texts, special)
		require.NoError(t, err)
		for i := range texts {
			assert.Equal(t, len(want[i]), counts[i])
		}
	}
	chat := [][]datasets.Message{{{Role: "system", Content: "be brief"}, {Role: "user", Content: "why?"}}}
	got, err := p.CountChat(ctx, chat)
	require.NoError(t, err)
	want, _ := local.CountChat(ctx, chat)
	assert.Equal(t, want, got)

	none, err := p.Count(ctx, nil, false)
	require.NoError(t, err)
	assert.Empty(t, none)

	require.NoError(t, p.Close())
	require.NoError(t, p.Close(), "twice")
	_, err = p.Count(ctx, texts, false)
	assert.ErrorContains(t, err, "it was closed")
}

// More is in flight than the pipes hold, from several goroutines.
func TestTokenizerProcessLoad(t *testing.T) {
	p := start(t, tokenizertest.Good)
	defer p.Close()
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			texts := make([]string, 20)
			for i := range texts {
				texts[i] = strings.Repeat(fmt.Sprintf("worker %d text %d. ", worker, i), 500)
			}
			got, err := p.Encode(t.Context(), texts, false)
			if assert.NoError(t, err) {
				for i, text := range texts {
					assert.Equal(t, tokenizertest.Encode(text, false), got[i])
				}
			}
		})
	}
	wg.Wait()
}

// A program that fails is told as such, at once, and afterwards too.
func TestTokenizerProcessFails(t *testing.T) {
	for b, want := range map[tokenizertest.Behaviour][]string{
		tokenizertest.DieAtOne: {"exit status 3", "out of luck", "counting 200 texts"},
		tokenizertest.Garbage:  {`"Segmentation fault" is not an answer`},
		tokenizertest.Miscount: {"answer 1 has no count"},
		tokenizertest.BadID:    {"token 5000, outside its vocabulary of 5000"},
	} {
		t.Run(string(b), func(t *testing.T) {
			p := start(t, b)
			texts := make([]string, 200)
			for i := range texts {
				texts[i] = strings.Repeat("more than a pipe holds ", 200)
			}
			for range 2 {
				_, err := p.Count(t.Context(), texts, true)
				var failed *datasets.TokenizerError
				require.ErrorAs(t, err, &failed)
				for _, w := range append(want, "--model some/model") {
					assert.ErrorContains(t, err, w)
				}
			}
			assert.NoError(t, p.Close())
		})
	}
}

// A refused text fails its batch; the program stays of use.
func TestTokenizerProcessRefuses(t *testing.T) {
	p := start(t, tokenizertest.Refuse)
	_, err := p.Count(t.Context(), []string{"fine", "refuse this", "fine"}, false)
	assert.ErrorContains(t, err, "refused text 2 of 3: will not")
	got, err := p.Count(t.Context(), []string{"fine"}, false)
	require.NoError(t, err)
	assert.Equal(t, []int{1}, got)
	assert.NoError(t, p.Close())
}

// A program that hangs is given up when the context ends.
func TestTokenizerProcessHangs(t *testing.T) {
	p := start(t, tokenizertest.Hang)
	cause := errors.New("enough of it")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(300*time.Millisecond, func() { cancel(cause) }) // before it, Count has to have asked
	_, err := p.Count(ctx, []string{strings.Repeat("x", 1<<20)}, false)
	require.ErrorIs(t, err, cause)
	_, err = p.Count(t.Context(), []string{"x"}, false)
	assert.ErrorIs(t, err, cause, "it stays given up")
	assert.NoError(t, p.Close())

	// A context that has ended before does not cost the process.
	p = start(t, tokenizertest.Good)
	_, err = p.Count(ctx, []string{"x"}, false)
	require.ErrorIs(t, err, cause)
	_, err = p.Count(t.Context(), []string{"x"}, false)
	assert.NoError(t, err)
	assert.NoError(t, p.Close())
}

// Who waits for the process behind a batch that hangs is freed as well.
func TestTokenizerProcessQueue(t *testing.T) {
	p := start(t, tokenizertest.Hang)
	first, cancelFirst := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := p.Count(first, []string{"x"}, false)
		done <- err
	}()
	second, cancelSecond := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancelSecond()
	_, err := p.Count(second, []string{"x"}, false)
	assert.Error(t, err)
	cancelFirst()
	assert.Error(t, <-done)
	assert.NoError(t, p.Close())
}

func TestTokenizerDoesNotStart(t *testing.T) {
	tokenizertest.Use(t, tokenizertest.NotReady)
	_, err := datasets.StartTokenizer(t.Context(), "some/model", datasets.TokenizerOptions{})
	assert.ErrorContains(t, err, "no tokenizer in some/model")

	tokenizertest.Use(t, tokenizertest.Silent)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = datasets.StartTokenizer(ctx, "some/model", datasets.TokenizerOptions{})
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "starting")

	_, err = datasets.StartTokenizer(t.Context(), "m", datasets.TokenizerOptions{Binary: "/no/such/program"})
	assert.ErrorContains(t, err, "/no/such/program")
	t.Setenv(datasets.TokenizeEnv, "no-such-program")
	_, err = datasets.StartTokenizer(t.Context(), "m", datasets.TokenizerOptions{})
	assert.ErrorContains(t, err, "$SERVEBENCH_TOKENIZE")

	// A program that is something else.
	echo, err := exec.LookPath("echo")
	require.NoError(t, err)
	_, err = datasets.StartTokenizer(t.Context(), "m", datasets.TokenizerOptions{Binary: echo})
	assert.ErrorContains(t, err, `"--model m" is not an answer`)
	no, err := exec.LookPath("false")
	require.NoError(t, err)
	_, err = datasets.StartTokenizer(t.Context(), "m", datasets.TokenizerOptions{Binary: no})
	assert.ErrorContains(t, err, "it ended: exit status 1")
}

// A program that ignores the end of its input is killed.
func TestTokenizerCloseKills(t *testing.T) {
	p := start(t, tokenizertest.Stubborn)
	_, err := p.Count(t.Context(), []string{"x"}, false)
	require.NoError(t, err)
	assert.ErrorContains(t, p.Close(), "killed")
}

func TestBuildTokenizerWithoutGo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(datasets.TokenizeEnv, "")
	_, err := datasets.StartTokenizer(t.Context(), "m", datasets.TokenizerOptions{})
	assert.ErrorContains(t, err, "install Go")
	assert.ErrorContains(t, err, datasets.TokenizeEnv)
}

func TestBuildTokenizerElsewhere(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module other\n"), 0o644))
	_, err := datasets.BuildTokenizer(t.Context())
	assert.ErrorContains(t, err, "not in a checkout of servebench")
}
