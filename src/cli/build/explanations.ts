import { jsonLines } from "../../client/json-lines.ts";
import type { Call } from "../command.ts";
import { print } from "../output/print.ts";
import { clean } from "../output/screen.ts";
import { secondsOf } from "./progress/model.ts";

/** The explanations of a build's steps, as its history has them. */
export async function printExplanations(call: Call, ref: string): Promise<void> {
  const { body } = await call.client.stream("GET", `/gantry/build/history/${ref}/events`);
  interface Event {
    readonly type: string;
    readonly vertex?: {
      readonly digest: string;
      readonly name: string;
      readonly cached: boolean;
      readonly started?: number;
      readonly completed?: number;
      readonly explanation?: { readonly reason: string; readonly text: string; readonly diff: readonly string[] };
    };
  }
  const steps = new Map<string, NonNullable<Event["vertex"]>>();
  for await (const event of jsonLines<Event>(body)) {
    if (event.type !== "vertex" || event.vertex === undefined) continue;
    steps.set(event.vertex.digest, { ...steps.get(event.vertex.digest), ...event.vertex });
  }
  let text = "\nWhy each step was done:\n";
  for (const { name, cached, explanation, completed, ...times } of steps.values()) {
    // What is only fetched has nothing to explain.
    if (completed === undefined || (explanation === undefined && !cached) || name.startsWith("[internal]")) continue;
    const seconds = secondsOf({ started: times.started, completed }, completed).toFixed(1);
    text += cached ? ` = ${clean(name)}  cached\n` : ` ✚ ${clean(name)}  ${seconds}s\n`;
    if (explanation === undefined) continue;
    text += `     ${clean(explanation.text)}\n`;
    for (const row of explanation.diff) text += `       ${clean(row)}\n`;
  }
  print(text);
}
