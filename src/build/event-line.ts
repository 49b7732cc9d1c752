import type { BuildEvent } from "./progress.ts";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** An event as a line of JSON; bytes of a log that are no text are in base64. */
export function eventLine(event: BuildEvent): string {
  if (event.type !== "log") return `${JSON.stringify(event)}\n`;
  const { data, ...rest } = event.log;
  return `${JSON.stringify({ type: "log", log: { ...rest, ...asJson(data) } })}\n`;
}

function asJson(data: Uint8Array): { readonly text: string } | { readonly base64: string } {
  try {
    return { text: decoder.decode(data) };
  } catch {
    return { base64: Buffer.from(data).toString("base64") };
  }
}

/** What `eventLine` wrote; undefined for a line that a crash has cut. */
export function parseEventLine(line: string): BuildEvent | undefined {
  try {
    const event = JSON.parse(line) as BuildEvent;
    if (event.type !== "log") return event;
    const { base64, text, ...rest } = event.log as unknown as Record<string, string>;
    const data = base64 === undefined ? Buffer.from(text ?? "") : Buffer.from(base64, "base64");
    return { type: "log", log: { ...(rest as unknown as typeof event.log), data } };
  } catch {
    return undefined;
  }
}
