import type { DistributionInspect } from "../../api/registry.ts";
import { EngineError } from "../../client/client.ts";
import { formatReference, type Reference, repositoryOf } from "../../oci/reference.ts";
import type { Call } from "../command.ts";
import { registryAuth, registryConfig } from "../credentials/headers.ts";
import type { ManifestEntry, ManifestPlatform } from "./drafts.ts";

const MOST_BYTES = 8 << 20;
const LISTS: ReadonlySet<string> = new Set([
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.oci.image.index.v1+json",
]);

/** What a name points to at its registry, byte by byte. */
export interface RemoteManifest {
  readonly mediaType: string;
  readonly digest: string;
  readonly raw: Buffer;
  readonly isList: boolean;
}

class NoManifestError extends Error {
  override readonly name = "NoManifestError";

  constructor(reference: Reference) {
    super(`no such manifest: ${formatReference(reference)}`);
  }
}

/** Registries, as the engine reaches them for this command. */
export class ManifestRegistry {
  readonly #call: Call;
  readonly #isInsecure: boolean;

  constructor(call: Call, isInsecure: boolean) {
    this.#call = call;
    this.#isInsecure = isInsecure;
  }

  /** Throws a `NoManifestError` where there is none. */
  async fetch(reference: Reference): Promise<RemoteManifest> {
    const { body, headers } = await this.#asked(reference, async () =>
      this.#call.client.stream("GET", pathOf(reference), {
        query: { insecure: this.#isInsecure },
        headers: await registryAuth(this.#call, reference.domain),
      }),
    );
    const pieces: Uint8Array[] = [];
    let size = 0;
    for await (const piece of body) {
      size += piece.length;
      if (size > MOST_BYTES)
        throw new Error(`cannot read the manifest of ${formatReference(reference)}: it is too long`);
      pieces.push(piece);
    }
    const mediaType = (headers["content-type"] ?? "").split(";")[0]?.trim() ?? "";
    const digest = headers["docker-content-digest"] ?? "";
    return { mediaType, digest, raw: Buffer.concat(pieces), isList: LISTS.has(mediaType) };
  }

  /** For which platform a single image is: its config tells. */
  async platformOf(reference: Reference, digest: string): Promise<ManifestPlatform> {
    const { domain, path } = reference;
    const name = encodeURIComponent(formatReference({ domain, path, digest }));
    const { Platforms } = await this.#asked(reference, async () =>
      this.#call.client.json<DistributionInspect>("GET", `/distribution/${name}/json`, {
        query: { insecure: this.#isInsecure },
        headers: await registryAuth(this.#call, domain),
      }),
    );
    return Platforms?.[0] ?? { architecture: "", os: "" };
  }

  /** An image as an entry of a list. Throws for what is a list itself. */
  async entryOf(reference: Reference): Promise<ManifestEntry> {
    const { mediaType, digest, raw, isList } = await this.fetch(reference);
    if (isList) throw new Error(`${formatReference(reference)} is a manifest list`);
    const platform = await this.platformOf(reference, digest);
    return { ref: formatReference(reference), mediaType, digest, size: raw.length, platform, raw };
  }

  /** Puts a manifest; what it names and is missing is brought from the repositories of `from`. Resolves to its digest. */
  async put(
    target: Reference,
    manifest: { readonly mediaType: string; readonly raw: Uint8Array },
    from: readonly Reference[],
  ): Promise<string> {
    const headers = {
      "Content-Type": manifest.mediaType,
      ...(await registryAuth(this.#call, target.domain)),
      ...(await registryConfig(
        this.#call,
        from.map(({ domain }) => domain).filter((domain) => domain !== target.domain),
      )),
    };
    const { body } = await this.#call.client.stream("PUT", pathOf(target), {
      query: { insecure: this.#isInsecure, from: [...new Set(from.map(repositoryOf))] },
      headers,
      upload: once(manifest.raw),
    });
    const { Digest } = JSON.parse(await body.text()) as { readonly Digest: string };
    return Digest;
  }

  async #asked<T>(reference: Reference, ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof EngineError) || error.status !== 404) throw error;
      if (error.message === "page not found") {
        throw new Error("the engine does not serve manifests: this command needs gantryd", { cause: error });
      }
      throw new NoManifestError(reference);
    }
  }
}

function pathOf(reference: Reference): string {
  return `/gantry/distribution/${encodeURIComponent(formatReference(reference))}/manifest`;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
