import { GantryError } from "../base/errors.ts";

/** Certificates for an engine reached over TLS; PEM texts, not paths. */
export interface TlsSettings {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** False accepts any certificate of the engine. */
  readonly verify: boolean;
}

/** Where an engine listens. `url` is what a person wrote, for messages. */
export type Endpoint =
  | { readonly kind: "unix"; readonly path: string; readonly url: string }
  | {
      readonly kind: "tcp";
      readonly host: string;
      readonly port: number;
      readonly url: string;
      readonly tls?: TlsSettings;
    };

/** Reads `unix:///path`, `tcp://host:port`, `http(s)://host:port` or `host[:port]`; throws `invalid` for anything else. */
export function parseEndpoint(text: string, tls?: TlsSettings): Endpoint {
  const url = text.trim();
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(url)?.[1]?.toLowerCase();
  const rest = scheme === undefined ? url : url.slice(scheme.length + 3);
  if (scheme === "unix") {
    if (rest === "") throw new GantryError("invalid", `unable to parse docker host \`${url}\``);
    return { kind: "unix", path: rest, url };
  }
  if (scheme !== undefined && scheme !== "tcp" && scheme !== "http" && scheme !== "https") {
    throw new GantryError("unsupported", `cannot connect to ${url}: use unix://, tcp:// or https://`);
  }
  const match = /^(\[[0-9a-fA-F:.%]+\]|[^:/[\]]*)(?::(\d+))?\/?$/.exec(rest);
  if (match === null) throw new GantryError("invalid", `unable to parse docker host \`${url}\``);
  const secure = tls ?? (scheme === "https" ? { verify: true } : undefined);
  const host = (match[1] ?? "").replace(/^\[|\]$/g, "") || "127.0.0.1";
  const port = match[2] === undefined ? (secure === undefined ? 2375 : 2376) : Number(match[2]);
  if (port < 1 || port > 65535) throw new GantryError("invalid", `invalid port in docker host \`${url}\``);
  const shown = scheme === undefined ? `tcp://${url}` : url;
  return { kind: "tcp", host, port, url: shown, ...(secure === undefined ? {} : { tls: secure }) };
}
