import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { openSqlite } from "../../state/sqlite.ts";
import { GraphMaker, TestSolver } from "./solver.fixture.ts";

/**
 * Solves two steps and names their snapshots, in the folder that the test gives; a failpoint ends the process somewhere
 * on the way.
 */
const [root = ""] = process.argv.slice(2);
const test = new TestSolver(8, root, openSqlite(join(root, "gantry.db")));
const maker = new GraphMaker();
let last = maker.image("sha256:base");
for (const name of ["one", "two"]) last = maker.run(last, name);
await test.solve(maker.graph());
await test.cache.settle();
const snapshots = [...test.cache.all()].map(([, { snapshot }]) => snapshot);
for (const [index, snapshot] of snapshots.entries()) await test.cache.rename(snapshot, `sha256:${index}`);
writeFileSync(join(root, "done"), "");
