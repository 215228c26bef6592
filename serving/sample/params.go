package sample

// Params are a request's sampling parameters, in OpenAI's and vLLM's meaning.
type Params struct {
	Temperature float64 // 0 is greedy
	TopP        float64 // (0, 1]; 1 keeps all
	TopK        int     // 0 or less keeps all
	Seed        uint64  // tokens depend on it, the prompt and the parameters alone
}
