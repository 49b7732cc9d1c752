import type { ProgressMessage } from "../../api/image.ts";
import { jsonLines } from "../../client/json-lines.ts";
import { isScreen } from "../streams/terminal.ts";
import { writeAll } from "./print.ts";
import { clean, isMoving, prefix, Screen } from "./screen.ts";

/**
 * Shows a stream of progress messages: on a screen one line an id that is redrawn, and with `sums` a last one for the
 * whole; else a line for each step. An error in the stream is thrown. `onAux` is given what isn't meant for people.
 */
export async function showProgress(
  body: AsyncIterable<Uint8Array>,
  fd: 1 | 2,
  options: { readonly quiet?: boolean; readonly sums?: boolean; readonly onAux?: (aux: unknown) => void } = {},
): Promise<void> {
  const { quiet = false, sums = false, onAux } = options;
  using screen = isScreen(fd) && !quiet ? new Screen(outputOf(fd), { sums }) : undefined;
  for await (const message of jsonLines<ProgressMessage>(body)) {
    if (message.error !== undefined || message.errorDetail !== undefined) {
      throw new Error(message.errorDetail?.message ?? message.error ?? "");
    }
    if (message.aux !== undefined) onAux?.(message.aux);
    if (quiet || (message.aux !== undefined && message.status === undefined && message.stream === undefined)) continue;
    if (screen !== undefined) screen.show(message);
    else if (message.stream !== undefined && message.stream !== "") writeAll(fd, clean(message.stream));
    else if (!isMoving(message)) writeAll(fd, `${prefix(message)}${clean(message.status ?? "")}\n`);
  }
}

function outputOf(fd: 1 | 2) {
  const stream = fd === 1 ? process.stdout : process.stderr;
  return {
    write: (text: string) => writeAll(fd, text),
    // A terminal that doesn't tell has 0 of both.
    size: () => ({ columns: stream.columns || 80, rows: stream.rows || 24 }),
  };
}
