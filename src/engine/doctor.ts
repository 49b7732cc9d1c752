import { existsSync } from "node:fs";
import { dirname } from "node:path";
import type { DoctorReport } from "../api/doctor.ts";
import { drawFindings } from "../api/doctor.ts";
import { messageOf } from "../base/errors.ts";
import type { ContainerController } from "../containers/controller.ts";
import type { Installation, RunningEngine } from "../doctor/machine.ts";
import { examine } from "../doctor/report.ts";
import { lazyRefusal } from "../lazy/lazy-layers.ts";
import type { NetworkController } from "../networks/network.ts";
import { loadConfig } from "./config.ts";
import { parseFlags } from "./flags.ts";
import type { EngineConfig } from "./options.ts";
import { remoteSettings } from "./remote-settings.ts";
import { findExecutable } from "./runtimes.ts";
import { ENGINE_VERSION } from "./version.ts";

/** Examines the engine and its machine by the checks that are named, or by all. */
export type Doctor = (names: readonly string[]) => Promise<DoctorReport>;

/** The doctor of a running engine. Whoever asks for the same while it looks gets the same answer. */
export function engineDoctor(
  config: () => EngineConfig,
  roots: { readonly dataRoot: string; readonly execRoot: string },
  engine: RunningEngine,
): Doctor {
  const looking = new Map<string, Promise<DoctorReport>>();
  return (names) => {
    const key = JSON.stringify([...new Set(names)].sort());
    const known = looking.get(key);
    if (known !== undefined) return known;
    const report = examine(installationOf(config(), roots, engine), names).finally(() => looking.delete(key));
    looking.set(key, report);
    return report;
  };
}

/** What a doctor asks of the engine it examines. */
export function doctorView(
  containers: Pick<ContainerController, "list">,
  networks: Pick<NetworkController, "list">,
  runtime: { readonly list: RunningEngine["askSupervisor"] },
  images: { readonly underWay: RunningEngine["imagesUnderWay"] },
  registries: { readonly observations: RunningEngine["registries"] },
): RunningEngine {
  return {
    imagesUnderWay: () => images.underWay(),
    registries: () => registries.observations(),
    askSupervisor: () => runtime.list(),
    running: async () => {
      const rows = await containers.list({ all: false, limit: undefined, size: false, filters: {} });
      return rows.map(({ Id }) => Id);
    },
    networks: () =>
      networks
        .list()
        // Those on the wire of another link have the subnet of that by intention.
        .filter(({ Driver }) => Driver === "bridge")
        .map(({ Id, Name, IPAM, Options }) => ({
          name: Name,
          subnets: (IPAM.Config ?? []).map(({ Subnet }) => Subnet),
          link: Options?.["com.docker.network.bridge.name"] ?? `br-${Id.slice(0, 12)}`,
        })),
  };
}

/** `gantryd doctor [CHECK...] [--json] [--quiet] [flags of the engine]`: the exit code is 1 if a check fails. */
export async function runDoctor(args: readonly string[]): Promise<number> {
  const isOwn = (arg: string) => ["--json", "--quiet", "-q"].includes(arg);
  const own = args.filter(isOwn);
  const rest = args.filter((arg) => !isOwn(arg));
  const firstFlag = rest.findIndex((arg) => arg.startsWith("-"));
  const names = firstFlag < 0 ? rest : rest.slice(0, firstFlag);
  const { config, complaint } = configOrComplaint(firstFlag < 0 ? [] : rest.slice(firstFlag));
  const roots = { dataRoot: nearestFolder(config.dataRoot), execRoot: nearestFolder(config.execRoot) };
  const found = await examine(installationOf(config, roots, undefined), names);
  const report: DoctorReport =
    complaint === undefined
      ? found
      : {
          ...found,
          Healthy: false,
          Checks: [
            {
              ID: "engine.configuration",
              Title: "configuration",
              Status: "failure",
              Found: complaint,
              Mend: "Correct it, and see: gantryd --validate",
            },
            ...found.Checks,
          ],
        };
  const color = process.stdout.isTTY === true && !process.env.NO_COLOR;
  process.stdout.write(
    own.includes("--json")
      ? `${JSON.stringify(report)}\n`
      : drawFindings(report.Checks, { color, quiet: own.length > 0 }),
  );
  return report.Healthy ? 0 : 1;
}

/** What is wrong with the configuration is a finding like others; the checks then go by the defaults. */
function configOrComplaint(flags: readonly string[]): { readonly config: EngineConfig; readonly complaint?: string } {
  const given = parseFlags(flags);
  try {
    return { config: loadConfig(given) };
  } catch (error) {
    const none = new Map([["config-file", ["/dev/null"]]]);
    return { config: loadConfig({ values: none }), complaint: messageOf(error) };
  }
}

/** Before the first start there are no roots: what holds for the folder that they will lie in holds for them. */
function nearestFolder(path: string): string {
  return existsSync(path) || path === "/" ? path : nearestFolder(dirname(path));
}

function installationOf(
  config: EngineConfig,
  { dataRoot, execRoot }: { readonly dataRoot: string; readonly execRoot: string },
  engine: RunningEngine | undefined,
): Installation {
  const { defaultRuntime, runtimes } = config;
  const { certificateFolders, proxies } = remoteSettings(config, process.env);
  return {
    version: ENGINE_VERSION,
    dataRoot,
    execRoot,
    pidfile: config.pidfile,
    mtu: config.mtu,
    bridge: config.bridge === "" ? "gantry0" : config.bridge,
    runtime: {
      name: defaultRuntime,
      path: findExecutable(runtimes[defaultRuntime]?.path ?? defaultRuntime),
    },
    seccompProfile: config.seccompProfile,
    lazyRefusal: config.lazyPull ? lazyRefusal() : undefined,
    signaturePolicy: config.signaturePolicy,
    certificateFolders,
    proxies,
    engine,
  };
}
