import { isTerminal } from "../streams/terminal.ts";
import { writeAll } from "./print.ts";
import { styled } from "./style.ts";

/** Something worth knowing beside a command's own output, as Docker's client sets it. */
export function note(fd: 1 | 2, ...lines: readonly string[]): void {
  set(fd, "Info", 96, lines);
}

/** Something that may not be what the user wants, set likewise. */
export function warning(fd: 1 | 2, ...lines: readonly string[]): void {
  set(fd, "Warn", 93, lines);
}

function set(fd: 1 | 2, word: string, colour: number, lines: readonly string[]): void {
  const arrow = isTerminal(fd) ? "→" : "->";
  const head = ` ${styled(colour, `${word} ${arrow}`, fd)} `;
  writeAll(fd, `\n${head}${lines.join(`\n${" ".repeat(9)}`)}\n`);
}
