package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"servebench/serving/tokenizer"
)

// maxLine bounds an input line, in bytes. A longer one is answered with an error.
const maxLine = 16 << 20

// question is a line of the input: exactly one of Text, Messages and IDs.
type question struct {
	Text        *string             `json:"text"`
	Special     *bool               `json:"special"` // with Text; absent is true
	Messages    []tokenizer.Message `json:"messages"`
	Generate    *bool               `json:"add_generation_prompt"` // with Messages; absent is true
	IDs         []int32             `json:"ids"`
	SkipSpecial bool                `json:"skip_special"` // with IDs
}

// answer is a line of the output.
type answer struct {
	IDs   *[]int32 `json:"ids,omitempty"`
	Count *int     `json:"count,omitempty"`
	Text  *string  `json:"text,omitempty"`
	Error string   `json:"error,omitempty"`
}

// ready is the first line of the output.
type ready struct {
	Ready        bool    `json:"ready"`
	Vocabulary   int     `json:"vocab_size"`
	ChatTemplate bool    `json:"chat_template"` // the model's own
	EOS          []int32 `json:"eos"`
}

// serve answers lines until the input ends. Its error is the input's or the output's.
func serve(t *tokenizer.Tokenizer, in io.Reader, out io.Writer) error {
	lines := bufio.NewReaderSize(in, 64<<10)
	answers := bufio.NewWriter(out)
	encode := json.NewEncoder(answers)
	encode.SetEscapeHTML(false)
	first := ready{Ready: true, Vocabulary: t.Size(), ChatTemplate: t.HasChatTemplate(), EOS: t.EOS()}
	if first.EOS == nil {
		first.EOS = []int32{}
	}
	if err := encode.Encode(first); err != nil {
		return err
	}
	for {
		if lines.Buffered() == 0 { // the next read may wait for whoever waits for an answer
			if err := answers.Flush(); err != nil {
				return err
			}
		}
		line, err := readLine(lines)
		var a answer
		switch {
		case errors.Is(err, errLongLine):
			a.Error = err.Error()
		case err != nil && !errors.Is(err, io.EOF):
			return err
		case len(bytes.TrimSpace(line)) > 0:
			a = reply(t, line)
		case err == nil:
			continue
		default:
			return answers.Flush()
		}
		if err := encode.Encode(a); err != nil {
			return err
		}
	}
}

var errLongLine = fmt.Errorf("the line is longer than %d MiB", maxLine>>20)

// readLine returns the next line. A line beyond maxLine is read to its end and
// gives errLongLine. io.EOF may come with the last line.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxLine+1 { // and its newline
			long, line = true, nil
		}
		if !long {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case long && (err == nil || errors.Is(err, io.EOF)):
			return nil, errLongLine
		default:
			return line, err
		}
	}
}

// reply answers one line.
func reply(t *tokenizer.Tokenizer, line []byte) answer {
	var q question
	decode := json.NewDecoder(bytes.NewReader(line))
	decode.DisallowUnknownFields()
	if err := decode.Decode(&q); err != nil {
		return answer{Error: fmt.Sprintf("the line is not a question: %v", err)}
	}
	if _, err := decode.Token(); !errors.Is(err, io.EOF) {
		return answer{Error: "the line has more than one JSON value, or goes on behind it"}
	}
	given := 0
	for _, is := range []bool{q.Text != nil, q.Messages != nil, q.IDs != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		return answer{Error: `a question has exactly one of "text", "messages" and "ids"`}
	}
	var ids []int32
	switch {
	case q.IDs != nil:
		for _, id := range q.IDs {
			if id < 0 || int(id) >= t.Size() {
				return answer{Error: fmt.Sprintf("id %d is not in the vocabulary, which ends at %d", id, t.Size()-1)}
			}
		}
		text := t.Decode(q.IDs, q.SkipSpecial)
		return answer{Text: &text}
	case q.Messages != nil:
		text, err := t.Chat(q.Messages, q.Generate == nil || *q.Generate)
		if err != nil {
			return answer{Error: err.Error()}
		}
		ids = t.Encode(text, true)
	case q.Special == nil || *q.Special:
		ids = t.EncodePrompt(*q.Text)
	default:
		ids = t.Encode(*q.Text, true)
	}
	count := len(ids)
	return answer{IDs: &ids, Count: &count}
}
