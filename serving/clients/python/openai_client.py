"""The openai package against the server: openai_client.py URL MODEL

Says a line for every check that passed and stops at the first that did not.
"""

import asyncio
import sys

import openai

url, model = sys.argv[1], sys.argv[2]
client = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0)
messages = [{"role": "user", "content": "Count: one, two, three,"}]
prompt = "one, two, three,"
# Random weights may end a text anywhere; lengths are forced.
length = {"temperature": 0, "max_tokens": 16, "extra_body": {"ignore_eos": True}}


def check(name, ok, got=None):
    assert ok, f"{name}: got {got!r}"
    print("ok", name, flush=True)


def fails(name, kind, status, param, call):
    try:
        call()
    except openai.APIStatusError as e:
        check(name, isinstance(e, kind) and e.status_code == status and e.param == param, (e, e.param))
        return
    raise AssertionError(f"{name}: no exception")


def counts(usage):
    """Without what was cached, which is more at the second time."""
    assert 0 <= usage.prompt_tokens_details.cached_tokens < usage.prompt_tokens, usage
    return usage.prompt_tokens, usage.completion_tokens, usage.total_tokens


def joined(stream, text_of):
    text, usage, finish = "", None, None
    for event in stream:
        for choice in event.choices:
            text += text_of(choice) or ""
            finish = choice.finish_reason or finish
        usage = event.usage or usage
    return text, counts(usage), finish


check("models", model in [m.id for m in client.models.list()])
check("model", client.models.retrieve(model).id == model)

whole = client.completions.create(model=model, prompt=prompt, **length)
said = whole.choices[0].text
check("completion", whole.choices[0].finish_reason == "length" and whole.object == "text_completion", whole)
u = whole.usage
check("completion usage", u.completion_tokens == 16 and u.total_tokens == u.prompt_tokens + 16 and u.prompt_tokens > 0, u)
stream = client.completions.create(model=model, prompt=prompt, stream=True, stream_options={"include_usage": True}, **length)
check("completion stream", joined(stream, lambda c: c.text) == (said, counts(u), "length"))

chat = client.chat.completions.create(model=model, messages=messages, **length)
answer = chat.choices[0].message
check("chat", answer.role == "assistant" and chat.choices[0].finish_reason == "length", chat)
check("chat usage", chat.usage.completion_tokens == 16, chat.usage)
stream = client.chat.completions.create(model=model, messages=messages, stream=True, stream_options={"include_usage": True}, **length)
check("chat stream", joined(stream, lambda c: c.delta.content) == (answer.content, counts(chat.usage), "length"))

cut = next(c for c in said[2:] if c.isascii() and c.strip())  # a character that the text has
stopped = client.completions.create(model=model, prompt=prompt, stop=[cut], **length).choices[0]
check("stop", stopped.finish_reason == "stop" and stopped.text == said[: said.index(cut)], (stopped, said, cut))

drawn = dict(length, temperature=1, seed=7, n=3)
several = client.completions.create(model=model, prompt=prompt, **drawn)
check("n", sorted(c.index for c in several.choices) == [0, 1, 2] and several.usage.completion_tokens == 48, several)
again = client.completions.create(model=model, prompt=prompt, **drawn)
check("seed", [c.text for c in several.choices] == [c.text for c in again.choices])
texts = {0: "", 1: "", 2: ""}
for event in client.chat.completions.create(model=model, messages=messages, stream=True, **drawn):
    for choice in event.choices:
        texts[choice.index] += choice.delta.content or ""
want = client.chat.completions.create(model=model, messages=messages, **drawn)
check("n stream", [texts[c.index] for c in want.choices] == [c.message.content for c in want.choices])
pair = client.completions.create(model=model, prompt=[prompt, prompt], **length)
check("several prompts", [c.text for c in pair.choices] == [said, said], pair)

lp = client.completions.create(model=model, prompt=prompt, logprobs=2, **length).choices[0].logprobs
check("completion logprobs", len(lp.tokens) == len(lp.token_logprobs) == len(lp.top_logprobs) == 16 and max(lp.token_logprobs) <= 0, lp)
lp = client.chat.completions.create(model=model, messages=messages, logprobs=True, top_logprobs=2, **length).choices[0].logprobs.content
# Greedy: the token is the likeliest.
check("chat logprobs", len(lp) == 16 and all(len(t.top_logprobs) == 2 and t.top_logprobs[0].logprob == t.logprob for t in lp), lp)

fails("unknown model", openai.NotFoundError, 404, "model", lambda: client.completions.create(model="nobody", prompt=prompt))
fails("unknown model stream", openai.NotFoundError, 404, "model",
      lambda: client.chat.completions.create(model="nobody", messages=messages, stream=True))
fails("bad value", openai.BadRequestError, 400, "temperature",
      lambda: client.completions.create(model=model, prompt=prompt, temperature=-1))
fails("too long", openai.BadRequestError, 400, "max_tokens",
      lambda: client.completions.create(model=model, prompt=prompt, max_tokens=10**6))


async def concurrent():
    """Eight requests at once, with the asynchronous client."""
    async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="none", max_retries=0) as c:

        async def one():
            text = ""
            async for event in await c.completions.create(model=model, prompt=prompt, stream=True, **length):
                text += event.choices[0].text
            return text

        return await asyncio.gather(*(one() for _ in range(8)))


check("async", asyncio.run(concurrent()) == [said] * 8)
