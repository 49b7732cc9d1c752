import type { HealthcheckResult } from "../../api/container.ts";
import type { Command } from "../command.ts";
import { printLine } from "../output/print.ts";
import { segment } from "./lifecycle.ts";

export const runHealthcheck: Command = {
  usage: "CONTAINER",
  args: { rule: "exactly", count: 1 },
  flags: [],
  long: "Run a container's health check at once, as the engine would in its time. The exit code is 1 if it fails.",
  async run(call) {
    const path = `/gantry/containers/${segment(call.args[0] ?? "")}/healthcheck`;
    const { ExitCode } = await call.client.json<HealthcheckResult>("POST", path);
    printLine(ExitCode === 0 ? "healthy" : "unhealthy");
    return ExitCode === 0 ? 0 : 1;
  },
};
