import { GantryError, messageOf } from "../base/errors.ts";
import type { EventBus } from "../events/bus.ts";
import type { ImageRegistry, ResolvedImage } from "../images/image.ts";
import type { Admission } from "../images/ports.ts";
import { isDigest } from "../oci/digest-format.ts";
import {
  familiarString,
  isIdentifier,
  parseNormalized,
  type Reference,
  repositoryOf,
  tagNameOnly,
} from "../oci/reference.ts";
import { RefusedError } from "../remote/failure.ts";
import type { Repository } from "../remote/repository.ts";
import type { Store } from "../state/store.ts";
import { type AttachmentSource, signaturesByReferrers, signaturesByTag } from "../trust/attached.ts";
import type { Policy } from "../trust/policy.ts";
import type { FoundSignature } from "../trust/signature.ts";
import { demandsSignatures, judge, type Ruling, rulingFor, type Verdict } from "../trust/verdict.ts";
import { attachmentSource } from "./attachments.ts";
import { ImageOrigins } from "./image-origins.ts";

type Accepted = Extract<Verdict, { accepted: true }>;

/** All signatures of an image are read within this time, or it is not let in. */
const READING_MS = 60_000;

export interface ImageTrustPorts {
  readonly store: Store;
  /** Undefined accepts every image. Read anew each time, since a reload changes it. */
  readonly policy: () => Policy | undefined;
  /** Asked only once the engine is put together. */
  readonly images: () => Pick<ImageRegistry, "resolve" | "inspect">;
}

/**
 * Whether images may come and be run, by the engine's signature policy. What a pull found is kept, so that an image is
 * judged again, by the policy and the keys of that day, when a container is made of it.
 */
export class ImageTrust {
  readonly #ports: ImageTrustPorts;
  readonly #origins: ImageOrigins;

  constructor(ports: ImageTrustPorts) {
    this.#ports = ports;
    this.#origins = new ImageOrigins(ports.store);
  }

  /** Forgets what a crash left of images without records; then follows their removals. */
  recover(events: EventBus): Disposable {
    const exists = (id: string) => {
      try {
        return this.#ports.images().resolve(id).id === id;
      } catch {
        return false;
      }
    };
    this.#origins.retain(exists);
    const end = events.subscribe(({ Type, Action, Actor }) => {
      if (Type === "image" && Action === "delete" && !exists(Actor.ID)) this.#origins.delete(Actor.ID);
    });
    return { [Symbol.dispose]: end };
  }

