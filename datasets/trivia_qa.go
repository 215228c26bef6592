package datasets

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
)

// TriviaQA is a row of mandarjoshi/trivia_qa rc.nocontext: a question without
// its evidence, whose lists are empty in this configuration.
type TriviaQA struct {
	Question       string         `json:"question"`
	QuestionID     string         `json:"question_id"`
	QuestionSource string         `json:"question_source"`
	EntityPages    EntityPages    `json:"entity_pages"`
	SearchResults  SearchResults  `json:"search_results"`
	Answer         TriviaQAAnswer `json:"answer"`
}

// EntityPages are the Wikipedia pages of the entities; the lists are parallel.
type EntityPages struct {
	DocSource   []string `json:"doc_source"`
	Filename    []string `json:"filename"`
	Title       []string `json:"title"`
	WikiContext []string `json:"wiki_context"`
}

// SearchResults are pages found by a search; the lists are parallel.
type SearchResults struct {
	Description   []string `json:"description"`
	Filename      []string `json:"filename"`
	Rank          []int32  `json:"rank"`
	Title         []string `json:"title"`
	URL           []string `json:"url"`
	SearchContext []string `json:"search_context"`
}

// TriviaQAAnswer is the answer and the forms it is also accepted in.
type TriviaQAAnswer struct {
	Aliases                         []string `json:"aliases"`
	NormalizedAliases               []string `json:"normalized_aliases"`
	MatchedWikiEntityName           string   `json:"matched_wiki_entity_name"`
	NormalizedMatchedWikiEntityName string   `json:"normalized_matched_wiki_entity_name"`
	NormalizedValue                 string   `json:"normalized_value"`
	Type                            string   `json:"type"`
	Value                           string   `json:"value"`
}

var triviaQA = Dataset{
	Name: "trivia_qa", Hub: "mandarjoshi/trivia_qa", Config: "rc.nocontext", folder: "rc.nocontext",
	Splits: []string{"validation", "train", "test"},
	Task:   QA,
	Rule: "the prompt is closed book: an instruction, question and answer examples from a fixed list that is no part of " +
		"the dataset, and the question; it takes as few examples as bring it into the window, in an order of the " +
		"row's own, so that prompts share no long beginning; rows that ask an example's question are dropped",
	read: reader([]string{"question", "question_id", "answer.value"}, func(r *TriviaQA) (Row, error) {
		row := Row{ID: r.QuestionID, Text: strings.TrimSpace(r.Question)}
		if isExample[normal(r.Question)] {
			row.Drop = "asks a few-shot example's question"
		}
		return row, nil
	}),
	prompt:      closedBook,
	maxExamples: len(fewShot),
}

// isExample has the normal form of each few-shot question.
var isExample = func() map[string]bool {
	m := make(map[string]bool, len(fewShot))
	for _, e := range fewShot {
		m[normal(e.question)] = true
	}
	return m
}()

// closedBook writes the prompt of a question behind some of the few-shot
// examples, the first of an order that the row's id decides.
func closedBook(r Row, examples int) string {
	type ranked struct {
		example
		rank uint64
	}
	order := make([]ranked, len(fewShot))
	for i, e := range fewShot {
		sum := sha256.Sum256([]byte("few-shot\x00" + r.ID + "\x00" + e.question))
		order[i] = ranked{e, binary.BigEndian.Uint64(sum[:])}
	}
	slices.SortFunc(order, func(a, b ranked) int { return cmp.Compare(a.rank, b.rank) })

	var b strings.Builder
	b.WriteString("Answer each question in a few words.\n\n")
	for _, e := range order[:examples] {
		b.WriteString("Question: " + e.question + "\nAnswer: " + e.answer + "\n\n")
	}
	b.WriteString("Question: " + r.Text + "\nAnswer:")
	return b.String()
}
