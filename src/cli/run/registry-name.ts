import type { EngineClient } from "../../client/client.ts";
import { parseNormalized, type Reference } from "../../oci/reference.ts";

const DOCKER_HUB = "docker.io";

/** The registry that the engine means where a name says none. */
export async function defaultRegistry(client: EngineClient): Promise<string> {
  return (await client.ping())["default-registry"] || DOCKER_HUB;
}

/** True for a name that says which registry it is of. */
export function saysRegistry(name: string): boolean {
  const slash = name.indexOf("/");
  const first = name.slice(0, Math.max(slash, 0));
  return /[.:]/.test(first) || first === "localhost" || first.toLowerCase() !== first;
}

/** A name as the engine understands it. Throws Docker's texts for what is no name, before the engine is asked. */
export async function registryReference(client: EngineClient, text: string): Promise<Reference> {
  const reference = parseNormalized(text);
  if (saysRegistry(text)) return reference;
  const registry = await defaultRegistry(client);
  return registry === DOCKER_HUB ? reference : parseNormalized(`${registry}/${text}`);
}
