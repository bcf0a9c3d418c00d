// Judge an AsyncAPI document: node judge.mjs FILE prints {"channels": [...], "problems": [...]} as JSON.
import { readFile } from "node:fs/promises";
import { Parser } from "@asyncapi/parser";

const ERROR = 0;
const { document, diagnostics } = await new Parser().parse(await readFile(process.argv[2], "utf8"));
const problems = diagnostics
  .filter(({ severity }) => severity === ERROR)
  .map(({ message, path }) => `${path.join(".")}: ${message}`);
const channels = (document?.channels().all() ?? []).map((channel) => ({
  address: channel.address(),
  messages: channel.messages().all().map((message) => message.id()),
}));
console.log(JSON.stringify({ channels, problems }));
