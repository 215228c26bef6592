package datasets

// Sampling are the parameters a model is asked with in a task.
type Sampling struct {
	Temperature float64 `json:"temperature"`
	TopP        float64 `json:"top_p"`
	MaxTokens   int     `json:"max_tokens"`
}

// Model is a model the suite knows.
type Model struct {
	Name     string // in case names and file names: "gpt2"
	Hub      string // repository on the hub: "openai-community/gpt2"
	Instruct bool   // tuned to follow a chat template; else a base model
	sampling map[Task]Sampling
}

// Sampling returns the model's parameters in a task.
func (m Model) Sampling(t Task) Sampling {
	if f, ok := t.Fixed(); ok {
		return f.sampling()
	}
	return m.sampling[t]
}

// API returns the route a task is measured on: a base model knows no chat
// template, so it gets completions; an instruct model gets chat completions,
// except in code, where the answer is the raw continuation of a function and a
// chat model would open with prose. A prompt of a Fixed task has its number of
// tokens without a template.
func (m Model) API(t Task) API {
	_, fixed := t.Fixed()
	if m.Instruct && t != Code && !fixed {
		return ChatAPI
	}
	return CompletionAPI
}

// Models returns the known models in order.
func Models() []Model { return models }

// ModelByName returns the model of that name; the error lists those that exist.
func ModelByName(name string) (Model, error) {
	names := make([]string, len(models))
	for i, m := range models {
		if m.Name == name {
			return m, nil
		}
		names[i] = m.Name
	}
	return Model{}, unknown("model", name, names)
}

// models is the table of sampling parameters.
//
// smollm2-135m-instruct samples like mistral-7b-instruct and is cut at gpt2's
// lengths: it follows instructions like the one and is as small as the other.
var models = []Model{
	{
		Name: "gpt2", Hub: "openai-community/gpt2",
		sampling: map[Task]Sampling{
			Chat:          {Temperature: .9, TopP: .95, MaxTokens: 100},
			Summarization: {Temperature: .5, TopP: .9, MaxTokens: 60},
			QA:            {Temperature: .3, TopP: 1, MaxTokens: 40},
			Code:          {Temperature: .8, TopP: .9, MaxTokens: 100},
		},
	},
	{
		Name: "phi-2", Hub: "microsoft/phi-2",
		sampling: map[Task]Sampling{
			Chat:          {Temperature: .8, TopP: .9, MaxTokens: 100},
			Summarization: {Temperature: .4, TopP: .9, MaxTokens: 60},
			QA:            {Temperature: .2, TopP: 1, MaxTokens: 40},
			Code:          {Temperature: .7, TopP: .9, MaxTokens: 90},
		},
	},
	{
		Name: "llama-2-7b-chat", Hub: "meta-llama/Llama-2-7b-chat-hf", Instruct: true,
		sampling: map[Task]Sampling{
			Chat:          {Temperature: .7, TopP: .95, MaxTokens: 150},
			Summarization: {Temperature: .3, TopP: .9, MaxTokens: 80},
			QA:            {Temperature: .1, TopP: 1, MaxTokens: 50},
			Code:          {Temperature: .6, TopP: .85, MaxTokens: 120},
		},
	},
	{
		Name: "mistral-7b-instruct", Hub: "mistralai/Mistral-7B-Instruct-v0.1", Instruct: true,
		sampling: map[Task]Sampling{
			Chat:          {Temperature: .8, TopP: .95, MaxTokens: 120},
			Summarization: {Temperature: .3, TopP: .9, MaxTokens: 70},
			QA:            {Temperature: .2, TopP: 1, MaxTokens: 50},
			Code:          {Temperature: .7, TopP: .9, MaxTokens: 110},
		},
	},
	{
		Name: "smollm2-135m-instruct", Hub: "HuggingFaceTB/SmolLM2-135M-Instruct", Instruct: true,
		sampling: map[Task]Sampling{
			Chat:          {Temperature: .8, TopP: .95, MaxTokens: 100},
			Summarization: {Temperature: .3, TopP: .9, MaxTokens: 60},
			QA:            {Temperature: .2, TopP: 1, MaxTokens: 40},
			Code:          {Temperature: .7, TopP: .9, MaxTokens: 100},
		},
	},
}
