import type { ConnectionOptions } from "node:tls";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import { bunSockets, connectUnix } from "./bun-socket.ts";
import type { Connection } from "./connection.ts";
import type { Endpoint } from "./endpoint.ts";
import { tlsFailure } from "./tls-failure.ts";

/**
 * A connection to an engine, open. Half-closable: the end of what a container prints must not end what is still being
 * sent to it, nor the reverse. Throws `unavailable` when nobody answers.
 */
export async function dial(endpoint: Endpoint): Promise<Connection> {
  if (endpoint.kind === "ssh") {
    // Loaded only for such an engine: starting processes needs a module that costs every start milliseconds.
    const { dialSsh } = await import("./ssh.ts");
    return dialSsh(endpoint);
  }
  const sockets = bunSockets();
  if (endpoint.kind === "unix" && sockets !== undefined) {
    try {
      return await connectUnix(sockets, endpoint.path);
    } catch (error) {
      throw explain(endpoint, error as Error);
    }
  }
  const { connect: connectPlain } = await import("node:net");
  const socket =
    endpoint.kind === "unix"
      ? connectPlain({ path: endpoint.path, allowHalfOpen: true })
      : endpoint.tls === undefined
        ? connectPlain({ host: endpoint.host, port: endpoint.port, allowHalfOpen: true })
        : await dialTls(endpoint, endpoint.tls);
  const ready: string = endpoint.kind === "tcp" && endpoint.tls !== undefined ? "secureConnect" : "connect";
  await new Promise<void>((resolve, reject) => {
    const onError = (error: Error): void => reject(explain(endpoint, error));
    socket.once("error", onError);
    socket.once(ready, () => {
      socket.off("error", onError);
      resolve();
    });
  });
  if (endpoint.kind === "tcp") socket.setNoDelay(true);
  return socket;
}

async function dialTls(
  endpoint: Endpoint & { kind: "tcp" },
  settings: NonNullable<(Endpoint & { kind: "tcp" })["tls"]>,
): Promise<import("node:tls").TLSSocket> {
  const tls = await import("node:tls");
  const { isIP } = await import("node:net");
  const options: ConnectionOptions & { readonly allowHalfOpen: boolean } = {
    host: endpoint.host,
    port: endpoint.port,
    allowHalfOpen: true,
    rejectUnauthorized: settings.verify,
    ...(isIP(endpoint.host) === 0 ? { servername: endpoint.host } : {}),
    ...(settings.ca === undefined ? {} : { ca: settings.ca }),
    ...(settings.cert === undefined ? {} : { cert: settings.cert }),
    ...(settings.key === undefined ? {} : { key: settings.key }),
  };
  try {
    return tls.connect(options);
  } catch (error) {
    // Certificates and keys are read before anything is sent.
    throw explain(endpoint, error as Error);
  }
}

/** What a person is told about a connection that failed. */
export function explain(endpoint: Endpoint, error: Error): GantryError {
  if (error instanceof GantryError) return error;
  if (hasCode(error, "EACCES", "EPERM")) {
    const text = `permission denied while trying to connect to the Gantry daemon socket at ${endpoint.url}`;
    return new GantryError("unavailable", text, { cause: error });
  }
  if (hasCode(error, "ENOENT", "ECONNREFUSED", "ENOTSOCK", "FailedToOpenSocket")) {
    const text = `Cannot connect to the Gantry daemon at ${endpoint.url}. Is the gantry daemon running?`;
    return new GantryError("unavailable", text, { cause: error });
  }
  const why = hasCode(error, "ENOTFOUND", "EAI_AGAIN")
    ? `lookup ${endpoint.kind === "tcp" ? endpoint.host : endpoint.url}: no such host`
    : tlsFailure(messageOf(error));
  return new GantryError("unavailable", `error during connect: ${endpoint.url}: ${why}`, { cause: error });
}
