/** What Docker Hub's credentials are kept under. */
export const HUB_KEY = "https://index.docker.io/v1/";

const HUB_HOSTS: ReadonlySet<string> = new Set(["docker.io", "index.docker.io", "registry-1.docker.io"]);

/** `host[:port]` of a registry's address as people and programs write it: `https://host:5000/v1/`, `host:5000`. */
export function hostOf(address: string): string {
  return address
    .replace(/^[a-zA-Z][a-zA-Z0-9+.-]*:\/\//, "")
    .replace(/[/?#].*$/s, "")
    .replace(/^.*@/s, "");
}

/** What a registry's credentials are kept under: its host with the port, but for Docker Hub. */
export function keyOf(address: string): string {
  const host = hostOf(address);
  return HUB_HOSTS.has(host) ? HUB_KEY : host;
}

/** What programs before this one may have kept a key's credentials under, the key itself first. */
export function spellingsOf(key: string): readonly string[] {
  return key === HUB_KEY ? [key] : [key, `http://${key}`, `https://${key}`];
}
