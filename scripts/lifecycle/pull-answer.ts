import type { Answer } from "./host-engine.ts";

/** What the engine says of a pull that failed; undefined of one that didn't. */
export function whyNotPulled({ status, text }: Answer): string | undefined {
  // A pull that fails half-way says so in its last message, after a status of 200.
  const last = text.trim().split("\n").at(-1) ?? "";
  const { error, message } = fieldsOf(last);
  if (status === 200) return error;
  return message ?? (last === "" ? `the engine answered with ${status}` : last);
}

function fieldsOf(line: string): { readonly error?: string; readonly message?: string } {
  try {
    return JSON.parse(line) as { error?: string; message?: string };
  } catch {
    return {};
  }
}
