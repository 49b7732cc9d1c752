import type { AuthConfig } from "../../api/registry.ts";
import { messageOf } from "../../base/errors.ts";
import type { Call } from "../command.ts";
import { printable } from "../error-line.ts";
import { complain } from "../output/print.ts";
import { keyOf } from "./address.ts";
import { Credentials } from "./credentials.ts";

type Headers = Readonly<Record<string, string>>;

/** `X-Registry-Auth` with what is kept for a registry's host; no header where there is nothing. */
export async function registryAuth(call: Pick<Call, "settings">, domain: string): Promise<Headers> {
  const auth = await credentialsOf(call, domain);
  return auth === undefined ? {} : { "X-Registry-Auth": encoded(auth) };
}

/** `X-Registry-Config` for requests that concern several registries: each host's own credentials by its name. */
export async function registryConfig(call: Pick<Call, "settings">, domains: readonly string[]): Promise<Headers> {
  const rows: [string, AuthConfig][] = [];
  for (const domain of new Set(domains)) {
    const auth = await credentialsOf(call, domain);
    if (auth !== undefined) rows.push([domain, auth]);
  }
  return rows.length === 0 ? {} : { "X-Registry-Config": encoded(Object.fromEntries(rows)) };
}

/** As the API takes credentials in a header: the URL's alphabet, and padded, as dockerd insists. */
export function encoded(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64").replaceAll("+", "-").replaceAll("/", "_");
}

/** What can't be had is warned of: the registry may let anybody in. */
async function credentialsOf({ settings }: Pick<Call, "settings">, domain: string): Promise<AuthConfig | undefined> {
  try {
    return await new Credentials(settings).get(keyOf(domain));
  } catch (error) {
    complain(`WARNING: going on without credentials for ${domain}: ${printable(messageOf(error))}`);
    return undefined;
  }
}
