import { type BlockList, isIP, isIPv6 } from "node:net";
import { GantryError } from "../base/errors.ts";
import { blockListOf } from "./insecure.ts";
import type { ProxySettings } from "./settings.ts";

/**
 * The proxy that a URL is reached through, by the rules of Go's clients: that of its scheme, unless its host is on
 * loopback or one of the exceptions (`*`, a host, a domain with those below it, an address, a range, each with a port
 * or without). Throws `invalid` for a proxy that isn't an http or https URL.
 */
export function proxyOf(url: URL, proxies: ProxySettings): URL | undefined {
  const text = url.protocol === "https:" ? proxies.https : proxies.http;
  if (text === "" || isDirect(url, proxies.exceptions)) return undefined;
  const full = text.includes("://") ? text : `http://${text}`;
  const proxy = URL.canParse(full) ? new URL(full) : undefined;
  if (proxy === undefined || !/^https?:$/.test(proxy.protocol)) {
    throw new GantryError("invalid", `cannot use the proxy ${maskProxy(text)}: it must be an http:// or https:// URL`);
  }
  return proxy;
}

/** A proxy's URL without who uses it, as Docker shows it. */
export function maskProxy(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/)?[^/@]*@/i, "$1xxxxx:xxxxx@");
}

function isDirect(url: URL, exceptions: string): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, "").toLowerCase();
  const port = url.port === "" ? (url.protocol === "https:" ? "443" : "80") : url.port;
  const family = isIPv6(host) ? "ipv6" : "ipv4";
  const isAddress = isIP(host) !== 0;
  if (host === "localhost" || (isAddress && loopback.check(host, family))) return true;
  return exceptions.split(",").some((word) => {
    const exception = word.trim().toLowerCase();
    if (exception === "*") return true;
    if (/\/\d+$/.test(exception)) return isAddress && blockListOf([exception]).check(host, family);
    const [, name = "", only] = /^(\[[^\]]*\]|[^:]*|[0-9a-f:]*::?[0-9a-f:]*)(?::(\d+))?$/.exec(exception) ?? [];
    if (name === "" || (only !== undefined && only !== port)) return false;
    return matches(host, name.replace(/^\[|\]$/g, ""), isAddress);
  });
}

/** `example.com` and `*.example.com`, `.example.com`: the latter two leave out the domain itself. */
function matches(host: string, name: string, isAddress: boolean): boolean {
  const below = name.replace(/^\*(?=\.)/, "");
  if (below.startsWith(".")) return !isAddress && host.endsWith(below);
  return host === name || (!isAddress && host.endsWith(`.${name}`));
}

const loopback: BlockList = blockListOf(["127.0.0.0/8", "::1/128"]);
