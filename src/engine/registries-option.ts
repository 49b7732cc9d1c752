import { maskProxy } from "../remote/proxy.ts";
import type { RegistryRule } from "../remote/registry-rules.ts";
import { asObject, asPair, asText, type Option } from "./option.ts";

const KEYS = ["mirrors", "insecure", "onlyMirrors"];

/** A mirror's URL, with a slash at its end. */
export function mirrorUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const shown = maskProxy(text);
  const either = "must use either 'https://' or 'http://'";
  if (!text.includes("://")) throw new Error(`invalid mirror: no scheme specified for "${shown}": ${either}`);
  if (url === undefined) throw new Error(`invalid mirror: "${shown}" is not a valid URI`);
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    const scheme = url.protocol.slice(0, -1);
    throw new Error(`invalid mirror: unsupported scheme "${scheme}" in "${shown}": ${either}`);
  }
  if (/[?#]/.test(text)) throw new Error(`invalid mirror: query or fragment at end of the URI "${shown}"`);
  if (url.username !== "" || url.password !== "") {
    throw new Error(`invalid mirror: username/password not allowed in URI "${shown}"`);
  }
  return text.endsWith("/") ? text : `${text}/`;
}

/** Rules by registry: an object in the file; as a flag `name=mirror`, which may be given more than once for a name. */
export function registriesOption(help: string): Option<Readonly<Record<string, RegistryRule>>> {
  return {
    flag: "registry",
    key: "registries",
    help,
    initial: {},
    isSwitch: false,
    fromFlag: (given) => {
      const rules: Record<string, RegistryRule> = {};
      for (const text of given) {
        const [name, url] = asPair(text);
        const key = registryKey(name);
        const mirrors = [...(rules[key]?.mirrors ?? []), mirrorUrl(url)];
        rules[key] = { mirrors, insecure: false, onlyMirrors: false };
      }
      return rules;
    },
    fromFile: (given) =>
      Object.fromEntries(Object.entries(asObject(given)).map(([name, item]) => [registryKey(name), rule(name, item)])),
  };
}

function rule(name: string, item: unknown): RegistryRule {
  const fields = asObject(item);
  const unknown = Object.keys(fields).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) throw new Error(`${name} has an unknown key "${unknown}": there are ${KEYS.join(", ")}`);
  const { mirrors = [], insecure = false, onlyMirrors = false } = fields;
  if (!Array.isArray(mirrors)) throw new Error(`the mirrors of ${name} are no list`);
  if (typeof insecure !== "boolean") throw new Error(`"insecure" of ${name} is neither true nor false`);
  if (typeof onlyMirrors !== "boolean") throw new Error(`"onlyMirrors" of ${name} is neither true nor false`);
  if (onlyMirrors && mirrors.length === 0) throw new Error(`${name} has onlyMirrors, but no mirrors`);
  if (insecure && name === "*") throw new Error('"insecure" needs the name of a registry: "*" would give up all TLS');
  return { mirrors: mirrors.map((url) => mirrorUrl(asText(url))), insecure, onlyMirrors };
}

/** A registry, one with the beginning of a path, or `*`. */
function registryKey(name: string): string {
  const [domain = "", ...path] = name.split("/");
  const isDomain = name === "*" || isRegistryHost(domain);
  if (!isDomain || !path.every((part) => /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/.test(part))) {
    throw new Error(`"${name}" names no registry: give a host, a host with the beginning of a path, or *`);
  }
  return domain === "index.docker.io" ? ["docker.io", ...path].join("/") : name;
}

/** A host as it stands before a name's first slash. */
export function isRegistryHost(text: string): boolean {
  const isHost = /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[a-fA-F0-9:]+\])(?::\d{1,5})?$/.test(text);
  return isHost && (/[.:]/.test(text) || text === "localhost");
}
