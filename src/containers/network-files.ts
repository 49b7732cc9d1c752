import { messageOf } from "../base/errors.ts";
import { etcFilesIn, hostNames, resolvText } from "./files.ts";
import { replaceUnchanged, setHosts } from "./hosts-file.ts";
import { linkedFrom, linkedPorts } from "./link.ts";
import type { ContainerPorts } from "./ports.ts";
import type { ContainerRecord } from "./record.ts";
import type { ContainerTable } from "./table.ts";
import { containerFolder } from "./view.ts";

/** Makes the files of a running container say where it is now; what the container wrote itself stays. */
export function refreshFiles(ports: ContainerPorts, record: ContainerRecord): void {
  const { state, config, hostConfig, id } = record;
  if (state.status !== "running" || hostConfig.NetworkMode.startsWith("container:")) return;
  const settings = ports.settings();
  const files = etcFilesIn(containerFolder(settings.dataRoot, id));
  const endpoints = Object.values(state.networks);
  const addresses = endpoints.flatMap(({ IPAddress, GlobalIPv6Address }) => [IPAddress, GlobalIPv6Address]);
  try {
    setHosts(
      files.hosts,
      hostNames(config),
      addresses.filter((address) => address !== ""),
    );
    if (state.hasResolver !== true) return;
    const text = (hasResolver: boolean) => resolvText({ hostConfig, hasResolver, engineDns: settings.dns });
    replaceUnchanged(files.resolvConf, text(false), text(true));
  } catch (error) {
    ports.log.warn(`cannot tell a container of its networks: ${messageOf(error)}`, { container: id });
  }
}

/** Takes what a link gave a running container that has it no more: the names in its hosts file, and the way. */
export function forgetLink(
  ports: ContainerPorts,
  table: ContainerTable,
  parent: ContainerRecord,
  names: string | undefined,
): void {
  if (parent.state.status !== "running") return;
  try {
    ports.networks.link(parent.id, linkedPorts(table, parent));
    if (names === undefined) return;
    setHosts(etcFilesIn(containerFolder(ports.settings().dataRoot, parent.id)).hosts, names, []);
  } catch (error) {
    ports.log.warn(`cannot take a link from a container: ${messageOf(error)}`, { container: parent.id });
  }
}

/** Tells the running containers that are linked to one that has just started its address of now. */
export function refreshLinks(ports: ContainerPorts, table: ContainerTable, record: ContainerRecord): void {
  const endpoint = record.state.status === "running" ? record.state.networks.bridge : undefined;
  if (endpoint === undefined) return;
  const addresses = [endpoint.IPAddress, endpoint.GlobalIPv6Address].filter((address) => address !== "");
  for (const { parent, hostNames: names } of linkedFrom(table, record)) {
    try {
      setHosts(etcFilesIn(containerFolder(ports.settings().dataRoot, parent.id)).hosts, names, addresses);
    } catch (error) {
      ports.log.warn(`cannot tell a container of a link: ${messageOf(error)}`, { container: parent.id });
    }
  }
}
