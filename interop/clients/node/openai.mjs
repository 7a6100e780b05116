// Speaks to an API of OpenAI's kind with the official client, which finds its address and its key in the environment.
//
//   node openai.mjs WHAT
//
// WHAT is plain, responses, models, stream (which tells when each event came, in milliseconds since the question was sent), abort
// (which leaves after the first event, and stays for a minute), or wrong (which has a key that is wrong).
//
// It prints one line of JSON: {"text": …, "times": […]}, or {"error": NAME, "status": …, "text": MESSAGE}.

import OpenAI from 'openai';

const [what] = process.argv.slice(2);
const client = new OpenAI({ maxRetries: 0, ...(what === 'wrong' && { apiKey: 'sk-wrong-key-of-somebody-else-entirely' }) });
const question = { model: 'lab-1', messages: [{ role: 'user', content: 'hello' }] };
const began = performance.now();

async function streamed() {
  const events = await client.chat.completions.create({ ...question, stream: true });
  let text = '';
  const times = [];
  for await (const event of events) {
    times.push(Math.round(performance.now() - began));
    text += event.choices[0]?.delta?.content ?? '';
    if (what === 'abort' && times.length === 1) {
      events.controller.abort();
    }
  }
  return { text, times };
}

const asks = {
  plain: async () => ({ text: (await client.chat.completions.create(question)).choices[0].message.content }),
  wrong: async () => ({ text: (await client.chat.completions.create(question)).choices[0].message.content }),
  responses: async () => ({ text: (await client.responses.create({ model: 'lab-1', input: 'hello' })).output_text }),
  models: async () => ({ text: (await client.models.list()).data.map((m) => m.id).join(' ') }),
  stream: streamed,
  abort: streamed,
};

let line;
try {
  line = await asks[what]();
} catch (error) {
  line = { error: error.constructor.name, status: error.status, text: error.message };
}
console.log(JSON.stringify(line));
if (what === 'abort') setTimeout(() => {}, 60_000);
