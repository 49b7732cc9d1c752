import { Gate } from "../../base/gate.ts";
import type { ExportInput, SolvedTarget } from "../parts.ts";
import type { Attestation, AttestedImage } from "../results/image-package.ts";
import { readAttestOptions } from "./options.ts";
import { provenanceOf } from "./provenance.ts";
import { imagePurl } from "./purl.ts";
import type { ScanRoot } from "./scan/scan-root.ts";
import { type Claim, digestSet, statementOf } from "./statement.ts";

/** What an attestation is for: an image and the names it will have, or files. */
export interface Occasion {
  readonly image?: AttestedImage;
  readonly names: readonly string[];
  /** Those that are meant for indexes of images only. */
  readonly withInline: boolean;
}

export interface AttestorPorts {
  readonly scan: ScanRoot;
}

/** Scans that read a root at a time, of all builds. */
const MOST_SCANS = 2;

/** Says of results how they came about and what is in them. */
export class Attestor {
  readonly #ports: AttestorPorts;
  readonly #gate = new Gate(MOST_SCANS);
  readonly #boms = new WeakMap<SolvedTarget, Promise<Claim>>();
  readonly #subjects = new WeakMap<SolvedTarget, Promise<string>>();
  readonly #ends = new WeakMap<ExportInput, number>();

  constructor(ports: AttestorPorts) {
    this.#ports = ports;
  }

  /** Throws `invalid` or `unsupported` for what can't be attested. */
  check(request: ExportInput["request"]): void {
    readAttestOptions(request);
  }

  /** Whether statements are asked for; with `withInline` also those that are for indexes of images only. */
  isAsked(request: ExportInput["request"], { withInline }: Pick<Occasion, "withInline">): boolean {
    const { provenance, sbom } = readAttestOptions(request);
    return [provenance, sbom].some((options) => options !== undefined && (withInline || !options.inlineOnly));
  }

  /** The statements about one result. Nothing where nothing was asked for. */
  async attest(input: ExportInput, solved: SolvedTarget, occasion: Occasion): Promise<readonly Attestation[]> {
    const { provenance, sbom } = readAttestOptions(input.request);
    const isWanted = (options: { readonly inlineOnly: boolean } | undefined): boolean =>
      options !== undefined && (!options.inlineOnly || occasion.withInline);
    const claims: Claim[] = [];
    if (isWanted(sbom)) claims.push(await this.#bomOf(input, solved, occasion.names));
    if (provenance !== undefined && isWanted(provenance)) {
      claims.push(provenanceOf(input, solved, provenance, this.#endOf(input), occasion.image));
    }
    if (claims.length === 0) return [];
    const subjects = await this.#subjectsOf(input, solved, occasion);
    return claims.map((claim) => statementOf(claim, subjects));
  }

  /** What clients are told of a build, each platform by itself: a predicate (JSON) without what only `max` has. */
  told(input: ExportInput, solved: SolvedTarget): string | undefined {
    const { provenance } = readAttestOptions(input.request);
    if (provenance === undefined) return undefined;
    return provenanceOf(input, solved, { ...provenance, mode: "min" }, this.#endOf(input), undefined).predicate;
  }

  /** All statements of a build say the same time. */
  #endOf(input: ExportInput): number {
    const end = this.#ends.get(input) ?? Date.now();
    this.#ends.set(input, end);
    return end;
  }

  #bomOf(input: ExportInput, solved: SolvedTarget, names: readonly string[]): Promise<Claim> {
    let bom = this.#boms.get(solved);
    if (bom === undefined) {
      bom = this.#scan(input, solved, names);
      bom.catch(() => {});
      this.#boms.set(solved, bom);
    }
    return bom;
  }

  async #scan({ request, signal }: ExportInput, solved: SolvedTarget, names: readonly string[]): Promise<Claim> {
    const created = request.sourceDateEpoch === undefined ? Date.now() : request.sourceDateEpoch * 1000;
    const options = { name: names[0] ?? "build", created };
    const predicate = await this.#gate.run(() => this.#ports.scan.bom(solved.root, options, signal));
    return { predicateType: "https://spdx.dev/Document", fileName: "sbom.spdx.json", predicate };
  }

  #subjectsOf({ signal }: ExportInput, solved: SolvedTarget, { image, names }: Occasion): Promise<string> | string {
    if (image !== undefined) {
      const digest = digestSet(image.manifest.digest);
      const platform = image.image.platform;
      const subjects = names.map((name) => imagePurl(name, platform));
      return JSON.stringify((subjects.length === 0 ? ["_"] : subjects).map((name) => ({ name, digest })));
    }
    let subjects = this.#subjects.get(solved);
    if (subjects === undefined) {
      subjects = this.#gate.run(() => this.#ports.scan.files(solved.root, signal));
      subjects.catch(() => {});
      this.#subjects.set(solved, subjects);
    }
    return subjects;
  }
}
