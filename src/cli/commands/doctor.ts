import { type DoctorFinding, type DoctorReport, drawFindings } from "../../api/doctor.ts";
import { VERSION } from "../../base/version.ts";
import { EngineError } from "../../client/client.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import { CREDENTIALS_CHECK, examineCredentials } from "../credentials/examine.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { print } from "../output/print.ts";
import { isTerminal } from "../streams/terminal.ts";
import { NoAnswer, whyUnreachable } from "./unreachable.ts";

/** Twice what the engine gives each of its checks, which run side by side. */
const PATIENCE_MS = 20_000;

export const doctor: Command = {
  usage: "[OPTIONS] [CHECK...]",
  args: { rule: "at-least", count: 0 },
  long: "Check whether this machine can run containers, and say how to mend what is in the way.\nA CHECK is an id (network.mtu) or an area (network); without one all are run. Where no\nengine answers, the reason is looked for; 'gantryd doctor' checks the machine without one.",
  flags: [
    textFlag("format", 'Output format ("table", "json")', { initial: "table" }),
    boolFlag("q,quiet", "Only show warnings and failures"),
  ],
  async run(call) {
    const format = call.flags.text("format");
    if (format !== "table" && format !== "json") {
      throw new ExitError(1, `unknown format ${JSON.stringify(format)}: it must be table or json`);
    }
    const report = await reportFor(call);
    if (format === "json") print(`${JSON.stringify(report)}\n`);
    else {
      const color = isTerminal(1) && !process.env.NO_COLOR;
      print(drawFindings(report.Checks, { color, quiet: call.flags.bool("quiet") }));
    }
    return report.Healthy ? 0 : 1;
  },
};

/** What the engine finds, and what only its user's own tool can: the engine keeps no credentials. */
async function reportFor({ args, client, settings }: Call): Promise<DoctorReport> {
  const check = args.filter((name) => name !== CREDENTIALS_CHECK);
  const isWanted = check.length < args.length || check.length === 0 || check.includes("registries");
  const own = isWanted ? [await examineCredentials(settings)] : [];
  if (args.length > 0 && check.length === 0) return { Version: VERSION, Healthy: true, Checks: own };
  const report = await reportOf(
    async () => client.json<DoctorReport>("GET", "/gantry/doctor", { query: { check } }),
    () => settings.endpoint(),
  );
  // Where no engine answers that is what matters.
  return report.Version === "" ? report : { ...report, Checks: [...report.Checks, ...own] };
}

async function reportOf(
  ask: () => Promise<DoctorReport>,
  endpoint: () => Promise<Parameters<typeof whyUnreachable>[0]>,
): Promise<DoctorReport> {
  try {
    const report = await inTime(ask);
    return { ...report, Checks: [versions(report.Version), ...report.Checks] };
  } catch (error) {
    // A refusal of the question itself is no trouble of the machine's.
    if (error instanceof EngineError && error.status === 400 && error.message.startsWith("there is no check"))
      throw error;
    return { Version: "", Healthy: false, Checks: [await whyUnreachable(await endpoint(), error)] };
  }
}

/** Rejects when there is no answer in time: the engine bounds its checks, so that it is the engine that hangs. */
async function inTime(ask: () => Promise<DoctorReport>): Promise<DoctorReport> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new NoAnswer(PATIENCE_MS)), PATIENCE_MS);
  try {
    return await Promise.race([ask(), late]);
  } finally {
    clearTimeout(timer);
  }
}

function versions(engine: string): DoctorFinding {
  const row = { ID: "client.version", Title: "client and engine" };
  if (engine === VERSION) return { ...row, Status: "ok", Found: `both ${VERSION}`, Mend: "" };
  return {
    ...row,
    Status: "note",
    Found: `the client is ${VERSION}, the engine ${engine}`,
    Mend: "Restart the engine after an upgrade; containers go on.",
  };
}
