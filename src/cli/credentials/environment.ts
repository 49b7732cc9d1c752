import type { AuthConfig } from "../../api/registry.ts";
import { messageOf } from "../../base/errors.ts";
import { printable } from "../error-line.ts";
import { goJsonError } from "../go-json-error.ts";
import { complain } from "../output/print.ts";
import { keyOf } from "./address.ts";
import { readAuthEntry } from "./auth-entry.ts";

const NAMES = ["GANTRY_AUTH_CONFIG", "DOCKER_AUTH_CONFIG"] as const;

/** What was read of the environment last, which is told of once. */
let known: { readonly text: string; readonly auths: ReadonlyMap<string, AuthConfig> } | undefined;

/** The variable that credentials are given by, as machines do that have no file of their own; undefined if none is. */
export function authVariable(): (typeof NAMES)[number] | undefined {
  return NAMES.find((name) => (process.env[name] ?? "") !== "");
}

/**
 * Credentials by key of what the environment gives: `{"auths": {"registry:5000": {"auth": …}}}`, as in `config.json`.
 * What can't be read is warned of in Docker's words, without its content, and is left out.
 */
export function environmentAuths(): ReadonlyMap<string, AuthConfig> {
  const name = authVariable();
  const text = name === undefined ? "" : (process.env[name] ?? "");
  if (known?.text === text) return known.auths;
  const auths = new Map<string, AuthConfig>();
  const warn = (why: string): void => complain(`Failed to create credential store from ${name}:  ${printable(why)}`);
  try {
    for (const [address, entry] of Object.entries(name === undefined ? {} : authsOf(text, name))) {
      const key = keyOf(address);
      try {
        const auth = readAuthEntry(address, entry);
        if (auth === undefined) warn(`${name} environment variable is missing key \`auth\` for ${address}`);
        else auths.set(key, { ...auth, serveraddress: key });
      } catch (error) {
        warn(messageOf(error));
      }
    }
  } catch (error) {
    warn(messageOf(error));
  }
  known = { text, auths };
  return auths;
}

function authsOf(text: string, name: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error(goJsonError(text) ?? `${name} does not support more than one JSON object`);
  }
  if (value === null) return {};
  if (!isObject(value)) throw new Error("it is no JSON object");
  const { auths = {} } = value;
  if (auths === null) return {};
  if (!isObject(auths) || !Object.values(auths).every((entry) => isObject(entry))) {
    throw new Error("its auths are no object of objects");
  }
  return auths;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
