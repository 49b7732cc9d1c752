import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import type { AuthConfig } from "../../api/registry.ts";
import { changeConfigFile } from "../config-file.ts";
import type { Settings } from "../settings.ts";
import { keyOf, spellingsOf } from "./address.ts";
import { readAuthEntry, writeAuthEntry } from "./auth-entry.ts";
import { authVariable, environmentAuths } from "./environment.ts";
import { CredentialHelper } from "./helper.ts";

/** That there are credentials for a key; none of what is secret. */
export interface KeptCredentials {
  readonly key: string;
  /** Empty where only a token is kept, or the keeper doesn't tell. */
  readonly username: string;
  /** A file, a program, or a variable of the environment. */
  readonly place: string;
}

/**
 * What the user's `config.json` keeps to prove oneself to registries, in itself or in the keeping of credential helpers,
 * as Docker has it; what the environment gives comes before. A key (`keyOf`) gets its own credentials and no other's.
 */
export class Credentials {
  readonly #settings: Pick<Settings, "configFolder" | "config">;

  constructor(settings: Pick<Settings, "configFolder" | "config">) {
    this.#settings = settings;
  }

  /** Undefined if there are none. Throws where they are and can't be had. */
  async get(key: string): Promise<AuthConfig | undefined> {
    const given = environmentAuths().get(key);
    if (given !== undefined) return given;
    const helper = this.#helperOf(key);
    if (helper !== undefined) return helper.get(key);
    const { auths = {} } = this.#settings.config();
    const found = Object.hasOwn(auths, key) ? key : Object.keys(auths).find((name) => keyOf(name) === key);
    const auth = found === undefined ? undefined : readAuthEntry(found, auths[found]);
    return auth && { ...auth, serveraddress: key };
  }

  /** All that there are, by key. What can't be had is left out. */
  async all(): Promise<ReadonlyMap<string, AuthConfig>> {
    const { auths = {}, credHelpers = {} } = this.#settings.config();
    const keys = new Set([...Object.keys(auths), ...Object.keys(credHelpers)].map(keyOf));
    for (const key of environmentAuths().keys()) keys.add(key);
    const store = this.#storeName();
    if (store !== "") {
      const listed = await this.#listed(store, () => {});
      for (const address of listed.keys()) keys.add(keyOf(address));
    }
    const found = new Map<string, AuthConfig>();
    for (const key of keys) {
      const auth = await this.get(key).catch(() => undefined);
      if (auth !== undefined) found.set(key, auth);
    }
    return found;
  }

  /**
   * For which keys there are credentials, and where; no secret is asked for. `onFault` is called for what can't be
   * told.
   */
  async list(onFault: (fault: unknown) => void): Promise<readonly KeptCredentials[]> {
    const { auths = {}, credHelpers = {} } = this.#settings.config();
    const found = new Map<string, KeptCredentials>();
    const add = (key: string, username: string, place: string): void => {
      if (!found.has(key)) found.set(key, { key, username, place });
    };
    for (const [key, { username }] of environmentAuths()) add(key, username, authVariable() ?? "");
    for (const [address, name] of Object.entries(credHelpers)) {
      if (name === "") continue;
      const users = await this.#listed(name, onFault);
      const user = [...users].find(([one]) => keyOf(one) === keyOf(address))?.[1];
      add(keyOf(address), user ?? "", `docker-credential-${name}`);
    }
    const store = this.#storeName();
    if (store !== "") {
      for (const [address, user] of await this.#listed(store, onFault)) {
        if (this.#helperOf(keyOf(address))?.program === `docker-credential-${store}`)
          add(keyOf(address), user, `docker-credential-${store}`);
      }
    }
    for (const [address, entry] of Object.entries(auths)) {
      const key = keyOf(address);
      if (this.#helperOf(key) !== undefined) continue;
      try {
        const auth = readAuthEntry(address, entry);
        if (auth !== undefined) add(key, auth.username, join(this.#settings.configFolder, "config.json"));
      } catch (error) {
        onFault(error);
      }
    }
    return [...found.values()];
  }

  async #listed(name: string, onFault: (fault: unknown) => void): Promise<ReadonlyMap<string, string>> {
    try {
      return await new CredentialHelper(name).list();
    } catch (error) {
      onFault(error);
      return new Map();
    }
  }

  /** Keeps credentials. Resolves to true if a password lies readable in the file now that didn't before. */
  async store(key: string, auth: AuthConfig): Promise<boolean> {
    const helper = this.#helperOf(key);
    if (helper !== undefined) {
      await helper.store(key, auth);
      const detected = this.#settings.config().credsStore ? "" : this.#storeName();
      this.#change((record, auths) => {
        if (auths[key] !== undefined && Object.keys(auths[key] as object).length === 0 && detected === "") return false;
        record.auths = { ...auths, [key]: {} };
        if (detected !== "") record.credsStore = detected;
        return true;
      });
      return false;
    }
    let isNew = true;
    this.#change((record, auths) => {
      const entry = writeAuthEntry(auth, auths[key]);
      isNew = JSON.stringify(entry) !== JSON.stringify(auths[key]);
      if (isNew) record.auths = { ...auths, [key]: entry };
      return isNew;
    });
    return isNew && auth.password !== "";
  }

  /** Forgets a key's credentials. What was not there is no failure; the first that could not be removed is. */
  async erase(key: string): Promise<void> {
    const helper = this.#helperOf(key);
    if (helper !== undefined) for (const spelling of spellingsOf(key)) await helper.erase(spelling);
    this.#change((record, auths) => {
      const kept = Object.entries(auths).filter(([name]) => keyOf(name) !== key);
      record.auths = Object.fromEntries(kept);
      return kept.length < Object.keys(auths).length;
    });
  }

  #change(change: (record: Record<string, unknown>, auths: Readonly<Record<string, unknown>>) => boolean): void {
    changeConfigFile(
      this.#settings.configFolder,
      (record) => change(record, (record.auths ?? {}) as Readonly<Record<string, unknown>>),
      { isSecret: true },
    );
  }

  #helperOf(key: string): CredentialHelper | undefined {
    const { credHelpers = {} } = this.#settings.config();
    const named = Object.hasOwn(credHelpers, key) ? key : Object.keys(credHelpers).find((name) => keyOf(name) === key);
    const name = named === undefined ? this.#storeName() : (credHelpers[named] ?? "");
    return name === "" ? undefined : new CredentialHelper(name);
  }

  /** The store that is configured; where nothing is, the platform's own if it is installed. */
  #storeName(): string {
    const { auths = {}, credsStore = "", credHelpers = {} } = this.#settings.config();
    if (credsStore !== "" || Object.keys(auths).length > 0 || Object.keys(credHelpers).length > 0) return credsStore;
    const own = process.platform === "darwin" ? "osxkeychain" : isOnPath("pass") ? "pass" : "secretservice";
    return isOnPath(`docker-credential-${own}`) ? own : "";
  }
}

/** Whether a program can be called by its name alone. */
export function isOnPath(program: string): boolean {
  const folders = (process.env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
