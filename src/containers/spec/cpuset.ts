import { GantryError } from "../../base/errors.ts";

/** As many as Linux is built for; a list of more would only take memory. */
const MAX_CPUS = 8192;

/** The numbers of a list such as `0-3,8`; empty for an empty text. Refuses anything else with `invalid`. */
function parseCpuList(text: string): Set<number> {
  const numbers = new Set<number>();
  if (text === "") return numbers;
  for (const part of text.split(",")) {
    const match = /^(\d{1,7})(?:-(\d{1,7}))?$/.exec(part.trim());
    if (match === null) throw new GantryError("invalid", `invalid format: ${text}`);
    const from = Number(match[1]);
    const to = match[2] === undefined ? from : Number(match[2]);
    if (to < from) throw new GantryError("invalid", `invalid format: ${text}`);
    if (to > MAX_CPUS) throw new GantryError("invalid", `value of out range, maximum is ${MAX_CPUS}`);
    for (let number = from; number <= to; number++) numbers.add(number);
  }
  return numbers;
}

export function isAvailable(requested: string, available: string): boolean {
  return parseCpuList(requested).isSubsetOf(parseCpuList(available));
}
