"""TGI's clients against the server: text_generation_client.py URL

The text-generation package is TGI's own; huggingface_hub, which it brings along,
has the other one.

Says a line for every check that passed and stops at the first that did not.
"""

import asyncio
import sys

import text_generation
from huggingface_hub import InferenceClient
from huggingface_hub.errors import ValidationError as HubValidationError
from text_generation.errors import ValidationError

url = sys.argv[1]
client = text_generation.Client(url, timeout=60)
prompt = "one, two, three,"


def check(name, ok, got=None):
    assert ok, f"{name}: got {got!r}"
    print("ok", name, flush=True)


def fails(name, call, kind=ValidationError):
    """The server's refusal, not the package's own check, which has no error_type."""
    try:
        call()
    except kind as e:
        check(name, "context" in str(e) or "served" in str(e), e)
        return
    raise AssertionError(f"{name}: no exception")


whole = client.generate(prompt, max_new_tokens=12)
said = whole.generated_text
details = whole.details
check("generate", 0 < details.generated_tokens <= 12 and len(details.tokens) == details.generated_tokens, whole)
check("greedy", details.seed is None and client.generate(prompt, max_new_tokens=12).generated_text == said, whole)
check("logprobs", all(t.logprob <= 0 for t in details.tokens), details)

last = None
tokens = []
for event in client.generate_stream(prompt, max_new_tokens=12):
    tokens.append(event.token)
    last = event
check("generate_stream", last.generated_text == said and [t.id for t in tokens] == [t.id for t in details.tokens], last)
check("stream text", "".join(t.text for t in tokens if not t.special) == said, (tokens, said))
check("stream details", last.details.generated_tokens == len(tokens) and last.details.finish_reason == details.finish_reason, last)

check("return_full_text", client.generate(prompt, max_new_tokens=4, return_full_text=True).generated_text.startswith(prompt))
top = client.generate(prompt, max_new_tokens=4, top_n_tokens=3, decoder_input_details=True).details
check("top_n_tokens", all(len(t) == 3 and t[0].id == own.id for t, own in zip(top.top_tokens, top.tokens, strict=True)), top)
check("decoder_input_details", len(top.prefill) > 1 and top.prefill[0].logprob is None and top.prefill[1].logprob <= 0, top.prefill)

drawn = {"do_sample": True, "seed": 7, "temperature": 0.9, "top_p": 0.95, "top_k": 40, "max_new_tokens": 12}
first = client.generate(prompt, **drawn)
check("seed", first.details.seed == 7 and client.generate(prompt, **drawn).generated_text == first.generated_text, first)
best = client.generate(prompt, do_sample=True, best_of=2, max_new_tokens=6).details
check("best_of", len(best.best_of_sequences) == 1 and best.seed != best.best_of_sequences[0].seed, best)

cut = next(c for c in said[2:] if c.isascii() and c.strip())  # a character that the text has
stopped = client.generate(prompt, max_new_tokens=12, stop_sequences=[cut])
check("stop", stopped.details.finish_reason == "stop_sequence" and stopped.generated_text == said[: said.index(cut) + 1], (stopped, said))
check("truncate", len(client.generate(prompt, max_new_tokens=1, truncate=3, decoder_input_details=True).details.prefill) == 3)

fails("too long", lambda: client.generate(prompt, max_new_tokens=10**6))
fails("too long stream", lambda: list(client.generate_stream(prompt, max_new_tokens=10**6)))
fails("refused", lambda: client.generate(prompt, max_new_tokens=4, watermark=True))

hub = InferenceClient(url)
check("hub", hub.text_generation(prompt, max_new_tokens=12, return_full_text=False) == said)
check("hub details", [t.id for t in hub.text_generation(prompt, max_new_tokens=12, details=True).details.tokens] == [t.id for t in tokens])
check("hub stream", "".join(hub.text_generation(prompt, max_new_tokens=12, stream=True)) == said)
fails("hub too long", lambda: hub.text_generation(prompt, max_new_tokens=10**6), HubValidationError)
fails("hub too long stream", lambda: list(hub.text_generation(prompt, max_new_tokens=10**6, stream=True)), HubValidationError)


async def concurrent():
    """Eight requests at once, with the asynchronous client."""
    c = text_generation.AsyncClient(url, timeout=60)

    async def one():
        last = None
        async for event in c.generate_stream(prompt, max_new_tokens=12):
            last = event
        return last.generated_text

    return await asyncio.gather(*(one() for _ in range(8)))


check("async", asyncio.run(concurrent()) == [said] * 8)
