package datasets

// OASST1 is a row of OpenAssistant/oasst1: one message of a conversation tree.
type OASST1 struct {
	MessageID    string  `json:"message_id"`
	ParentID     *string `json:"parent_id"` // nil: the tree's opening prompt
	UserID       string  `json:"user_id"`
	CreatedDate  string  `json:"created_date"`
	Text         string  `json:"text"`
	Role         string  `json:"role"` // "prompter" or "assistant"
	Lang         string  `json:"lang"`
	ReviewCount  int32   `json:"review_count"`
	ReviewResult *bool   `json:"review_result"`
	Deleted      bool    `json:"deleted"`
	Rank         *int32  `json:"rank"`
	Synthetic    bool    `json:"synthetic"`
	ModelName    *string `json:"model_name"`
	Detoxify     *Detox  `json:"detoxify"`
	TreeID       string  `json:"message_tree_id"`
	TreeState    string  `json:"tree_state"`
	Emojis       *Emojis `json:"emojis"`
	Labels       *Labels `json:"labels"`
}

// Detox are a message's scores, 0 to 1.
type Detox struct {
	Toxicity       float64 `json:"toxicity"`
	SevereToxicity float64 `json:"severe_toxicity"`
	Obscene        float64 `json:"obscene"`
	IdentityAttack float64 `json:"identity_attack"`
	Insult         float64 `json:"insult"`
	Threat         float64 `json:"threat"`
	SexualExplicit float64 `json:"sexual_explicit"`
}

// Emojis counts reactions; the lists are parallel.
type Emojis struct {
	Name  []string `json:"name"`
	Count []int32  `json:"count"`
}

// Labels are the reviewers' mean scores; the lists are parallel.
type Labels struct {
	Name  []string  `json:"name"`
	Value []float64 `json:"value"`
	Count []int32   `json:"count"`
}

var oasst1 = Dataset{
	Name: "oasst1", Hub: "OpenAssistant/oasst1", Config: "default", folder: "data",
	// Of 92 English opening prompts of validation, 38 are in the window with
	// GPT-2's tokenizer, so that split, a twentieth of train, may not give 100.
	Splits: []string{"train", "validation"},
	Task:   Chat,
	Rule: "the prompt is the text of a tree's opening message (parent_id null, role prompter) in English (lang en), " +
		"as it is; messages that are deleted are dropped, and those outside the window",
	read: reader([]string{"message_id", "parent_id", "text", "role", "lang", "deleted"}, func(r *OASST1) (Row, error) {
		row := Row{ID: r.MessageID, Text: r.Text}
		switch {
		case r.ParentID != nil || r.Role != "prompter":
			row.Drop = "not an opening prompt"
		case r.Lang != "en":
			row.Drop = "not English"
		case r.Deleted:
			row.Drop = "deleted"
		}
		return row, nil
	}),
	prompt: func(r Row, _ int) string { return r.Text },
}
