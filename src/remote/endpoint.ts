import { isInsecure } from "./insecure.ts";
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
  /** Asked of a mirror of several registries: which one is meant. */
  readonly namespace: string;
}

const HUB: ReadonlySet<string> = new Set(["docker.io", "index.docker.io"]);
const ITSELF = { isMirror: false, prefix: "", namespace: "" };
const HUB_HOST = "registry-1.docker.io";

/** The endpoints of a name's domain in the order to try them. `mirrors` are for reading only. */
export async function endpointsOf(
  domain: string,
  ports: RemotePorts,
  options: { readonly mirrors: boolean },
): Promise<Endpoint[]> {
  if (HUB.has(domain)) {
    const hub: Endpoint = { base: `https://${HUB_HOST}/`, host: HUB_HOST, verify: true, ...ITSELF };
    if (!options.mirrors) return [hub];
    return [...(await Promise.all(ports.settings().mirrors.map((url) => mirror(url, ports)))), hub];
  }
  const insecure = await isInsecure(domain, ports);
  const secured: Endpoint = { base: `https://${domain}/`, host: domain, verify: !insecure, ...ITSELF };
  return insecure ? [secured, { ...secured, base: `http://${domain}/` }] : [secured];
}

async function mirror(url: string, ports: RemotePorts): Promise<Endpoint> {
  const { host } = new URL(url);
  return {
    base: url.endsWith("/") ? url : `${url}/`,
    host,
    verify: !(await isInsecure(host, ports)),
    isMirror: true,
    prefix: "",
    namespace: "",
  };
}
