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
    }
  | {
      /** An engine of another host, reached by the OpenSSH client. `user` and `path` are "" where none is named. */
      readonly kind: "ssh";
      readonly user: string;
      readonly host: string;
      readonly port: number | undefined;
      readonly path: string;
      readonly url: string;
    };

/**
 * Reads `unix:///path`, `tcp://host:port`, `http(s)://host:port`, `ssh://[user@]host[:port][/path]` or `host[:port]`;
 * throws `invalid` for anything else.
 */
export function parseEndpoint(text: string, tls?: TlsSettings): Endpoint {
  const url = text.trim();
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(url)?.[1]?.toLowerCase();
  const rest = scheme === undefined ? url : url.slice(scheme.length + 3);
  if (scheme === "unix") {
    if (rest === "") throw new GantryError("invalid", `unable to parse docker host \`${url}\``);
    return { kind: "unix", path: rest, url };
  }
  if (scheme === "ssh") return parseSsh(url, rest);
  if (scheme !== undefined && scheme !== "tcp" && scheme !== "http" && scheme !== "https") {
    throw new GantryError("unsupported", `cannot connect to ${url}: use unix://, tcp://, https:// or ssh://`);
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

function parseSsh(url: string, rest: string): Endpoint {
  const bad = (why: string): GantryError => new GantryError("invalid", `ssh host connection is not valid: ${why}`);
  const match = /^(?:([^@/]*)@)?(\[[^\]]+\]|[^:/?#[\]@]*)(?::(\d+))?(\/[^?#]*)?([?#].*)?$/.exec(rest);
  if (match === null) throw bad(`cannot parse ${url}`);
  const [, user = "", host = "", port, path = "", query] = match;
  if (user.includes(":")) throw bad("plain-text password is not supported");
  if (host === "") throw bad("no host specified");
  if (query !== undefined)
    throw bad(`extra ${query[0] === "?" ? "query" : "fragment"} after the host: ${query.slice(1)}`);
  if (port !== undefined && (Number(port) < 1 || Number(port) > 65535)) throw bad(`port ${port} is none`);
  const decoded = (text: string): string => {
    try {
      return decodeURIComponent(text);
    } catch {
      throw bad(`cannot parse ${url}`);
    }
  };
  return {
    kind: "ssh",
    user: decoded(user),
    host: host.replace(/^\[|\]$/g, ""),
    port: port === undefined ? undefined : Number(port),
    path: path === "/" ? "" : decoded(path),
    url,
  };
}
