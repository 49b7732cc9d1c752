import { isInsecure } from "./insecure.ts";
import { type RegistryRule, ruleOf } from "./registry-rules.ts";
import type { RemotePorts } from "./settings.ts";

/** One address at which a registry may be reached. */
export interface Endpoint {
  /** `https://host[:port]/` and a mirror's path, with a slash at its end. */
  readonly base: string;
  /** `host[:port]`: the folder of its certificates. */
  readonly host: string;
  /** False accepts any certificate. */
  readonly verify: boolean;
  readonly isMirror: boolean;
  /** What a mirror puts before each repository's path, with a slash at its end; else empty. */
  readonly prefix: string;
  /** Told to a mirror that may serve several registries: which one is meant. Else empty. */
  readonly namespace: string;
}

/** `host[:port]` as URLs have it: in lower case, without the scheme's own port. */
export function hostOf({ base }: Endpoint): string {
  return new URL(base).host;
}

const HUB: ReadonlySet<string> = new Set(["docker.io", "index.docker.io"]);
const HUB_HOST = "registry-1.docker.io";
const ITSELF = { isMirror: false, prefix: "", namespace: "" };

/**
 * The endpoints of a repository, or with an empty path of its registry, in the order to try them. `mirrors` are for
 * reading only.
 */
export async function endpointsOf(
  { domain, path }: { readonly domain: string; readonly path: string },
  ports: RemotePorts,
  options: { readonly mirrors: boolean; readonly insecure?: boolean | undefined },
): Promise<Endpoint[]> {
  const { registries, mirrors } = ports.settings();
  const isHub = HUB.has(domain);
  const rule = ruleOf(registries, isHub ? "docker.io" : domain, path);
  const itself = isHub ? [hub] : await registryOf(domain, rule, ports, options.insecure);
  if (!options.mirrors) return itself;
  const ruled = (rule?.mirrors ?? []).map((url) => mirror(url, isHub ? "docker.io" : domain, ports));
  const hubs = isHub ? mirrors.map((url) => mirror(url, "", ports)) : [];
  const found = await Promise.all([...ruled, ...hubs]);
  return rule?.onlyMirrors === true && found.length > 0 ? found : [...found, ...itself];
}

const hub: Endpoint = { base: `https://${HUB_HOST}/`, host: HUB_HOST, verify: true, ...ITSELF };

async function registryOf(
  domain: string,
  rule: RegistryRule | undefined,
  ports: RemotePorts,
  isAllowed = false,
): Promise<Endpoint[]> {
  const insecure = isAllowed || rule?.insecure === true || (await isInsecure(domain, ports));
  const secured: Endpoint = { base: `https://${domain}/`, host: domain, verify: !insecure, ...ITSELF };
  return insecure ? [secured, { ...secured, base: `http://${domain}/` }] : [secured];
}

/** In a mirror's path what follows `v2` stands before each repository's; without it the API lies below the path. */
async function mirror(text: string, namespace: string, ports: RemotePorts): Promise<Endpoint> {
  const url = new URL(text);
  const parts = url.pathname.split("/").filter(Boolean);
  const api = parts.indexOf("v2");
  const above = api < 0 ? parts : parts.slice(0, api);
  const below = api < 0 ? [] : parts.slice(api + 1);
  return {
    base: `${url.origin}/${above.map((part) => `${part}/`).join("")}`,
    host: url.host,
    verify: !(await isInsecure(url.host, ports)),
    isMirror: true,
    prefix: below.map((part) => `${part}/`).join(""),
    namespace,
  };
}
