package datasets

// OASST1 is a row of OpenAssistant/oasst1: one message of a conversation tree.
type OASST1 struct {
	MessageID    string  `json:"message_id" parquet:"message_id,optional"`
	ParentID     *string `json:"parent_id" parquet:"parent_id,optional"` // nil: the tree's opening prompt
	UserID       string  `json:"user_id" parquet:"user_id,optional"`
	CreatedDate  string  `json:"created_date" parquet:"created_date,optional"`
	Text         string  `json:"text" parquet:"text,optional"`
	Role         string  `json:"role" parquet:"role,optional"` // "prompter" or "assistant"
	Lang         string  `json:"lang" parquet:"lang,optional"`
	ReviewCount  int32   `json:"review_count" parquet:"review_count,optional"`
	ReviewResult *bool   `json:"review_result" parquet:"review_result,optional"`
	Deleted      bool    `json:"deleted" parquet:"deleted,optional"`
	Rank         *int32  `json:"rank" parquet:"rank,optional"`
	Synthetic    bool    `json:"synthetic" parquet:"synthetic,optional"`
	ModelName    *string `json:"model_name" parquet:"model_name,optional"`
	Detoxify     *Detox  `json:"detoxify" parquet:"detoxify,optional"`
	TreeID       string  `json:"message_tree_id" parquet:"message_tree_id,optional"`
	TreeState    string  `json:"tree_state" parquet:"tree_state,optional"`
	Emojis       *Emojis `json:"emojis" parquet:"emojis,optional"`
	Labels       *Labels `json:"labels" parquet:"labels,optional"`
}

// Detox are a message's scores, 0 to 1.
type Detox struct {
	Toxicity       float64 `json:"toxicity" parquet:"toxicity,optional"`
	SevereToxicity float64 `json:"severe_toxicity" parquet:"severe_toxicity,optional"`
	Obscene        float64 `json:"obscene" parquet:"obscene,optional"`
	IdentityAttack float64 `json:"identity_attack" parquet:"identity_attack,optional"`
	Insult         float64 `json:"insult" parquet:"insult,optional"`
	Threat         float64 `json:"threat" parquet:"threat,optional"`
	SexualExplicit float64 `json:"sexual_explicit" parquet:"sexual_explicit,optional"`
}

// Emojis counts reactions; the lists are parallel.
type Emojis struct {
	Name  []string `json:"name" parquet:"name,optional,list" parquet-element:",optional"`
	Count []int32  `json:"count" parquet:"count,optional,list" parquet-element:",optional"`
}

// Labels are the reviewers' mean scores; the lists are parallel.
type Labels struct {
	Name  []string  `json:"name" parquet:"name,optional,list" parquet-element:",optional"`
	Value []float64 `json:"value" parquet:"value,optional,list" parquet-element:",optional"`
	Count []int32   `json:"count" parquet:"count,optional,list" parquet-element:",optional"`
}

var oasst1 = Dataset{
	Name: "oasst1", Hub: "OpenAssistant/oasst1", Config: "default", folder: "data",
	// validation has about 200 English trees, of which half are too short for
	// the window: too few to draw 100 from.
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
