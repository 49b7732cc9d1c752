/** Turns an OCI runtime's words into those that Docker's clients know. */

const RULES: readonly (readonly [RegExp, (match: RegExpExecArray, args: readonly string[]) => string])[] = [
  [
    /executable file [`']([^`']*)[`'] not found(?: in \$PATH)?/,
    ([, name = ""]) =>
      name.includes("/")
        ? `exec: ${JSON.stringify(name)}: stat ${name}: no such file or directory`
        : `exec: ${JSON.stringify(name)}: executable file not found in $PATH`,
  ],
  [
    /(?:open executable|exec(?:ve)?(?: failed)?|cannot find executable).*: (Operation not permitted|Permission denied)/i,
    (_match, args) => `exec: ${JSON.stringify(args[0] ?? "")}: permission denied`,
  ],
  [
    /(?:open executable|exec(?:ve)?).*: (Is a directory)/i,
    (_, args) => `exec: ${JSON.stringify(args[0] ?? "")}: is a directory`,
  ],
  [
    /exec.*: (Exec format error|No such file or directory)/i,
    ([, reason = ""], args) => `exec ${args[0] ?? ""}: ${reason.toLowerCase()}`,
  ],
  [
    /chdir(?: to)? [`']([^`']*)[`']: (.*)/,
    ([, path = "", reason = ""]) =>
      `chdir to cwd (${JSON.stringify(path)}) set in config.json failed: ${reason.toLowerCase()}`,
  ],
];

/** The last error of a runtime's JSON log (`--log-format json`), or of its plain standard error. */
export function runtimeWords(log: string): string {
  const lines = log.split("\n").filter((line) => line.trim() !== "");
  for (const line of lines.toReversed()) {
    try {
      const row: unknown = JSON.parse(line);
      if (typeof row !== "object" || row === null || !("msg" in row)) continue;
      if ("level" in row && row.level !== "error" && row.level !== "fatal") continue;
      return String(row.msg);
    } catch {
      return line.trim();
    }
  }
  return "";
}

/** The message of a failed create or exec. `args` is the command that should have run. */
export function startFailure(verb: "create" | "exec", runtime: string, words: string, args: readonly string[]): string {
  const told = words === "" ? `${runtime} gave no reason` : words;
  let reason = told;
  for (const [pattern, text] of RULES) {
    const match = pattern.exec(told);
    if (match === null) continue;
    reason = text(match, args);
    break;
  }
  const cause = reason.startsWith("unable to start") ? reason : `unable to start container process: ${reason}`;
  const who = verb === "create" ? `${runtime} create failed` : "exec failed";
  return `OCI runtime ${verb} failed: ${who}: ${cause}: unknown`;
}

/** Why a container could not be started, of the message of `startFailure` or of a check before it; undefined of others. */
export function reasonOfStartFailure(message: string): string | undefined {
  return /^OCI runtime create failed: (?:\w+ create failed: )?(unable to start container process: .*?)(?:: unknown)?$/s.exec(
    message,
  )?.[1];
}

/**
 * The exit code that Docker gives to a process whose start failed with this message: 127 for a command that isn't
 * there, 126 for one that can't be run, else `otherwise`: 128 for a container, 126 for an exec.
 */
export function exitCodeOfFailure(message: string, otherwise: 126 | 128): 126 | 127 | 128 {
  // The command's own absence only: a working directory or a mount's source can be missing as well.
  if (/executable file not found|process: exec:? .*no such file or directory/i.test(message)) return 127;
  return /permission denied|is a directory|not a directory|exec format error/i.test(message) ? 126 : otherwise;
}
