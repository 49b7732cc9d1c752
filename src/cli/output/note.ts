import { isTerminal } from "../streams/terminal.ts";
import { writeAll } from "./print.ts";
import { styled } from "./style.ts";

/** Something worth knowing beside a command's own output, as Docker's client sets it. */
export function note(fd: 1 | 2, ...lines: readonly string[]): void {
  const arrow = isTerminal(fd) ? "→" : "->";
  const head = ` ${styled(96, `Info ${arrow}`, fd)} `;
  writeAll(fd, `\n${head}${lines.join(`\n${" ".repeat(9)}`)}\n`);
}
