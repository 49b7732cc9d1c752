import type { AuthConfig } from "../../api/registry.ts";

/** A row of `auths` in `config.json`; fields that others wrote are kept. */
type AuthEntry = Readonly<Record<string, unknown>>;

/**
 * What a row of `auths` says; undefined for one that holds no secret, as beside a credential helper. Throws Docker's
 * words for one that can't be read, without its content.
 */
export function readAuthEntry(key: string, value: unknown): AuthConfig | undefined {
  const entry = (value ?? {}) as AuthEntry;
  const text = (name: string): string => {
    const field = entry[name] ?? "";
    if (typeof field !== "string") throw new Error(`the ${name} of ${key} is no text`);
    return field;
  };
  const auth = text("auth");
  const [username, password] = auth === "" ? [text("username"), text("password")] : decodeAuth(key, auth);
  const identitytoken = text("identitytoken");
  const registrytoken = text("registrytoken");
  if (username === "" && password === "" && identitytoken === "" && registrytoken === "") return undefined;
  return { username, password, serveraddress: key, identitytoken, registrytoken };
}

/** The row for these credentials, in the place of `old`. */
export function writeAuthEntry(auth: AuthConfig, old: unknown): AuthEntry {
  const {
    username: _u,
    password: _p,
    auth: _a,
    identitytoken: _i,
    registrytoken: _r,
    ...rest
  } = (old ?? {}) as AuthEntry;
  const { username, password, identitytoken, registrytoken } = auth;
  return {
    ...rest,
    ...((username !== "" || password !== "") && { auth: Buffer.from(`${username}:${password}`).toString("base64") }),
    ...(identitytoken !== "" && { identitytoken }),
    ...(registrytoken !== "" && { registrytoken }),
  };
}

/** `name:password` in base64. */
function decodeAuth(key: string, auth: string): readonly [string, string] {
  if (!/^[A-Za-z0-9+/\r\n]*={0,2}[\r\n]*$/.test(auth)) throw new Error(`the auth of ${key} is not base64`);
  const decoded = Buffer.from(auth, "base64").toString("utf8");
  const colon = decoded.indexOf(":");
  if (colon < 1) throw new Error(`invalid auth configuration file: the auth of ${key} is not name:password`);
  return [decoded.slice(0, colon), decoded.slice(colon + 1).replace(/\0+$/, "")];
}
