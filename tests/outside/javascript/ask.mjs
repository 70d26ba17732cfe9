// What OpenAI's own JavaScript client hears; one JSON object on stdout.
import OpenAI from "openai";

const [, , url, apiKey] = process.argv;
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "Hello there" }];
const told = {};

told.models = (await client.models.list()).data.map((model) => model.id);

const plain = await client.chat.completions.create({ model: "desk", messages });
told.plain = { text: plain.choices[0].message.content, usage: plain.usage, finish: plain.choices[0].finish_reason };

const stream = await client.chat.completions.create({
  model: "desk",
  messages,
  stream: true,
  stream_options: { include_usage: true },
});
told.stream = { text: "", usage: null };
for await (const chunk of stream) {
  told.stream.text += chunk.choices[0]?.delta?.content ?? "";
  told.stream.usage = chunk.usage ?? told.stream.usage;
}

const cut = await client.chat.completions.create({ model: "desk", messages, max_completion_tokens: 2, stop: ["zz"] });
told.cut = { finish: cut.choices[0].finish_reason, tokens: cut.usage.completion_tokens };

const refused = async (wanted) => {
  try {
    await wanted();
    return null;
  } catch (error) {
    return { kind: error.constructor.name, status: error.status, code: error.code, param: error.param };
  }
};
told.n = await refused(() => client.chat.completions.create({ model: "desk", messages, n: 2 }));
told.key = await refused(() => client.withOptions({ apiKey: "my-wrong" }).models.list());
told.model = await refused(() => client.chat.completions.create({ model: "gpt-4o", messages }));

const gone = await client.chat.completions.create({
  model: "desk",
  messages: [{ role: "user", content: "word ".repeat(60) }],
  max_tokens: 200,
  stream: true,
});
for await (const chunk of gone) {
  if (chunk.choices[0]?.delta?.content) break; // leaving the loop ends the connection
}

console.log(JSON.stringify(told));
