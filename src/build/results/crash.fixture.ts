// Makes an image of the steps in a folder, for tests that kill it on its way.
import { join } from "node:path";
import { openSqlite } from "../../state/sqlite.ts";
import { AMD64, openResults, outputOf } from "./results.fixture.ts";

const [, , root = "", ...names] = process.argv;
const store = openSqlite(join(root, "state.db"));
const statement = { predicateType: "https://slsa.dev/provenance/v1", fileName: "provenance.json" };
const attest = async () => [{ ...statement, parts: [Buffer.from("{}")] }];
const attestor = { attest, check: () => {}, isAsked: () => false, told: () => undefined };
const fixture = openResults({ after: () => {} }, { root, store, attestor });
const target = fixture.target(names);
// Its layers are extracted, as their times are others; the second's are the steps' own.
await fixture.export([target], [outputOf("image", { name: "made" })], { sourceDateEpoch: 1 });
await fixture.export([target], [outputOf("image", { name: "made" })]);
// An index of two, which comes and goes as a whole.
const arm = { architecture: "arm64", os: "linux" };
const more = { platform: arm, config: { ...arm, rootfs: { type: "layers" as const, diff_ids: [] } } };
const other = fixture.target(await fixture.steps({ c: "1" }), more);
await fixture.export([target, other], [outputOf("image", { name: "both" })], { platforms: [AMD64, arm] });
await fixture.images.remove("both", { force: false, prune: true });
process.exit(0);
