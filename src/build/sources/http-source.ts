import { createHash, randomBytes } from "node:crypto";
import {
  chmodSync,
  chownSync,
  constants,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
} from "node:fs";
import { copyFile, open, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { throwIfAborted } from "../../base/abort.ts";
import { writeFileAtomic } from "../../base/atomic-file.ts";
import { errnoWords } from "../../base/errno-words.ts";
import { GantryError, messageOf } from "../../base/errors.ts";
import { KeyedLock } from "../../base/keyed-lock.ts";
import { sha256Of } from "../../oci/digest.ts";
import { validateDigest } from "../../oci/digest-format.ts";
import type { CacheUsage } from "../builder.ts";
import type { DenyRanges } from "../deny-ranges.ts";
import type { HttpOperation } from "../graph.ts";
import type { ResolvedSource } from "../operator.ts";
import type { CacheHolder } from "../parts.ts";
import type { Root } from "../root.ts";
import type { Roots } from "../roots.ts";
import { type Fetched, failure, fetchUrl, shownUrl } from "./fetch.ts";
import type { SourceSettings } from "./settings.ts";

const DEFAULT_MODE = 0o600;
const MOST_BYTES = 16 * 2 ** 30;
const ALGORITHMS = ["sha256", "sha384", "sha512"];

/** What was fetched of a URL. */
interface Meta {
  readonly url: string;
  readonly etag?: string;
  readonly lastModified?: string;
  /** `sha256:…` of the bytes. */
  readonly digest: string;
  readonly size: number;
  /** As the server names it. */
  readonly filename?: string;
  readonly createdAt: number;
  lastUsedAt: number;
  usageCount: number;
}

export interface HttpPorts {
  /** A folder of its own. */
  readonly root: string;
  readonly roots: Pick<Roots, "folder">;
  readonly settings: () => Pick<SourceSettings, "proxies" | "silence" | "userAgent">;
  /** Bytes of one file. */
  readonly mostBytes?: number;
}

export interface HttpOptions {
  readonly deny: DenyRanges;
  readonly signal: AbortSignal;
  /** Bytes that have come, and how many there will be: 0 if the server doesn't say. */
  readonly onBytes?: (current: number, total: number) => void;
}

/**
 * Files by URL, kept between builds and asked for again: a server that says that nothing changed sends nothing. A folder
 * for each URL has the bytes, `meta.json`, written last, and a folder for each way in which the file was wanted.
 */
export class HttpSource implements CacheHolder {
  readonly #ports: HttpPorts;
  readonly #lock = new KeyedLock();
  readonly #held = new Map<string, number>();

  constructor(ports: HttpPorts) {
    this.#ports = ports;
  }

  async recover(): Promise<void> {
    const { root } = this.#ports;
    mkdirSync(root, { recursive: true, mode: 0o700 });
    for (const id of readdirSync(root)) {
      const meta = this.#read(id);
      if (meta === undefined) await rm(join(root, id), { recursive: true, force: true });
      else {
        const kept = new Set(["meta.json", bodyOf(meta.digest)]);
        for (const name of readdirSync(join(root, id)))
          if (!kept.has(name)) await rm(join(root, id, name), { recursive: true, force: true });
      }
    }
  }

  /** With a checksum the network is not asked before the file is needed. */
  async resolve(operation: HttpOperation, options: HttpOptions): Promise<ResolvedSource> {
    const { checksum, url } = operation;
    if (checksum !== undefined) {
      validateDigest(checksum, ALGORITHMS);
      const known = nameOf(operation, undefined);
      return {
        key: keyOf(operation, checksum, known, ""),
        digest: checksum,
        root: async () => this.#root(operation, await this.#fetch(operation, options)),
      };
    }
    const meta = await this.#fetch(operation, options);
    const name = nameOf({ ...operation, url }, meta.filename);
    return {
      key: keyOf(operation, meta.digest, name, meta.lastModified ?? ""),
      digest: meta.digest,
      root: () => this.#root(operation, meta),
    };
  }

  async usage(): Promise<readonly CacheUsage[]> {
    return readdirSync(this.#ports.root).flatMap((id) => {
      const meta = this.#read(id);
      if (meta === undefined) return [];
      const { createdAt, lastUsedAt, size, url, usageCount } = meta;
      const row: CacheUsage = {
        ...{ id, parents: [], type: "regular", description: `http url ${shownUrl(url)}` },
        ...{
          inUse: this.#held.has(id) || this.#lock.isHeld(id),
          shared: false,
          size,
          createdAt,
          lastUsedAt,
          usageCount,
        },
      };
      return [row];
    });
  }

  async remove(id: string): Promise<number | undefined> {
    if (!/^[0-9a-f]{32}$/.test(id)) return undefined;
    return this.#lock.run(id, async () => {
      const meta = this.#read(id);
      if (meta === undefined || this.#held.has(id)) return undefined;
      rmSync(join(this.#ports.root, id, "meta.json"));
      await rm(join(this.#ports.root, id), { recursive: true, force: true });
      return meta.size;
    });
  }

  async #fetch(operation: HttpOperation, options: HttpOptions): Promise<Meta> {
    const id = idOf(operation.url);
    return this.#lock.run(id, async () => {
      const known = this.#read(id);
      const meta = await this.#current(operation, known, options);
      const used = { ...meta, lastUsedAt: Date.now(), usageCount: meta.usageCount + 1 };
      writeFileAtomic(join(this.#ports.root, id, "meta.json"), JSON.stringify(used), { durable: false });
      if (known !== undefined && known.digest !== meta.digest) await this.#forget(id, [known.digest, meta.digest]);
      return used;
    });
  }

  /** Removes what is no more the URL's; a build that asked before may be about to take the last one. */
  async #forget(id: string, digests: readonly string[]): Promise<void> {
    const kept = new Set(digests.map(bodyOf));
    for (const name of readdirSync(join(this.#ports.root, id))) {
      if (name.startsWith("body-") && !kept.has(name)) await rm(join(this.#ports.root, id, name), { force: true });
    }
  }

  async #current(operation: HttpOperation, known: Meta | undefined, options: HttpOptions): Promise<Meta> {
    const { checksum, url } = operation;
    if (checksum !== undefined && known?.digest === checksum) return known;
    const { proxies, silence, userAgent } = this.#ports.settings();
    const isAsked = known !== undefined && checksum === undefined;
    const answer = await fetchUrl(url, {
      headers: {
        ...(isAsked && known.etag !== undefined && { "If-None-Match": known.etag }),
        ...(isAsked && known.lastModified !== undefined && { "If-Modified-Since": known.lastModified }),
      },
      ...{ deny: options.deny, signal: options.signal, proxies, silence, userAgent },
    });
    if (answer.status === 304 && isAsked) {
      answer.body.destroy();
      return known;
    }
    if (answer.status < 200 || answer.status >= 300) {
      answer.body.destroy();
      const kind = answer.status === 404 ? "not-found" : answer.status < 500 ? "invalid" : "unavailable";
      throw new GantryError(kind, `cannot fetch ${shownUrl(url)}: invalid response status ${answer.status}`);
    }
    return this.#download(operation, answer, options);
  }

  async #download(operation: HttpOperation, answer: Fetched, options: HttpOptions): Promise<Meta> {
    const { url, checksum } = operation;
    const folder = join(this.#ports.root, idOf(url));
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const temporary = join(folder, `incoming-${randomBytes(6).toString("hex")}`);
    try {
      const { digest, size, checked } = await this.#receive(operation, answer, temporary, options);
      if (checksum !== undefined && checked !== checksum) {
        throw new GantryError("invalid", `digest mismatch ${checked}: ${checksum}`);
      }
      const { etag, "last-modified": lastModified } = answer.headers;
      const filename = dispositionName(answer.headers["content-disposition"]);
      const time = timeOf(lastModified);
      chmodSync(temporary, DEFAULT_MODE);
      utimesSync(temporary, time, time);
      renameSync(temporary, join(folder, bodyOf(digest)));
      const now = Date.now();
      return {
        ...{ url: shownUrl(url), digest, size, createdAt: now, lastUsedAt: now, usageCount: 0 },
        ...(etag !== undefined && { etag }),
        ...(lastModified !== undefined && { lastModified }),
        ...(filename !== undefined && { filename }),
      };
    } finally {
      rmSync(temporary, { force: true });
    }
  }

  async #receive({ checksum, url }: HttpOperation, { body, headers }: Fetched, path: string, options: HttpOptions) {
    const { mostBytes = MOST_BYTES } = this.#ports;
    const tooLong = () =>
      new GantryError("invalid", `cannot fetch ${shownUrl(url)}: it is longer than ${mostBytes} bytes`);
    const told = Number(headers["content-length"] ?? 0);
    if (told > mostBytes) {
      body.destroy();
      throw tooLong();
    }
    const algorithm = checksum?.split(":")[0] ?? "sha256";
    const own = createHash("sha256");
    const other = algorithm === "sha256" ? own : createHash(algorithm);
    let size = 0;
    await using file = await open(path, "wx", 0o600);
    try {
      for await (const piece of body as AsyncIterable<Buffer>) {
        size += piece.length;
        if (size > mostBytes) throw tooLong();
        own.update(piece);
        if (other !== own) other.update(piece);
        await file.writeFile(piece);
        options.onBytes?.(size, told);
      }
    } catch (error) {
      throwIfAborted(options.signal);
      throw error instanceof GantryError ? error : failure(url, errnoWords(error) ?? messageOf(error), error);
    } finally {
      body.destroy();
    }
    const digest = `sha256:${own.digest("hex")}`;
    return { digest, size, checked: other === own ? digest : `${algorithm}:${other.digest("hex")}` };
  }

  /** A folder with the file as the operation wants it. */
  async #root(operation: HttpOperation, meta: Meta): Promise<Root> {
    const id = idOf(operation.url);
    const folder = join(this.#ports.root, id);
    const name = nameOf(operation, meta.filename);
    const view = join(folder, `view-${randomBytes(6).toString("hex")}`);
    this.#held.set(id, (this.#held.get(id) ?? 0) + 1);
    const release = async () => {
      await rm(view, { recursive: true, force: true });
      const left = (this.#held.get(id) ?? 1) - 1;
      if (left === 0) this.#held.delete(id);
      else this.#held.set(id, left);
    };
    try {
      await this.#lock.run(id, async () => {
        const body = join(folder, bodyOf(meta.digest));
        if (!existsSync(body))
          throw new GantryError("conflict", `cannot use ${shownUrl(meta.url)}: it was fetched anew meanwhile`);
        mkdirSync(view, { mode: 0o755 });
        await place(body, join(view, name), operation, timeOf(meta.lastModified));
      });
    } catch (error) {
      await release();
      throw error;
    }
    const index = { digest: (path: string) => (path === name ? meta.digest : undefined) };
    return this.#ports.roots.folder(view, { index, onEnd: release });
  }

  #read(id: string): Meta | undefined {
    try {
      const meta = JSON.parse(readFileSync(join(this.#ports.root, id, "meta.json"), "utf8")) as Meta;
      return existsSync(join(this.#ports.root, id, bodyOf(meta.digest))) ? meta : undefined;
    } catch {
      return undefined;
    }
  }
}

async function place(body: string, path: string, { mode, uid, gid }: HttpOperation, time: Date): Promise<void> {
  if (mode === undefined && uid === undefined && gid === undefined) {
    linkSync(body, path);
    return;
  }
  await copyFile(body, path, constants.COPYFILE_FICLONE);
  chownSync(path, uid ?? 0, gid ?? 0);
  chmodSync(path, mode ?? DEFAULT_MODE);
  utimesSync(path, time, time);
}

/** The name that the file gets: what was asked for, what the server says, the last part of the URL's path. */
export function nameOf({ filename, url }: Pick<HttpOperation, "filename" | "url">, told: string | undefined): string {
  for (const name of [filename, told]) if (name !== undefined && isName(name)) return name;
  const { pathname } = new URL(url);
  if (!pathname.endsWith("/")) {
    const last = decoded(basename(pathname));
    if (isName(last)) return last;
  }
  return "download";
}

/** `filename*` and `filename` of Content-Disposition (RFC 6266), the last part of what they say. */
export function dispositionName(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const extended = /(?:^|;)\s*filename\*\s*=\s*(?:utf-8|iso-8859-1)'[^']*'([^;\s]+)/i.exec(header)?.[1];
  const quoted = /(?:^|;)\s*filename\s*=\s*"((?:[^"\\]|\\.)*)"/i.exec(header)?.[1]?.replace(/\\(.)/g, "$1");
  const plain = /(?:^|;)\s*filename\s*=\s*([^";\s]+)/i.exec(header)?.[1];
  const name = basename((extended === undefined ? undefined : decoded(extended)) ?? quoted ?? plain ?? "");
  return isName(name) ? name : undefined;
}

function isName(name: string): boolean {
  return name !== "" && name !== "." && name !== ".." && !/[/\0]/.test(name) && Buffer.byteLength(name) <= 255;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** BuildKit's: what has no time of its own is of 1970. */
function timeOf(lastModified: string | undefined): Date {
  const time = Date.parse(lastModified ?? "");
  return new Date(Number.isNaN(time) ? 0 : time);
}

function keyOf({ mode, uid, gid }: HttpOperation, digest: string, name: string, time: string): string {
  return sha256Of(JSON.stringify(["http", digest, name, mode ?? DEFAULT_MODE, uid ?? 0, gid ?? 0, time]));
}

function idOf(url: string): string {
  return sha256Of(url).slice("sha256:".length, "sha256:".length + 32);
}

function bodyOf(digest: string): string {
  return `body-${digest.slice("sha256:".length, "sha256:".length + 32)}`;
}
