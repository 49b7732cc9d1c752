import { EngineClient } from "../client/client.ts";
import type { Settings } from "./settings.ts";

/** The client of the engine that the settings choose. */
export async function engineClient(settings: Settings): Promise<EngineClient> {
  const headers = customHeaders(settings.config().HttpHeaders ?? {});
  return new EngineClient(await settings.endpoint(), {
    headers,
    ...(settings.apiVersion === undefined ? {} : { version: settings.apiVersion }),
  });
}

/** The headers that the configuration adds to each request; the client's own name stays. */
function customHeaders(headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const entries = Object.entries(headers).filter(([name]) => name.toLowerCase() !== "user-agent");
  for (const [name, value] of entries) {
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) || /[\r\n\0]/.test(value)) {
      throw new Error(`invalid header ${JSON.stringify(name)} in HttpHeaders of the configuration file`);
    }
  }
  return Object.fromEntries(entries);
}
