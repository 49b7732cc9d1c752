import { chmodSync, chownSync, lstatSync, readFileSync, rmSync } from "node:fs";
import type { Server } from "node:http";
import { createConnection, type ListenOptions } from "node:net";
import type { TlsOptions } from "node:tls";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { isUnixSocket } from "../kernel/unix-socket.ts";
import { type Access, parseBindAddress } from "./bind-address.ts";
import { connectionsOf } from "./server.ts";

/** `sockaddr_un` has room for no more. */
const MAX_SOCKET_PATH = 107;

/** Clients that connect at once and wait for their turn, as the kernel allows; beyond, a unix socket refuses them. */
const BACKLOG = 4096;

export interface ListenRequest {
  /** As `parseBindAddress` reads them, checked already. */
  readonly hosts: readonly string[];
  /** Descriptors of listening sockets that were handed to this process, for `fd://`. */
  readonly passed: readonly number[];
  /** Group of unix sockets; empty takes `gantry` or `docker` where there is one. */
  readonly group: string;
  /** For tcp sockets; undefined leaves them open to everybody. */
  readonly tls: TlsOptions | undefined;
  readonly createServer: (tls: TlsOptions | undefined, access: Access) => Server;
  readonly log: Logger;
}

/**
 * Opens every socket of the engine. All or none: if one can't be opened, those that were are closed again. Throws
 * conflict if another process answers there, unavailable if the system refuses.
 */
export async function listenAll(request: ListenRequest): Promise<readonly Server[]> {
  const servers: Server[] = [];
  try {
    for (const host of request.hosts) {
      const { address, access } = parseBindAddress(host);
      const asked = { ...request, access };
      if (address.startsWith("unix://")) servers.push(await listenUnix(address.slice("unix://".length), asked));
      else if (address.startsWith("fd://")) servers.push(...(await listenPassed(address, asked)));
      else servers.push(await listenTcp(address, asked));
    }
  } catch (error) {
    await closeAll(servers);
    throw error;
  }
  return servers;
}

interface OneRequest extends ListenRequest {
  readonly access: Access;
}

/**
 * Stops listening and ends the connections that are open; those that HTTP handed over end after `last`, which may tell
 * who is there. What was handed on to the supervisor goes on there.
 */
export async function closeAll(servers: readonly Server[], last?: () => Promise<void>): Promise<void> {
  const closed = servers.map((server) => new Promise((resolve) => server.close(resolve)));
  for (const server of servers) server.closeAllConnections();
  await last?.();
  for (const server of servers) for (const socket of connectionsOf(server)) socket.destroy();
  await Promise.all(closed);
}

async function listenUnix(path: string, { createServer, group, log, access }: OneRequest): Promise<Server> {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH) {
    throw new GantryError("invalid", `cannot listen on ${path}: a socket's path has ${MAX_SOCKET_PATH} bytes at most`);
  }
  await removeStale(path);
  const server = createServer(undefined, access);
  // Nobody may get in between the socket's appearing and its mode's being set.
  const before = process.umask(0o177);
  try {
    const listening = listen(server, { path }, path);
    process.umask(before);
    await listening;
  } finally {
    process.umask(before);
  }
  const gid = findGroup(group);
  if (gid !== undefined) chownSync(path, 0, gid);
  else if (group !== "") log.warn(`could not change group ${path} to ${group}: group ${group} not found`);
  chmodSync(path, 0o660);
  return server;
}

/** Takes away a socket that nobody answers on. */
async function removeStale(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isSocket())
    throw new GantryError("conflict", `cannot listen on ${path}: there is a file that is no socket`);
  const answered = await new Promise<boolean>((resolve, reject) => {
    const probe = createConnection({ path });
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", (error) => {
      if (hasCode(error, "ECONNREFUSED", "ENOENT")) resolve(false);
      else reject(new GantryError("unavailable", `cannot listen on ${path}: ${error.message}`));
    });
  });
  if (answered) throw new GantryError("conflict", `cannot listen on ${path}: another process serves it`);
  rmSync(path, { force: true });
}

async function listenTcp(host: string, { createServer, tls, log, access }: OneRequest): Promise<Server> {
  const at = host.replace(/^tcp:\/\//, "").replace(/\/$/, "");
  const colon = at.lastIndexOf(":");
  const name = at.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
  const power = access === "read" ? "reads all that the containers hold and print" : "is root on this machine";
  if (tls === undefined) {
    log.warn(
      `[SECURITY] ${host} serves the API without TLS: whoever reaches it ${power}. Give --tlsverify, or listen on a unix socket.`,
    );
  } else if (tls.requestCert !== true) {
    log.warn(`[SECURITY] ${host} asks clients for no certificate: whoever reaches it ${power}.`);
  }
  const server = createServer(tls, access);
  await listen(server, { host: name === "" ? "0.0.0.0" : name, port: Number(at.slice(colon + 1)) }, host);
  return server;
}

/** Sockets that systemd opened: all of them, or the one whose descriptor is named. */
async function listenPassed(
  host: string,
  { passed, createServer, tls, access }: OneRequest,
): Promise<readonly Server[]> {
  const wanted = host.slice("fd://".length).replace(/^\*$/, "");
  const taken = wanted === "" ? passed : passed.filter((fd) => String(fd) === wanted);
  if (taken.length === 0) {
    throw new GantryError(
      "unavailable",
      `cannot listen on ${host}: no sockets were passed by systemd socket activation`,
    );
  }
  const servers: Server[] = [];
  for (const fd of taken) {
    // Who may open a unix socket is its owner's choice; any other is as open as a tcp:// of ours.
    const server = createServer(isUnixSocket(fd) ? undefined : tls, access);
    await listen(server, { fd }, `fd://${fd}`);
    servers.push(server);
  }
  return servers;
}

function listen(server: Server, options: ListenOptions & { fd?: number }, shown: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) =>
      reject(new GantryError("unavailable", `cannot listen on ${shown}: ${error.message}`)),
    );
    server.listen({ ...options, backlog: BACKLOG }, () => {
      server.removeAllListeners("error");
      resolve();
    });
  });
}

/** The id of a group by name or number; with no name, of the first that is there of `gantry` and `docker`. */
function findGroup(group: string): number | undefined {
  if (/^\d+$/.test(group)) return Number(group);
  let rows: string[];
  try {
    rows = readFileSync("/etc/group", "utf8").split("\n");
  } catch {
    return undefined;
  }
  for (const name of group === "" ? ["gantry", "docker"] : [group]) {
    const id = rows.find((row) => row.startsWith(`${name}:`))?.split(":")[2];
    if (id !== undefined) return Number(id);
  }
  return undefined;
}

export interface TlsFiles {
  readonly tls: boolean;
  readonly tlsVerify: boolean;
  readonly tlsCaCert: string;
  readonly tlsCert: string;
  readonly tlsKey: string;
}

/** Reads the files of TLS; undefined if it isn't asked for. Throws invalid if one can't be read. */
export function readTls(files: TlsFiles): TlsOptions | undefined {
  if (!files.tls && !files.tlsVerify) return undefined;
  const read = (path: string) => {
    try {
      return readFileSync(path);
    } catch (error) {
      throw new GantryError("invalid", `cannot use TLS: ${messageOf(error)}`);
    }
  };
  return {
    cert: read(files.tlsCert),
    key: read(files.tlsKey),
    ca: files.tlsCaCert === "" ? undefined : read(files.tlsCaCert),
    requestCert: files.tlsVerify,
    rejectUnauthorized: files.tlsVerify,
    minVersion: "TLSv1.2",
    ALPNProtocols: ["http/1.1"],
  };
}
