package datasets

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// TokenizerError is returned by a TokenizerProcess's methods when the program
// could not be started, ended, answered what is not an answer, or was given up
// because the context ended. The process is of no use afterwards.
type TokenizerError struct {
	Command string // as started
	Doing   string // "starting", "counting 128 texts"
	Err     error
	Stderr  string // its last lines
}

func (e *TokenizerError) Error() string {
	s := fmt.Sprintf("tokenizer (%s), %s: %v", e.Command, e.Doing, e.Err)
	if e.Stderr != "" {
		s += "\nits last output:\n" + e.Stderr
	}
	return s
}

func (e *TokenizerError) Unwrap() error { return e.Err }

// TokenizerOptions say how the tokenizer program is started.
type TokenizerOptions struct {
	// Binary is the program; "" is $SERVEBENCH_TOKENIZE, and where that is not
	// set BuildTokenizer.
	Binary string
	Args   []string // after --model MODEL
}

// TokenizerProcess is a Tokenizer that asks the program serving/cmd/tokenize,
// which has the server's own tokenizer, over its standard input and output:
// one JSON object a line, each answered by one line in the same order.
type TokenizerProcess struct {
	Vocabulary   int     // number of tokens
	ChatTemplate bool    // the model has a chat template of its own
	EOS          []int32 // ids that end a text

	command string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stdout  io.ReadCloser
	answers *bufio.Scanner
	stderr  *lastLines

	turn chan struct{} // holds one token; who has it talks to the process
	dead error         // set once, by who has the turn
	stop sync.Once
	wait func() error // ends once the process has ended
}

// question and answer are the lines of the protocol.
type question struct {
	Text     *string   `json:"text,omitempty"`
	Special  *bool     `json:"special,omitempty"` // with a text
	Messages []Message `json:"messages,omitempty"`
}

type answer struct {
	IDs   []int32 `json:"ids"`
	Count *int    `json:"count"`
	Error string  `json:"error"`
}

type readyLine struct {
	Ready        bool    `json:"ready"`
	Vocabulary   int     `json:"vocab_size"`
	ChatTemplate bool    `json:"chat_template"`
	EOS          []int32 `json:"eos"`
	Error        string  `json:"error"`
}

// maxAnswer bounds an answer line, in bytes: a text of maxLine bytes has at
// most as many ids.
const maxAnswer = 8 * maxLine

// endGrace is how long the process gets to end by itself once its input is closed.
const endGrace = 3 * time.Second

// StartTokenizer starts the tokenizer of a model (folder, file or hub id) and
// waits until it is ready, which may include a download; the context bounds
// only that. Close ends it.
func StartTokenizer(ctx context.Context, model string, opts TokenizerOptions) (*TokenizerProcess, error) {
	binary, err := findTokenizer(ctx, opts.Binary)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, append([]string{"--model", model}, opts.Args...)...)
	cmd.WaitDelay = endGrace // a grandchild may keep stderr open
	p := &TokenizerProcess{command: cmd.String(), cmd: cmd, stderr: &lastLines{}, turn: make(chan struct{}, 1)}
	cmd.Stderr = p.stderr
	fail := func(err error) (*TokenizerProcess, error) {
		return nil, &TokenizerError{Command: p.command, Doing: "starting", Err: err, Stderr: p.stderr.String()}
	}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return fail(err)
	}
	if p.stdout, err = cmd.StdoutPipe(); err != nil {
		return fail(err)
	}
	if err := cmd.Start(); err != nil {
		return fail(err)
	}
	p.wait = sync.OnceValue(cmd.Wait)
	p.answers = bufio.NewScanner(p.stdout)
	p.answers.Buffer(make([]byte, 0, 64<<10), maxAnswer)
	p.turn <- struct{}{}

	defer context.AfterFunc(ctx, p.kill)()
	var ready readyLine
	if err := p.readLine(&ready); err != nil {
		return fail(p.end(ctx, err))
	}
	switch {
	case ready.Error != "":
		return fail(p.end(ctx, errors.New(ready.Error)))
	case !ready.Ready || ready.Vocabulary <= 0:
		return fail(p.end(ctx, fmt.Errorf(`its first line is not {"ready":true,"vocab_size":N}`)))
	}
	p.Vocabulary, p.ChatTemplate, p.EOS = ready.Vocabulary, ready.ChatTemplate, ready.EOS
	return p, nil
}

// Count implements Tokenizer.
func (p *TokenizerProcess) Count(ctx context.Context, texts []string, special bool) ([]int, error) {
	answers, err := p.ask(ctx, textQuestions(texts, special))
	return counts(answers), err
}

// Encode implements Tokenizer.
func (p *TokenizerProcess) Encode(ctx context.Context, texts []string, special bool) ([][]int32, error) {
	answers, err := p.ask(ctx, textQuestions(texts, special))
	if err != nil {
		return nil, err
	}
	ids := make([][]int32, len(answers))
	for i, a := range answers {
		ids[i] = a.IDs
	}
	return ids, nil
}

// CountChat implements Tokenizer.
func (p *TokenizerProcess) CountChat(ctx context.Context, conversations [][]Message) ([]int, error) {
	questions := make([]question, len(conversations))
	for i, c := range conversations {
		questions[i] = question{Messages: c}
	}
	answers, err := p.ask(ctx, questions)
	return counts(answers), err
}

