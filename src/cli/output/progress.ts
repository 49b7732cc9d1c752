import type { ProgressMessage } from "../../api/image.ts";
import { humanSize } from "../../base/units.ts";
import { jsonLines } from "../../client/json-lines.ts";
import { isTerminal } from "../streams/terminal.ts";
import { writeAll } from "./print.ts";

/**
 * Shows a stream of progress messages: on a terminal one line an id that is redrawn, else a line for each step. An error
 * in the stream is thrown. `onAux` is given what isn't meant for people.
 */
export async function showProgress(
  body: AsyncIterable<Uint8Array>,
  fd: 1 | 2,
  quiet = false,
  onAux: (aux: unknown) => void = () => {},
): Promise<void> {
  const screen = isTerminal(fd) ? new Screen(fd) : undefined;
  for await (const message of jsonLines<ProgressMessage>(body)) {
    if (message.error !== undefined || message.errorDetail !== undefined) {
      throw new Error(message.errorDetail?.message ?? message.error ?? "");
    }
    if (message.aux !== undefined) onAux(message.aux);
    if (quiet || (message.aux !== undefined && message.status === undefined && message.stream === undefined)) continue;
    if (screen !== undefined) screen.show(message);
    else if (message.stream !== undefined && message.stream !== "") writeAll(fd, clean(message.stream));
    else if (!isMoving(message)) writeAll(fd, `${prefix(message)}${clean(message.status ?? "")}\n`);
  }
}

function isMoving(message: ProgressMessage): boolean {
  const { current, total } = message.progressDetail ?? {};
  return (current ?? 0) > 0 || (total ?? 0) > 0;
}

function prefix(message: ProgressMessage): string {
  return message.id === undefined || message.id === "" ? "" : `${clean(message.id)}: `;
}

/** What an image's author wrote must not steer the terminal. */
function clean(text: string): string {
  return text.replace(/[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]|\x1b(?!\[[0-9;]*m)/g, "");
}

/** Lines of a terminal by their id; those that moved up are redrawn in place. */
class Screen {
  readonly #fd: 1 | 2;
  readonly #rows = new Map<string, number>();
  #height = 0;

  constructor(fd: 1 | 2) {
    this.#fd = fd;
  }

  show(message: ProgressMessage): void {
    if (message.stream !== undefined && message.stream !== "") {
      this.#forget();
      writeAll(this.#fd, clean(message.stream));
      return;
    }
    const columns = process.stdout.columns ?? process.stderr.columns ?? 80;
    const text = `${prefix(message)}${clean(message.status ?? "")}${isMoving(message) ? ` ${bar(message.progressDetail ?? {}, columns)}` : ""}`;
    if (message.id === undefined || message.id === "") {
      this.#forget();
      writeAll(this.#fd, `${text}${isMoving(message) ? "\r" : "\n"}`);
      return;
    }
    const row = this.#rows.get(message.id);
    if (row === undefined) {
      this.#rows.set(message.id, this.#height++);
      writeAll(this.#fd, `\x1b[2K\r${text.slice(0, columns)}\n`);
      return;
    }
    const up = this.#height - row;
    writeAll(this.#fd, `\x1b[${up}A\x1b[2K\r${text.slice(0, columns)}\r\x1b[${up}B`);
  }

  #forget(): void {
    this.#rows.clear();
    this.#height = 0;
  }
}

/** `[=====>     ]  1.2MB/3.4MB`, as far as the line is wide enough. */
export function bar(detail: { readonly current?: number; readonly total?: number }, columns: number): string {
  const current = detail.current ?? 0;
  const total = detail.total ?? 0;
  const done = humanSize(current, 4);
  if (total <= 0) return done.padStart(8);
  const percent = Math.min(50, Math.floor((current / total) * 50));
  const numbers = `${done.padStart(8)}/${current > total ? "?" : humanSize(total, 4)}`;
  if (columns <= 110) return numbers;
  return `[${"=".repeat(percent)}>${" ".repeat(50 - percent)}] ${numbers}`;
}
