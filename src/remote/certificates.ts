import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { SecureContext } from "node:tls";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";

/** Where distributions keep the authorities that the machine trusts; Go's clients look in the same order. */
const SYSTEM_BUNDLES: readonly string[] = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/pki/tls/cacert.pem",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

interface Pem {
  readonly authorities: readonly string[];
  readonly client: { readonly cert: string; readonly key: string } | undefined;
}

/**
 * The TLS context of a registry: the machine's authorities and what `<folder>/<host>/` adds, `*.crt` for authorities,
 * `x.cert` with `x.key` for a client. Read anew each time, as an administrator may have changed it; the costly context
 * is made again only if the files changed.
 */
export class Certificates {
  readonly #made = new Map<string, { readonly pem: string; readonly context: SecureContext }>();
  #system: Promise<string | undefined> | undefined;

  async contextOf(host: string, folders: readonly string[]): Promise<SecureContext> {
    const found = await readFolders(host, folders);
    const pem = JSON.stringify(found);
    // All registries that add nothing share one.
    const key = found.authorities.length === 0 && found.client === undefined ? "" : host;
    this.#system ??= systemBundle();
    const system = await this.#system;
    // Nothing is waited for between this look and the making: many who come at once share one, too.
    const made = this.#made.get(key);
    if (made?.pem === pem) return made.context;
    const context = secureContext(host, found, system);
    if (this.#made.size >= 64) this.#made.clear();
    this.#made.set(key, { pem, context });
    return context;
  }
}

function secureContext(host: string, { authorities, client }: Pem, system: string | undefined): SecureContext {
  try {
    if (authorities.length === 0 && system === undefined)
      return process.getBuiltinModule("node:tls").createSecureContext({ ...client });
    return process
      .getBuiltinModule("node:tls")
      .createSecureContext({ ca: [...(system === undefined ? [] : [system]), ...authorities], ...client });
  } catch (error) {
    throw new GantryError("invalid", `cannot use the certificates of ${host}: ${messageOf(error)}`, { cause: error });
  }
}

async function readFolders(host: string, folders: readonly string[]): Promise<Pem> {
  // A host never has these, but it is a client that names it.
  if (host.includes("/") || host.startsWith(".") || host.includes("\0")) return { authorities: [], client: undefined };
  for (const folder of folders) {
    const found = await readFolder(join(folder, host));
    if (found !== undefined) return found;
  }
  return { authorities: [], client: undefined };
}

async function readFolder(folder: string): Promise<Pem | undefined> {
  let names: string[];
  try {
    names = (await readdir(folder)).sort();
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return undefined;
    throw new GantryError("unavailable", `cannot read the certificates in ${folder}: ${messageOf(error)}`);
  }
  const read = (name: string) => readFile(join(folder, name), "utf8");
  const authorities = await Promise.all(names.filter((name) => name.endsWith(".crt")).map(read));
  const cert = names.find((name) => name.endsWith(".cert"));
  for (const key of names.filter((name) => name.endsWith(".key"))) {
    const wanted = `${key.slice(0, -".key".length)}.cert`;
    if (!names.includes(wanted)) throw missing(`missing client certificate ${wanted} for key ${key}`);
  }
  if (cert === undefined) return { authorities, client: undefined };
  const key = `${cert.slice(0, -".cert".length)}.key`;
  if (!names.includes(key)) {
    throw missing(`missing key ${key} for client certificate ${cert}. CA certificates must use the extension .crt`);
  }
  return { authorities, client: { cert: await read(cert), key: await read(key) } };
}

function missing(message: string): GantryError {
  return new GantryError("invalid", message);
}

async function systemBundle(): Promise<string | undefined> {
  for (const path of [process.env.SSL_CERT_FILE ?? "", ...SYSTEM_BUNDLES]) {
    try {
      if (path !== "") return await readFile(path, "utf8");
    } catch {
      // The next place of another distribution; without any Node's own authorities hold.
    }
  }
  return undefined;
}
