import { isTerminal } from "../streams/terminal.ts";

/**
 * Text in one of the terminal's colours (an SGR number), plain where the descriptor is no terminal or the user wants
 * none: `NO_COLOR`, `CLICOLOR=0`, `TERM=dumb`. `CLICOLOR_FORCE` colours everything.
 */
export function styled(code: number, text: string, fd: 1 | 2): string {
  return isColoured(fd) ? `\x1b[${code}m${text}\x1b[0m` : text;
}

function isColoured(fd: 1 | 2): boolean {
  const { NO_COLOR = "", CLICOLOR_FORCE = "", CLICOLOR = "", TERM = "" } = process.env;
  if (NO_COLOR !== "") return false;
  if (CLICOLOR_FORCE !== "" && CLICOLOR_FORCE !== "0") return true;
  return CLICOLOR !== "0" && TERM !== "dumb" && isTerminal(fd);
}
