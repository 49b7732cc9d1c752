import type { Part } from "../results/document-parts.ts";
import type { Attestation } from "../results/image-package.ts";

/** What a statement is about, by its digest. */
export interface Subject {
  readonly name: string;
  readonly digest: Readonly<Record<string, string>>;
}

/** What is said, and the name of its kind. */
export interface Claim {
  readonly predicateType: string;
  readonly fileName: string;
  /** JSON. */
  readonly predicate: string;
}

const STATEMENT = "https://in-toto.io/Statement/v0.1";

/** An in-toto statement. `subject` is a list of `Subject`s as JSON: both may be long, and are written once. */
export function statementOf({ fileName, predicate, predicateType }: Claim, subject: Part): Attestation {
  const head = `{"_type":${JSON.stringify(STATEMENT)},"predicateType":${JSON.stringify(predicateType)},"subject":`;
  const parts = [Buffer.from(head), subject, Buffer.from(`,"predicate":${predicate}}`)];
  return { predicateType, fileName, parts };
}

/** `sha256:…` as in-toto has it. */
export function digestSet(digest: string): Readonly<Record<string, string>> {
  const at = digest.indexOf(":");
  return { [digest.slice(0, at)]: digest.slice(at + 1) };
}
