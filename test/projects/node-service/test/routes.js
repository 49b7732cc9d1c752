const assert = require("node:assert");
const semver = require("semver");
const router = require("../src/routes.js");

assert.equal(router.find("GET", "/greet/you").params.name, "you");
assert(semver.satisfies(require("../package.json").version, "^1"));