  /**
   * Called when an image's manifest is known and before anything else of it is fetched, or when a pull finds that it is
   * here. Throws `forbidden` with one sentence: the image, the scope, what it demands and what was found.
   */
  async admitPulled(admission: Admission): Promise<void> {
    const { digests: asked, id, isTrial = false, reference, repository, signal } = admission;
    // Of what an earlier pull got by the same index, the image's own manifest is known, too.
    const earlier = this.#origins.of(id).filter((origin) => origin.digests.some((digest) => asked.includes(digest)));
    const digests = [...new Set([...asked, ...earlier.flatMap((origin) => origin.digests)])];
    const known = earlier.flatMap(({ signatures }) => signatures);
    const policy = this.#ports.policy();
    let signatures: readonly FoundSignature[] = known;
    if (policy !== undefined) {
      const ruling = rulingFor(policy, "docker", reference);
      const image = { reference, name: familiarString(reference) };
      const kept = await judge(ruling, image, known);
      if (kept.accepted) signatures = inOrder(kept, known);
      else if (!demandsSignatures(ruling)) insist(kept);
      else {
        signatures = await this.#reading(image.name, repository, signal, (source) =>
          acceptedSignatures(source, ruling, image, digests),
        );
      }
    }
    if (!isTrial) this.#origins.put(id, { reference, digests, signatures });
  }

  /** Bounds the time, and says of a failure what it kept from being read. */
  async #reading<T>(
    name: string,
    repository: Repository,
    signal: AbortSignal | undefined,
    act: (source: AttachmentSource) => Promise<T>,
  ): Promise<T> {
    const late = AbortSignal.timeout(READING_MS);
    const either = signal === undefined ? late : AbortSignal.any([late, signal]);
    try {
      return await act(attachmentSource(repository, { signal: either }));
    } catch (error) {
      throw unread(error, name, late.aborted && signal?.aborted !== true);
    }
  }

  /**
   * Called before a container is made of an image; `asked` is the name or id that it was asked for by. Throws
   * `forbidden`.
   */
  async admitCreated(image: ResolvedImage, asked: string): Promise<void> {
    const policy = this.#ports.policy();
    if (policy === undefined) return;
    const origins = this.#origins.of(image.id);
    const reference = this.#nameOf(image, asked);
    const all = origins.flatMap(({ signatures }) => signatures);
    const under = async (name: Reference) =>
      judge(rulingFor(policy, "docker", name), { reference: name, name: familiarString(name) }, all);
    if (reference !== undefined && origins.some((origin) => isSameRepository(origin.reference, reference))) {
      insist(await under(reference), asOfPull(image));
      return;
    }
    if (origins.length > 0)
      insist(await anyOf(origins.map((origin) => () => under(origin.reference))), asOfPull(image));
    else insist(await judge(rulingFor(policy, "docker-daemon", reference), { reference, name: image.name }, []));
    // A name that a scope was written for is not to be had by naming something else so.
    if (reference !== undefined && rulingFor(policy, "docker", reference).isExplicit) insist(await under(reference));
  }

  /** The name that an image was asked for by; undefined for an id or the beginning of one. */
  #nameOf(image: ResolvedImage, asked: string): Reference | undefined {
    if (isIdentifier(asked) || isDigest(asked)) return undefined;
    const reference = tagNameOnly(parseNormalized(asked));
    const { RepoDigests, RepoTags } = this.#ports.images().inspect(image.id);
    const names = [...(RepoTags ?? []), ...(RepoDigests ?? [])];
    const { domain, path, digest } = reference;
    // A name of both is found by both; which signature is wanted is said by the digest.
    const isNamed = names.includes(familiarString(reference));
    if (isNamed || digest === undefined) return isNamed ? reference : undefined;
    return names.includes(familiarString({ domain, path, digest })) ? { domain, path, digest } : undefined;
  }
}

/** The signatures that a registry has of an image that is accepted, those that made it so first. */
async function acceptedSignatures(
  source: AttachmentSource,
  ruling: Ruling,
  image: { readonly reference: Reference; readonly name: string },
  digests: readonly string[],
): Promise<readonly FoundSignature[]> {
  const found: FoundSignature[] = [];
  let problem: string | undefined;
  let verdict: Verdict | undefined;
  // Nearly all signatures lie at tags: what few registries have is asked for only where these don't do.
  for (const read of [signaturesByTag, signaturesByReferrers]) {
    for (const more of await Promise.all(digests.map((digest) => read(source, digest)))) {
      found.push(...more.signatures);
      problem ??= more.problem;
    }
    verdict = await judge(ruling, { ...image, problem }, found);
    if (verdict.accepted) break;
  }
  return inOrder(insist(verdict!), found);
}

function inOrder({ by }: Accepted, all: readonly FoundSignature[]): FoundSignature[] {
  return [...new Set([...by.map(({ signature }) => signature), ...all])];
}

function isSameRepository(one: Reference, other: Reference): boolean {
  return repositoryOf(one) === repositoryOf(other);
}

/** The first that accepts, or the last refusal. */
async function anyOf(judgements: readonly (() => Promise<Verdict>)[]): Promise<Verdict> {
  let last: Verdict = { accepted: false, place: "", sentence: "" };
  for (const judgement of judgements) {
    last = await judgement();
    if (last.accepted) return last;
  }
  return last;
}

/** The verdict if the image was accepted; throws `forbidden` if it wasn't. */
function insist(verdict: Verdict, hint = ""): Accepted {
  if (verdict.accepted) return verdict;
  throw new GantryError("forbidden", `${verdict.sentence}${hint}`);
}

function asOfPull({ name }: ResolvedImage): string {
  return `; that was so at its last pull: 'gantry pull ${name}' looks again`;
}

function unread(error: unknown, name: string, isLate: boolean): unknown {
  if (!(error instanceof GantryError) || (error.kind === "forbidden" && !(error instanceof RefusedError))) return error;
  if (isLate) {
    return new GantryError(
      "unavailable",
      `cannot read the signatures of ${name}: it took more than ${READING_MS / 1000} seconds`,
    );
  }
  if (error.kind === "cancelled") return error;
  return new GantryError(error.kind, `cannot read the signatures of ${name}: ${messageOf(error)}`, { cause: error });
}
