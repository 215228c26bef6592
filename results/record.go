package results

import "time"

// Case identifies a row of the matrix. Its benchmark name is
// BenchmarkServe/framework=F/model=M/task=T/mode=O/parallel=N.
type Case struct {
	Framework string `json:"framework"`
	Model     string `json:"model"`
	Task      string `json:"task"`
	Mode      string `json:"mode"` // "sync" or "stream"
	Parallel  int    `json:"parallel"`
}

// Chunk is one piece of a response body that carried generated text, or a
// token without any. Role-only, usage and comment events are not chunks.
type Chunk struct {
	At     time.Duration `json:"at"`     // arrival of its first byte, since the run's epoch
	Bytes  int           `json:"bytes"`  // of generated text
	Tokens int           `json:"tokens"` // tokens it carries where the server says so, else 0
}

// Request is the raw record of one request: a line of requests.jsonl. Times
// are durations since the run's epoch on Go's monotonic clock; 0 is "never".
type Request struct {
	Case      Case          `json:"case"`
	Repeat    int           `json:"repeat"`    // which -count/-repeat pass, from 0
	Index     int           `json:"index"`     // order of dispatch in the case, from 0
	Prompt    string        `json:"prompt_id"` // datasets.Prompt's ID
	Scheduled time.Duration `json:"scheduled"` // when the load model wanted it sent
	Sent      time.Duration `json:"sent"`      // request bytes handed to the connection
	Headers   time.Duration `json:"headers"`   // response headers arrived
	Chunks    []Chunk       `json:"chunks,omitempty"`
	End       time.Duration `json:"end"` // body closed

	PromptTokens    int `json:"prompt_tokens"`    // server's usage; 0 if it gave none
	OutputTokens    int `json:"output_tokens"`    // server's usage; 0 if it gave none
	RecountedTokens int `json:"recounted_tokens"` // the output text, encoded with the model's own tokenizer; -1 not done
	MaxTokens       int `json:"max_tokens"`

	Finish string `json:"finish,omitempty"` // finish_reason
	Text   string `json:"text"`             // generated text
	// Error is "" for a request that completed; else its class, from the
	// closed list in ErrorClasses, with the detail beside it.
	Error  string `json:"error,omitempty"`
	Detail string `json:"detail,omitempty"`
}
