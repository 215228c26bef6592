package datasets

// FormatName and FormatVersion open every prepared file.
const (
	FormatName    = "servebench-prompts"
	FormatVersion = 1
)

// Header says what a set is and how it was made. It is the first line of a
// prepared file, and holds nothing that differs between two runs.
type Header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`

	Dataset  string `json:"dataset"` // Dataset.Name
	Hub      string `json:"hub"`     // the dataset's repository on the hub
	Config   string `json:"config"`  // its configuration there
	Split    string `json:"split"`   // its split; "" when the rows came from a given file
	Task     Task   `json:"task"`
	Model    string `json:"model"`     // Model.Name
	ModelHub string `json:"model_hub"` // Model.Hub, also the "model" of the bodies

	Tokenizer string `json:"tokenizer"` // that the tokens were counted with: a hub id or a file's name

	API  API  `json:"api,omitempty"`  // of the bodies; "" in a set that was not read from a file
	Mode Mode `json:"mode,omitempty"` // of the bodies; "" likewise

	Rule         string   `json:"rule"`   // how a row becomes a prompt, and which rows are dropped
	Window       Window   `json:"window"` // of Tokens.Text
	OutputWindow Window   `json:"output_window"`
	OutputRule   string   `json:"output_rule"` // how max_tokens and output_window relate
	Sampling     Sampling `json:"sampling"`
	Seed         uint64   `json:"seed"`

	Sources []SourceFile `json:"sources"` // the files the rows were read from
	Rows    Rows         `json:"rows"`

	// PromptsSHA256 is over the prompts without their bodies: equal in the
	// files of all routes and modes, and equal only for equal prompts.
	PromptsSHA256 string `json:"prompts_sha256"`
}

// SourceFile is a file that rows were read from.
type SourceFile struct {
	Name   string `json:"name"` // without its folder
	SHA256 string `json:"sha256"`
}

// Rows counts what became of the rows: Read = Kept + all Dropped.
type Rows struct {
	Read    int            `json:"read"`
	Dropped map[string]int `json:"dropped"` // by reason
	Kept    int            `json:"kept"`
	Drawn   int            `json:"drawn"`
}

// Set is a task's prompts for a model, in the order they are sent.
type Set struct {
	Header  Header
	Prompts []Prompt
}
