export type DoctorStatus = "ok" | "note" | "warning" | "failure";

/** What one check found. */
export interface DoctorFinding {
  /** `area.what`. */
  ID: string;
  Title: string;
  Status: DoctorStatus;
  /** What is, or what is wrong. */
  Found: string;
  /** How to mend it; empty if there is nothing to mend. */
  Mend: string;
}

/** GET /gantry/doctor. */
export interface DoctorReport {
  /** Of the engine that looked. */
  Version: string;
  /** True unless a check fails. */
  Healthy: boolean;
  Checks: DoctorFinding[];
}

const MARKS: Readonly<Record<DoctorStatus, readonly [mark: string, color: string]>> = {
  ok: ["✓", "32"],
  note: ["·", "36"],
  warning: ["!", "33"],
  failure: ["✗", "31"],
};

/** The findings for a terminal: a mark, the title and what was found, each in its column; with `quiet` only what is not well. */
export function drawFindings(
  findings: readonly DoctorFinding[],
  options: { readonly color: boolean; readonly quiet: boolean },
): string {
  const shown = findings.filter(({ Status }) => !options.quiet || Status === "warning" || Status === "failure");
  const width = Math.max(0, ...shown.map(({ Title }) => Title.length));
  const paint = (text: string, color: string) => (options.color ? `\x1b[${color}m${text}\x1b[0m` : text);
  const lines = shown.flatMap(({ Title, Status, Found, Mend }) => {
    const [mark, color] = MARKS[Status];
    const line = `${paint(mark, color)} ${Title.padEnd(width)}  ${plain(Found)}`;
    return Mend === "" ? [line] : [line, `${" ".repeat(width + 4)}${paint(plain(Mend), "2")}`];
  });
  const count = (status: DoctorStatus) => findings.filter(({ Status }) => Status === status).length;
  const [failed, warned] = [count("failure"), count("warning")];
  const sum =
    failed > 0
      ? `${failed} of ${findings.length} checks failed`
      : warned > 0
        ? `${findings.length} checks, ${warned} with a warning`
        : `${findings.length} checks, all well`;
  if (!options.quiet) lines.push("", sum);
  return lines.map((line) => `${line}\n`).join("");
}

/** Names of files and what programs say may hold what steers a terminal. */
function plain(text: string): string {
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, " ");
}
