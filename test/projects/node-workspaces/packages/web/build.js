const { mkdirSync, writeFileSync } = require("node:fs");
const { greeting } = require("@repo/shared");
const { page } = require("./index.js");

mkdirSync(`${__dirname}/dist/assets`, { recursive: true });
writeFileSync(`${__dirname}/dist/index.html`, page(greeting("web")));
writeFileSync(`${__dirname}/dist/assets/site.css`, "body { margin: 0 }\n", { mode: 0o600 });
