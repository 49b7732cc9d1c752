// Takes the types out of each source: what is left is JavaScript.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";

const [from, to] = process.argv.slice(2);
mkdirSync(to, { recursive: true });
for (const name of readdirSync(from).filter((one) => one.endsWith(".ts"))) {
  const text = stripTypeScriptTypes(readFileSync(`${from}/${name}`, "utf8"));
  writeFileSync(`${to}/${name.replace(/ts$/, "js")}`, text.replaceAll(/(from "\.\/\w+)\.ts"/g, '$1.js"'));
}
writeFileSync(`${to}/package.json`, '{ "type": "module" }\n');
