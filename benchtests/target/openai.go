package target

import "context"

// openai is any server with OpenAI's API that runs already, of which nothing
// else is known: it gets the fields that OpenAI's API has and no others, so
// answers end where the model ends them, and what it keeps of prompts is its own
// affair. Its model is asked for with ServedName.
var openai = Target{
	Name:  "openai",
	Ready: "/v1/models",
	Capabilities: Capabilities{
		Sync:         true,
		StreamUsage:  true,
		Chat:         true,
		CachesAlways: true, // for all that can be seen
		Remote:       true,
		Dtypes:       []string{"auto"}, // the server's
	},
	Program: func(context.Context, string) (string, error) { return "", remote("openai") },
	Payload: func(r Request) any { return r.request() },
}
