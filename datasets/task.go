package datasets

import (
	"fmt"
	"slices"
	"strings"
)

// Task is what a prompt asks for. Each task has one dataset, or is of a Fixed.
type Task string

// The tasks, in the order they are run and written.
const (
	Chat          Task = "chat"
	Summarization Task = "summarization"
	QA            Task = "qa"
	Code          Task = "code"
)

// Mode is how the answer comes back.
type Mode string

// The modes: one JSON body, or server-sent events.
const (
	Sync   Mode = "sync"
	Stream Mode = "stream"
)

// API is the route a prompt is sent to.
type API string

// The routes: POST /v1/completions takes Text as it is, POST /v1/chat/completions
// wraps it into the model's chat template as one user message.
const (
	CompletionAPI API = "completion"
	ChatAPI       API = "chat"
)

// Window is an inclusive range of token counts.
type Window struct {
	Min int `json:"min"`
	Max int `json:"max"`
}

// Contains reports whether n tokens are inside.
func (w Window) Contains(n int) bool { return w.Min <= n && n <= w.Max }

func (w Window) String() string { return fmt.Sprintf("%d-%d", w.Min, w.Max) }

// Windows are a task's token windows: In bounds a prompt's text and is held by
// Prepare, Out is where achieved outputs are expected and is only recorded.
type Windows struct{ In, Out Window }

var windows = map[Task]Windows{
	Chat:          {In: Window{20, 100}, Out: Window{20, 100}},
	Summarization: {In: Window{200, 800}, Out: Window{50, 100}},
	QA:            {In: Window{100, 500}, Out: Window{10, 30}},
	Code:          {In: Window{10, 50}, Out: Window{50, 150}},
}

// Windows returns the task's token windows.
func (t Task) Windows() Windows {
	if f, ok := t.Fixed(); ok {
		return Windows{In: Window{f.Prefix + f.Input, f.Prefix + f.Input}, Out: Window{f.Output, f.Output}}
	}
	return windows[t]
}

// Tasks returns all tasks that have a dataset, in order; those of Fixed are
// without number.
func Tasks() []Task { return []Task{Chat, Summarization, QA, Code} }

// Modes returns all modes in order.
func Modes() []Mode { return []Mode{Sync, Stream} }

// APIs returns all routes in order.
func APIs() []API { return []API{CompletionAPI, ChatAPI} }

// ParseTask returns the task of that name; the error lists those that exist.
func ParseTask(name string) (Task, error) {
	if _, ok := Task(name).Fixed(); ok {
		return Task(name), nil
	}
	return parse("task", name, Tasks())
}

// ParseMode returns the mode of that name; the error lists those that exist.
func ParseMode(name string) (Mode, error) { return parse("mode", name, Modes()) }

// ParseAPI returns the route of that name; the error lists those that exist.
func ParseAPI(name string) (API, error) { return parse("api", name, APIs()) }

func parse[T ~string](what, name string, all []T) (T, error) {
	if !slices.Contains(all, T(name)) {
		return "", unknown(what, name, all)
	}
	return T(name), nil
}

// unknown is the error for a name that does not exist: it lists those that do.
func unknown[T ~string](what, name string, all []T) error {
	names := make([]string, len(all))
	for i, n := range all {
		names[i] = string(n)
	}
	return fmt.Errorf("unknown %s %q: choose from %s", what, name, strings.Join(names, ", "))
}
