import type { EndpointSettings, PortMap } from "../api/container.ts";
import { isKind } from "../base/errors.ts";
import type { ContainerPorts } from "./ports.ts";
import type { ContainerRecord } from "./record.ts";

/** What a container that starts has of networks. */
export interface Joined {
  /** Its network namespace; undefined where it is the host's or another container's. */
  readonly path: string | undefined;
  readonly networks: Readonly<Record<string, EndpointSettings>>;
  readonly ports: PortMap;
  /** The record's wishes, each under its network's own name and with its id. */
  readonly endpoints: ContainerRecord["endpoints"];
  readonly hasResolver: boolean;
}

/** Makes the sandbox, joins it to each network of the record and publishes its ports; `undo` takes all of it back. */
export async function joinNetworks(
  ports: Pick<ContainerPorts, "networks" | "settings">,
  record: Pick<ContainerRecord, "id" | "name" | "config" | "hostConfig" | "endpoints">,
  undo: AsyncDisposableStack,
): Promise<Joined> {
  const { id, hostConfig, config } = record;
  const mode = hostConfig.NetworkMode;
  if (mode.startsWith("container:")) {
    return { path: undefined, networks: {}, ports: {}, endpoints: record.endpoints, hasResolver: false };
  }
  undo.defer(() => ports.networks.release(id));
  // The host's own namespace needs no sandbox; `none` is a sandbox of its own with loopback only.
  const path = mode === "host" ? undefined : ports.networks.createSandbox(id, { dns: chosenDns(ports, record) }).path;
  const endpoints: Record<string, Partial<EndpointSettings>> = {};
  const main = mainNetwork(ports, mode);
  for (const [name, wanted] of firstIsMain(record, main)) {
    // By its id once it was joined: another one that has the name by now is not the one that was meant.
    const network = ports.networks.find(wanted.NetworkID || name);
    const MacAddress = wanted.MacAddress || (name === main ? config.MacAddress : "") || "";
    await ports.networks.connect(id, network.id, {
      containerName: record.name,
      hostname: config.Hostname,
      settings: { ...wanted, MacAddress },
    });
    endpoints[network.name] = { ...wanted, NetworkID: network.id };
  }
  const published =
    mode === "host" || mode === "none"
      ? {}
      : await ports.networks.publish(id, {
          bindings: hostConfig.PortBindings ?? {},
          exposed: Object.keys(config.ExposedPorts ?? {}),
          publishAll: hostConfig.PublishAllPorts,
        });
  return { path, ...ports.networks.state(id), ports: published, endpoints };
}

/** The name servers that the user chose for it; empty for the host's. */
export function chosenDns(
  ports: Pick<ContainerPorts, "settings">,
  { hostConfig }: Pick<ContainerRecord, "hostConfig">,
): readonly string[] {
  const own = hostConfig.Dns ?? [];
  return own.length > 0 ? own : ports.settings().dns.servers;
}

/** The name of the network that the mode names, be it by its id; the mode itself where there is none. */
function mainNetwork(ports: Pick<ContainerPorts, "networks">, mode: string): string {
  try {
    return ports.networks.find(mode).name;
  } catch (error) {
    if (isKind(error, "not-found")) return mode;
    throw error;
  }
}

/** The network that the mode names gives eth0, the others follow in the order given. */
function firstIsMain(
  { endpoints }: Pick<ContainerRecord, "endpoints">,
  main: string,
): (readonly [string, Partial<EndpointSettings>])[] {
  const rows = Object.entries(endpoints);
  const isMain = ([name]: readonly [string, unknown]) => name === main;
  return [...rows.filter(isMain), ...rows.filter((row) => !isMain(row))];
}
