/**
 * Failpoints: named places at which a test can make the process die or fail, to prove that a crash there loses
 * nothing. `GANTRY_FAILPOINTS="containers.start.mounted=kill;content.write=error:ENOSPC"`; unset, a point costs one
 * comparison. `kill` sends SIGKILL to this process; `error:CODE` throws an error with that code.
 */
const POINTS = parse(process.env.GANTRY_FAILPOINTS);

function parse(text: string | undefined): ReadonlyMap<string, string> | undefined {
  if (text === undefined || text === "") return undefined;
  return new Map(text.split(";").map((row) => [row.split("=")[0] ?? "", row.split("=")[1] ?? "kill"]));
}

/** A place at which a test can end the process or make a call fail; does nothing otherwise. */
export function failpoint(name: string): void {
  if (POINTS === undefined) return;
  const action = POINTS.get(name);
  if (action === undefined) return;
  if (action === "kill") process.kill(process.pid, "SIGKILL");
  const code = action.replace(/^error:/, "");
  throw Object.assign(new Error(`${code}: failpoint ${name}`), { code });
}
