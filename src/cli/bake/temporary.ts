import { randomBytes } from "node:crypto";
import type { ImageSummary } from "../../api/image.ts";
import type { EngineClient } from "../../client/client.ts";

const PREFIX = "gantry-bake-";
/** Of a run that was ended before it could remove them; no build takes that long. */
const STALE_SECONDS = 24 * 3600;

/** Names by which targets find the images of others while all is built. */
export class TemporaryNames implements AsyncDisposable {
  readonly #client: EngineClient;
  readonly #names: ReadonlyMap<string, string>;

  constructor(client: EngineClient, targets: Iterable<string>) {
    this.#client = client;
    const run = `${PREFIX}${Math.floor(Date.now() / 1000)}-${randomBytes(6).toString("hex")}`;
    this.#names = new Map([...targets].map((name) => [name, `${run}/${name.toLowerCase()}:latest`]));
  }

  get(target: string): string | undefined {
    return this.#names.get(target);
  }

  /** The images stay where they have other names, or belong to the cache. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#names.size === 0) return;
    for (const name of [...this.#names.values(), ...(await this.#stale())]) {
      await this.#client.done("DELETE", `/images/${name}`, { query: { noprune: true } }).catch(() => {});
    }
  }

  async #stale(): Promise<string[]> {
    try {
      const images = await this.#client.json<ImageSummary[]>("GET", "/images/json", {
        query: { filters: JSON.stringify({ reference: [`${PREFIX}*/*`] }) },
      });
      const oldest = Date.now() / 1000 - STALE_SECONDS;
      const names = images.flatMap(({ RepoTags }) => RepoTags ?? []);
      return names.filter((name) => Number(/^gantry-bake-(\d+)-[0-9a-f]{12}\//.exec(name)?.[1] ?? oldest) < oldest);
    } catch {
      return [];
    }
  }
}
