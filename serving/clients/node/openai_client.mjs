// The openai package for JavaScript against the server: openai_client.mjs URL MODEL PACKAGES
//
// Says a line for every check that passed and stops at the first that did not.
// PACKAGES is the folder that has node_modules.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [url, model, packages] = process.argv.slice(2);
const OpenAI = createRequire(join(packages, 'package.json'))('openai').OpenAI;
const client = new OpenAI({ baseURL: url + '/v1', apiKey: 'none', maxRetries: 0 });
const messages = [{ role: 'user', content: 'Count: one, two, three,' }];
const prompt = 'one, two, three,';
// Random weights may end a text anywhere; lengths are forced.
const length = { model, temperature: 0, max_tokens: 16, ignore_eos: true };
const usage = { stream: true, stream_options: { include_usage: true } };

function check(name, got, want) {
  assert.deepEqual(got, want, name);
  console.log('ok', name);
}

async function fails(name, kind, status, param, call) {
  await assert.rejects(call, (e) => e instanceof kind && e.status === status && e.param === param, name);
  console.log('ok', name);
}

// Without what was cached, which is more at the second time.
function counts(u) {
  assert.ok(u.prompt_tokens_details.cached_tokens < u.prompt_tokens);
  return [u.prompt_tokens, u.completion_tokens, u.total_tokens];
}

async function joined(stream, textOf) {
  const all = { text: '', finish: null, usage: null };
  for await (const event of stream) {
    for (const choice of event.choices) {
      all.text += textOf(choice) ?? '';
      all.finish = choice.finish_reason ?? all.finish;
    }
    all.usage = event.usage ? counts(event.usage) : all.usage;
  }
  return all;
}

const ids = [];
for await (const m of client.models.list()) ids.push(m.id);
check('models', ids.includes(model), true);

const whole = await client.completions.create({ prompt, ...length });
const said = whole.choices[0].text;
check('completion', [whole.choices[0].finish_reason, whole.usage.completion_tokens], ['length', 16]);
check('completion stream', await joined(await client.completions.create({ prompt, ...length, ...usage }), (c) => c.text),
  { text: said, finish: 'length', usage: counts(whole.usage) });

const chat = await client.chat.completions.create({ messages, ...length });
check('chat', [chat.choices[0].message.role, chat.choices[0].finish_reason, chat.usage.completion_tokens], ['assistant', 'length', 16]);
check('chat stream', await joined(await client.chat.completions.create({ messages, ...length, ...usage }), (c) => c.delta.content),
  { text: chat.choices[0].message.content, finish: 'length', usage: counts(chat.usage) });
// The package's own accumulation of a stream into one answer.
const final = await client.chat.completions.stream({ messages, ...length }).finalChatCompletion();
check('chat stream helper', final.choices[0].message.content, chat.choices[0].message.content);

const cut = [...said.slice(2)].find((c) => c > ' ' && c < '~'); // a character that the text has
const stopped = await client.completions.create({ prompt, ...length, stop: cut });
check('stop', [stopped.choices[0].finish_reason, stopped.choices[0].text], ['stop', said.slice(0, said.indexOf(cut))]);

const several = await client.chat.completions.create({ messages, ...length, temperature: 1, seed: 7, n: 2 });
check('n', several.choices.map((c) => c.index).sort(), [0, 1]);
const withLogprobs = await client.chat.completions.create({ messages, ...length, logprobs: true, top_logprobs: 2 });
const content = withLogprobs.choices[0].logprobs.content;
check('chat logprobs', [content.length, content[0].top_logprobs.length, content[0].logprob <= 0], [16, 2, true]);
const old = await client.completions.create({ prompt, ...length, logprobs: 1 });
check('completion logprobs', old.choices[0].logprobs.token_logprobs.length, 16);

await fails('unknown model', OpenAI.NotFoundError, 404, 'model', () => client.completions.create({ prompt, ...length, model: 'nobody' }));
await fails('unknown model stream', OpenAI.NotFoundError, 404, 'model',
  () => client.chat.completions.create({ messages, ...length, model: 'nobody', stream: true }));
await fails('bad value', OpenAI.BadRequestError, 400, 'top_p', () => client.completions.create({ prompt, ...length, top_p: 2 }));

// A client that goes away in the middle takes its request with it.
const stream = await client.completions.create({ prompt, ...length, max_tokens: 1000, stream: true });
for await (const event of stream) {
  assert.equal(event.choices.length, 1);
  break;
}
stream.controller.abort();
const running = async () => {
  const text = await (await fetch(url + '/metrics')).text();
  return Number(/^vllm:num_requests_running\S* (\S+)$/m.exec(text)[1]);
};
while ((await running()) > 0) await new Promise((r) => setTimeout(r, 20));
console.log('ok abort');
