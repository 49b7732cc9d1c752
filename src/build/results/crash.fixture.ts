// Makes an image of the steps in a folder, for tests that kill it on its way.
import { join } from "node:path";
import { openSqlite } from "../../state/sqlite.ts";
import { openResults, outputOf } from "./results.fixture.ts";

const [, , root = "", ...names] = process.argv;
const store = openSqlite(join(root, "state.db"));
const fixture = openResults({ after: () => {} }, { root, store });
const target = fixture.target(names);
// Its layers are extracted, as their times are others; the second's are the steps' own.
await fixture.export([target], [outputOf("image", { name: "made" })], { sourceDateEpoch: 1 });
await fixture.export([target], [outputOf("image", { name: "made" })]);
process.exit(0);
