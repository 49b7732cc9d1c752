import { isIP } from "node:net";
import { maskProxy } from "../remote/proxy.ts";

const HOST = /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9._-]*[a-zA-Z0-9])?|\[[a-fA-F0-9:.]+\])(?::(\d{1,5}))?$/;

/**
 * A registry or a range of addresses in a list such as `insecure-registries`, as Docker takes it: `http://` before it is
 * left out. Throws for what would never be one.
 */
export function registryOrRange(what: string): (text: string) => string {
  return (text) => {
    const name = text.replace(/^https?:\/\//i, "").replace(/\/$/, "");
    if (name.includes("://")) throw new Error(`${what} ${maskProxy(text)} should not contain '://'`);
    if (name.includes("/")) {
      if (!isRange(name)) throw invalid(what, text, "it is no host and no range of addresses");
      return name;
    }
    const [whole, port = "0"] = HOST.exec(name) ?? [];
    if (whole === undefined && isIP(name) === 0) throw invalid(what, text, "it is no host[:port]");
    if (Number(port) > 65_535) throw invalid(what, text, `invalid port ${port}`);
    return name;
  };
}

function isRange(text: string): boolean {
  const [, address = "", bits = ""] = /^([^/]*)\/(\d{1,3})$/.exec(text) ?? [];
  return isIP(address) !== 0 && Number(bits) <= (isIP(address) === 6 ? 128 : 32);
}

function invalid(what: string, text: string, why: string): Error {
  return new Error(`${what} ${maskProxy(text)} is not valid: ${why}`);
}

/** A proxy's URL, with `http://` or without; empty for none. */
export function proxyUrl(text: string): string {
  const full = text.includes("://") ? text : `http://${text}`;
  if (text === "" || (URL.canParse(full) && /^https?:$/.test(new URL(full).protocol))) return text;
  throw new Error(`${maskProxy(text)} is no http:// or https:// URL`);
}
