import { Gate } from "../../base/gate.ts";
import type { ExportInput, SolvedTarget } from "../parts.ts";
import type { Part } from "../results/document-parts.ts";
import type { Attestation, AttestedImage } from "../results/image-package.ts";
import type { Root } from "../root.ts";
import { readAttestOptions } from "./options.ts";
import { provenanceOf } from "./provenance.ts";
import { imagePurl } from "./purl.ts";
import type { ScanRoot } from "./scan/scan-root.ts";
import type { SpdxOptions } from "./spdx.ts";
import { type Claim, digestSet, statementOf } from "./statement.ts";

/** What an attestation is for: an image and the names it will have, or files. */
export type Occasion = {
  readonly names: readonly string[];
  /** Those that are meant for indexes of images only. */
  readonly withInline: boolean;
} & (
  | { readonly image: AttestedImage }
  /** Where the list of the files is written, which is there for as long as the statements are wanted. */
  | { readonly file: string }
);

export interface AttestorPorts {
  readonly scan: ScanRoot;
}

/** Scans that read a root at a time, of all builds. */
const MOST_SCANS = 2;

/** Says of results how they came about and what is in them. */
export class Attestor {
  readonly #ports: AttestorPorts;
  readonly #gate = new Gate(MOST_SCANS);
  readonly #boms = new WeakMap<SolvedTarget, Promise<readonly Claim[]>>();
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
    if (isWanted(sbom)) claims.push(...(await this.#bomsOf(input, solved, occasion.names)));
    if (provenance !== undefined && isWanted(provenance)) {
      const image = "image" in occasion ? occasion.image : undefined;
      claims.push(provenanceOf(input, solved, provenance, this.#endOf(input), image));
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

  /** That of the result first, then those of stages and of the context. */
  #bomsOf(input: ExportInput, solved: SolvedTarget, names: readonly string[]): Promise<readonly Claim[]> {
    let boms = this.#boms.get(solved);
    if (boms === undefined) {
      const { root, scans = [] } = solved;
      const core = this.#scan(input, root, { name: names[0] ?? "build" }, "sbom.spdx.json");
      const others = scans.map(({ name, root }) => {
        const purpose = name === "context" ? "SOURCE" : "CONTAINER";
        return this.#scan(input, root, { name, purpose }, `sbom-${name}.spdx.json`);
      });
      boms = Promise.all([core, ...others]);
      boms.catch(() => {});
      this.#boms.set(solved, boms);
    }
    return boms;
  }

  async #scan(
    { request, signal }: ExportInput,
    root: Root | undefined,
    what: Pick<SpdxOptions, "name" | "purpose">,
    fileName: string,
  ): Promise<Claim> {
    const created = request.sourceDateEpoch === undefined ? Date.now() : request.sourceDateEpoch * 1000;
    const predicate = await this.#gate.run(() => this.#ports.scan.bom(root, { ...what, created }, signal));
    return { predicateType: "https://spdx.dev/Document", fileName, predicate };
  }

  async #subjectsOf({ signal }: ExportInput, { root }: SolvedTarget, occasion: Occasion): Promise<Part> {
    if ("file" in occasion) {
      const { file } = occasion;
      return { file, size: await this.#gate.run(() => this.#ports.scan.files(root, file, signal)) };
    }
    const { image, names } = occasion;
    const digest = digestSet(image.manifest.digest);
    const subjects = names.map((name) => imagePurl(name, image.image.platform));
    const rows = (subjects.length === 0 ? ["_"] : subjects).map((name) => ({ name, digest }));
    return Buffer.from(JSON.stringify(rows));
  }
}
