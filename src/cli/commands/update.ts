import type { ContainerUpdateRequest, ContainerUpdateResponse } from "../../api/container.ts";
import { type Command, ExitError } from "../command.ts";
import type { ParsedFlags } from "../flags/parse.ts";
import type { FlagSpec } from "../flags/spec.ts";
import { printLine } from "../output/print.ts";
import { parseRestart } from "../run/body.ts";
import { CREATE_FLAGS } from "../run/flags.ts";
import { forEachName, segment } from "./lifecycle.ts";

const TAKEN: ReadonlySet<string> = new Set([
  "blkio-weight",
  "cpu-period",
  "cpu-quota",
  "cpu-rt-period",
  "cpu-rt-runtime",
  "cpu-shares",
  "cpus",
  "cpuset-cpus",
  "cpuset-mems",
  "kernel-memory",
  "memory",
  "memory-reservation",
  "memory-swap",
  "pids-limit",
]);

/** As `run` has them; what isn't given stays as it is. */
const FLAGS: readonly FlagSpec[] = [
  ...CREATE_FLAGS.filter(({ name }) => TAKEN.has(name)).map((flag) =>
    flag.name === "kernel-memory" ? { ...flag, hidden: true } : flag,
  ),
  ...CREATE_FLAGS.filter(({ name }) => name === "restart").map((flag) => ({
    ...flag,
    usage: "Restart policy to apply when a container exits",
    initial: "",
    shownDefault: "",
  })),
];

export const update: Command = {
  usage: "[OPTIONS] CONTAINER [CONTAINER...]",
  args: { rule: "at-least", count: 1 },
  flags: FLAGS,
  async run(call) {
    const { flags } = call;
    if (!FLAGS.some(({ name }) => flags.changed(name))) {
      throw new ExitError(1, "you must provide one or more flags when using this command");
    }
    const json = requestOf(flags);
    const warnings: string[] = [];
    const code = await forEachName(call, async (name) => {
      const path = `/containers/${segment(name)}/update`;
      const answer = await call.client.json<ContainerUpdateResponse>("POST", path, { json });
      warnings.push(...(answer.Warnings ?? []));
      return undefined;
    });
    for (const warning of warnings) printLine(warning);
    return code;
  },
};

function requestOf(flags: ParsedFlags): Partial<ContainerUpdateRequest> & { readonly KernelMemory: number } {
  return {
    BlkioWeight: flags.int("blkio-weight"),
    CpuPeriod: flags.int("cpu-period"),
    CpuQuota: flags.int("cpu-quota"),
    CpuRealtimePeriod: flags.int("cpu-rt-period"),
    CpuRealtimeRuntime: flags.int("cpu-rt-runtime"),
    CpuShares: flags.int("cpu-shares"),
    NanoCpus: flags.int("cpus"),
    CpusetCpus: flags.text("cpuset-cpus"),
    CpusetMems: flags.text("cpuset-mems"),
    KernelMemory: flags.int("kernel-memory"),
    Memory: flags.int("memory"),
    MemoryReservation: flags.int("memory-reservation"),
    MemorySwap: flags.int("memory-swap"),
    // 0 asks for no limit; what was not given must not.
    PidsLimit: flags.changed("pids-limit") ? flags.int("pids-limit") : null,
    RestartPolicy: parseRestart(flags.text("restart")),
  };
}
