import { GantryError, messageOf } from "../../base/errors.ts";
import { type Endpoint, parseEndpoint } from "../../client/client.ts";
import { defaultHost, pemSettings } from "../default-host.ts";
import { ContextStore } from "./store.ts";

/** The engine that a docker context of this name points to. */
export function contextEndpoint(configFolder: string, name: string): Endpoint {
  const store = new ContextStore(configFolder);
  try {
    const meta = store.read(name).Endpoints.docker;
    const files = store.tls(name).docker ?? {};
    const read = (file: string): string | undefined => {
      const data = files[file];
      return data === undefined ? undefined : Buffer.from(data).toString();
    };
    const ca = read("ca.pem");
    const cert = read("cert.pem");
    const verify = meta?.SkipTLSVerify !== true;
    const secure = ca !== undefined || cert !== undefined;
    const tls = secure || !verify ? pemSettings(verify, ca, cert, read("key.pem")) : undefined;
    return parseEndpoint(meta?.Host || defaultHost(), tls);
  } catch (error) {
    const text = `Failed to initialize: unable to resolve docker endpoint: ${messageOf(error)}`;
    throw new GantryError("not-found", text, { cause: error });
  }
}
