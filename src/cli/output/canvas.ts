/** A terminal that lines are redrawn on. */
export interface CanvasOutput {
  write(text: string): void;
  /** Asked anew at each drawing: its user may change it. */
  size(): { readonly columns: number; readonly rows: number };
}

/** Lines at the end of a terminal that are drawn again in place: those that did not change are passed over. */
export class Canvas {
  readonly #output: CanvasOutput;
  /** The lines that the cursor is below of, as they were written. */
  #drawn: readonly string[] = [];

  constructor(output: CanvasOutput) {
    this.#output = output;
  }

  /** Takes the place of what was drawn before. */
  draw(lines: readonly string[]): void {
    const before = this.#drawn;
    let text = before.length === 0 ? "" : `\x1b[${before.length}A\r`;
    lines.forEach((line, index) => {
      text += index < before.length && line === before[index] ? "\n" : `\x1b[2K${line}\n`;
    });
    if (lines.length < before.length) text += "\x1b[J";
    this.#output.write(text);
    this.#drawn = lines;
  }

  /** On a terminal that became too small for what is drawn nobody knows where that is now: it is left, and begun anew. */
  leaveIfChanged(): void {
    const { columns, rows } = this.#output.size();
    if (this.#drawn.length >= rows || this.#drawn.some((line) => widthOf(line) >= columns)) this.#drawn = [];
  }

  /** What is drawn stays as it is; the next lines come below it. */
  leave(): void {
    this.#drawn = [];
  }
}

/** Columns of a line, without what only colours it. */
export function widthOf(line: string): number {
  return line.includes("\x1b") ? line.replace(/\x1b\[[0-9;]*m/g, "").length : line.length;
}
