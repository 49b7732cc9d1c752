// A node:test reporter that writes each result to the file named by GANTRY_TEST_RESULTS the moment it is there, so
// that a test file that dies keeps what it had proved, and prints nothing itself.
import { appendFileSync } from "node:fs";
import type { TestEvent } from "node:test/reporters";
import { inspect } from "node:util";

const path = process.env.GANTRY_TEST_RESULTS ?? "";

export default async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    if (event.type !== "test:pass" && event.type !== "test:fail") continue;
    const { name, nesting, skip, todo, details } = event.data;
    const error = "error" in details ? details.error : undefined;
    const failure = (error as { failureType?: string } | undefined)?.failureType;
    // A suite is the sum of its tests, which counting it would count twice; but its hooks' failures are told here alone.
    if (details.type === "suite" && (failure === undefined || failure === "subtestsFailed")) continue;
    const row = {
      name,
      nesting,
      outcome: skip !== undefined || todo !== undefined ? "skipped" : event.type === "test:pass" ? "passed" : "failed",
      reason: typeof skip === "string" ? skip : undefined,
      error: error === undefined ? undefined : inspect(error.cause ?? error, { depth: 6 }),
      onlyBecauseOfChildren: failure === "subtestsFailed",
    };
    appendFileSync(path, `${JSON.stringify(row)}\n`);
  }
  yield "";
}
