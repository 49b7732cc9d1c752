import { bytesSize } from "../../base/units.ts";
import { VERSION } from "../../base/version.ts";
import { clientVersion } from "../client-version.ts";
import type { Call, Command } from "../command.ts";
import { errorLine } from "../error-line.ts";
import { textFlag } from "../flags/spec.ts";
import { complain, print } from "../output/print.ts";

type Info = Readonly<Record<string, unknown>>;

export const info: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: [textFlag("f,format", "Format output with a Go template or 'json'")],
  async run(call) {
    const format = call.flags.text("format");
    if (format === "") {
      print(
        `Client:\n Version:    ${VERSION}\n Context:    ${call.settings.context}\n Debug Mode: ${call.settings.debug}\n\nServer:\n`,
      );
    }
    let found: Info;
    try {
      found = await call.client.json<Info>("GET", "/info");
    } catch (error) {
      complain(errorLine(error));
      return 1;
    }
    if (format === "json") print(`${JSON.stringify({ ...found, ClientInfo: clientInfo(call) })}\n`);
    else if (format === "") print(infoText(found));
    else {
      const { printValue } = await import("../output/value.ts");
      const { ClientInfo: _, ...server } = found;
      const data = { ...server, ClientInfo: clientInfo(call) };
      printValue(data, format, { type: "system.dockerInfo", fields: INFO_FIELDS });
    }
    for (const warning of (found.Warnings as readonly string[] | null | undefined) ?? []) complain(warning);
    return 0;
  },
};

/** Fields that engines may leave out, of which a template can ask all the same. */
const INFO_FIELDS = new Set(
  (
    "Warnings Labels HttpProxy HttpsProxy NoProxy RegistryConfig GenericResources Swarm ProductLicense Isolation " +
    "InitBinary ContainerdCommit RuncCommit InitCommit SecurityOptions DefaultAddressPools FirewallBackend CDISpecDirs " +
    "DiscoveredDevices Containerd ClusterAdvertise ClusterStore DriverStatus SystemStatus KernelMemory KernelMemoryTCP " +
    "DefaultRuntime Runtimes Plugins OSVersion ServerErrors"
  ).split(" "),
);

function clientInfo(call: Call): Readonly<Record<string, unknown>> {
  return {
    Debug: call.settings.debug,
    ...clientVersion(call),
    Plugins: [],
    Warnings: null,
  };
}

/** Lines in Docker's order: indent, label, and the value's key, left out where the engine says nothing. */
function infoText(found: Info): string {
  const out: string[] = [];
  const add = (label: string, value: unknown, indent = 1): void => {
    if (value === undefined || value === null || value === "") return;
    out.push(`${" ".repeat(indent)}${label}: ${String(value)}`);
  };
  const list = (value: unknown): string => (Array.isArray(value) ? value.join(" ") : "");
  add("Containers", found.Containers);
  add("Running", found.ContainersRunning, 2);
  add("Paused", found.ContainersPaused, 2);
  add("Stopped", found.ContainersStopped, 2);
  add("Images", found.Images);
  add("Server Version", found.ServerVersion);
  add("Storage Driver", found.Driver);
  for (const [name, value] of (found.DriverStatus as [string, string][] | null | undefined) ?? []) add(name, value, 2);
  add("Logging Driver", found.LoggingDriver);
  add("Cgroup Driver", found.CgroupDriver);
  add("Cgroup Version", found.CgroupVersion);
  const plugins = (found.Plugins ?? {}) as Readonly<Record<string, readonly string[] | null>>;
  if (found.Plugins !== undefined) out.push(" Plugins:");
  for (const kind of ["Volume", "Network", "Authorization", "Log"]) {
    const names = plugins[kind];
    if (names !== undefined && names !== null && names.length > 0) add(kind, names.join(" "), 2);
  }
  add("Swarm", (found.Swarm as { LocalNodeState?: string } | undefined)?.LocalNodeState);
  add(
    "Runtimes",
    Object.keys((found.Runtimes as object | undefined) ?? {})
      .sort()
      .join(" "),
  );
  add("Default Runtime", found.DefaultRuntime);
  add("Init Binary", found.InitBinary);
  for (const commit of ["Containerd", "Runc", "Init"]) {
    add(
      `${commit === "Init" ? "init" : commit.toLowerCase()} version`,
      (found[`${commit}Commit`] as { ID?: string } | undefined)?.ID,
    );
  }
  const security = (found.SecurityOptions as readonly string[] | null | undefined) ?? [];
  if (security.length > 0) out.push(" Security Options:");
  for (const option of security) {
    const fields = option.split(",").map((field) => field.split("="));
    out.push(`  ${fields.find(([key]) => key === "name")?.[1] ?? option}`);
    for (const [key, value] of fields) if (key === "profile") out.push(`   Profile: ${value}`);
  }
  add("Kernel Version", found.KernelVersion);
  add("Operating System", found.OperatingSystem);
  add("OSType", found.OSType);
  add("Architecture", found.Architecture);
  add("CPUs", found.NCPU);
  add("Total Memory", typeof found.MemTotal === "number" ? bytesSize(found.MemTotal) : undefined);
  add("Name", found.Name);
  add("ID", found.ID);
  // Docker's own name for the folder, since scripts cut it out of this text.
  add("Docker Root Dir", found.DockerRootDir);
  add("Debug Mode", found.Debug);
  add("HTTP Proxy", found.HttpProxy);
  add("HTTPS Proxy", found.HttpsProxy);
  add("No Proxy", found.NoProxy);
  if (Array.isArray(found.Labels) && found.Labels.length > 0)
    out.push(" Labels:", ...found.Labels.map((label) => `  ${String(label)}`));
  add("Experimental", found.ExperimentalBuild);
  const registries = list(
    (found.RegistryConfig as { InsecureRegistryCIDRs?: unknown } | undefined)?.InsecureRegistryCIDRs,
  );
  if (registries !== "") out.push(" Insecure Registries:", ...registries.split(" ").map((row) => `  ${row}`));
  add("Live Restore Enabled", found.LiveRestoreEnabled);
  return `${out.join("\n")}\n`;
}