func textQuestions(texts []string, special bool) []question {
	questions := make([]question, len(texts))
	for i := range texts {
		questions[i] = question{Text: &texts[i], Special: &special}
	}
	return questions
}

func counts(answers []answer) []int {
	n := make([]int, len(answers))
	for i, a := range answers {
		n[i] = len(a.IDs)
	}
	return n
}

// ask sends the questions and returns as many answers. An {"error"} answer
// fails the batch and leaves the process of use; anything else that is wrong
// ends it.
func (p *TokenizerProcess) ask(ctx context.Context, questions []question) ([]answer, error) {
	fail := func(err error) error {
		return &TokenizerError{
			Command: p.command, Doing: fmt.Sprintf("counting %d texts", len(questions)), Err: err, Stderr: p.stderr.String(),
		}
	}
	select {
	case <-p.turn:
		defer func() { p.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if p.dead == nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if p.dead != nil {
		return nil, fail(p.dead)
	}
	defer context.AfterFunc(ctx, p.kill)()

	// Questions are written while answers are read: the pipes hold 64 kB, and
	// neither side may wait for the other.
	written := make(chan error, 1)
	go func() { written <- p.write(questions) }()
	answers, refused, err := p.read(questions)
	if err != nil {
		p.kill() // frees the writer
		<-written
		p.dead = p.end(ctx, err)
		return nil, fail(p.dead)
	}
	if err := <-written; err != nil {
		p.dead = p.end(ctx, err)
		return nil, fail(p.dead)
	}
	return answers, refused
}

func (p *TokenizerProcess) write(questions []question) error {
	w := bufio.NewWriter(p.stdin)
	for _, q := range questions {
		text, err := compact(q)
		if err != nil {
			return err
		}
		if _, err := w.Write(append(text, '\n')); err != nil {
			return err
		}
	}
	return w.Flush()
}

// read reads an answer to each question. refused is the first {"error"}.
func (p *TokenizerProcess) read(questions []question) (answers []answer, refused, err error) {
	answers = make([]answer, len(questions))
	for i := range answers {
		a := &answers[i]
		if err := p.readLine(a); err != nil {
			return nil, nil, err
		}
		switch {
		case a.Error != "":
			if refused == nil {
				refused = fmt.Errorf("tokenizer (%s) refused text %d of %d: %s", p.command, i+1, len(questions), a.Error)
			}
			continue
		case a.Count == nil || *a.Count != len(a.IDs):
			return nil, nil, fmt.Errorf("its answer %d has no count, or one that is not the number of its ids", i+1)
		}
		for _, id := range a.IDs {
			if id < 0 || int(id) >= p.Vocabulary {
				return nil, nil, fmt.Errorf("its answer %d has token %d, outside its vocabulary of %d", i+1, id, p.Vocabulary)
			}
		}
	}
	if refused != nil {
		return nil, refused, nil
	}
	return answers, nil, nil
}

func (p *TokenizerProcess) readLine(v any) error {
	if !p.answers.Scan() {
		if err := p.answers.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	if err := json.Unmarshal(p.answers.Bytes(), v); err != nil {
		return fmt.Errorf("its line %.80q is not an answer: %w", p.answers.Text(), err)
	}
	return nil
}

// Close closes the program's input and waits for its end; a program that does
// not end is killed.
func (p *TokenizerProcess) Close() error {
	<-p.turn
	defer func() { p.turn <- struct{}{} }()
	if p.dead != nil {
		return nil // it was told by the method that found out
	}
	p.dead = errors.New("it was closed")
	p.stdin.Close()
	defer time.AfterFunc(endGrace, p.kill).Stop()
	io.Copy(io.Discard, p.stdout) // until it ends or is killed
	if err := p.wait(); err != nil {
		return &TokenizerError{Command: p.command, Doing: "closing", Err: err, Stderr: p.stderr.String()}
	}
	return nil
}

// kill ends the process and frees who reads from it or writes to it. Its pipes
// are closed too: a grandchild could hold their other ends.
func (p *TokenizerProcess) kill() {
	p.stop.Do(func() {
		p.cmd.Process.Kill()
		p.stdin.Close()
		p.stdout.Close()
	})
}

// end ends the process after err and says what became of it: the context's
// end, or its exit status, explains a broken pipe better than the pipe does.
func (p *TokenizerProcess) end(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		p.kill()
		p.wait()
		return fmt.Errorf("gave up waiting for it: %w", context.Cause(ctx))
	}
	if errors.Is(err, io.EOF) {
		// Its output has ended, and so has it, or will at once.
		defer time.AfterFunc(endGrace, p.kill).Stop()
		p.stdin.Close()
		if exit := p.wait(); exit != nil {
			return fmt.Errorf("it ended: %w", exit)
		}
		return errors.New("it ended before it had answered")
	}
	p.kill()
	p.wait()
	return err
}

// lastLines keeps the last bytes written to it.
type lastLines struct {
	mu   sync.Mutex
	text []byte
}

// keptBytes is enough for an error and its context.
const keptBytes = 2000

func (l *lastLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	if len(l.text) > 2*keptBytes {
		l.text = append([]byte{}, l.text[len(l.text)-keptBytes:]...)
	}
	return len(b), nil
}

func (l *lastLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.text
	if len(text) > keptBytes {
		text = text[len(text)-keptBytes:]
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(text), "�"))
}
