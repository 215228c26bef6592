package datasets

// CNNDailyMail is a row of abisee/cnn_dailymail 3.0.0: a news article.
type CNNDailyMail struct {
	Article    string `json:"article"`
	Highlights string `json:"highlights"`
	ID         string `json:"id"`
}

// summarize follows the article, so that prompts have no common beginning that
// a server's prefix cache could keep.
const summarize = "\n\nSummarize the article above in two or three sentences.\nSummary:"

var cnnDailyMail = Dataset{
	Name: "cnn_dailymail", Hub: "abisee/cnn_dailymail", Config: "3.0.0", folder: "3.0.0",
	Splits: []string{"validation", "test", "train"},
	Task:   Summarization,
	Rule: "the prompt is the article as it is, followed by the instruction to summarize it in two or three sentences; " +
		"prompts outside the window, instruction counted in, are dropped",
	read: reader([]string{"article", "highlights", "id"}, func(r *CNNDailyMail) (Row, error) {
		return Row{ID: r.ID, Text: r.Article}, nil
	}),
	prompt: func(r Row, _ int) string { return r.Text + summarize },
}
