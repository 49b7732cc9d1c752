import type { SignedManifest } from "../../api/signature.ts";
import { familiarName, type Reference } from "../../oci/reference.ts";
import { signedBytes } from "../../trust/bundle.ts";
import { claimOf } from "../../trust/identity.ts";
import { makePayload } from "../../trust/payload.ts";
import type { PrivateKey } from "../../trust/private-key.ts";
import { makeStatement } from "../../trust/statement.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { printLine } from "../output/print.ts";
import { annotationsFlag, annotationsOf } from "../signing/annotations.ts";
import { signingKey } from "../signing/keys.ts";
import {
  fetchSignatures,
  foundSignatures,
  type MadeSignature,
  putSignatures,
  registryName,
} from "../signing/registry.ts";

type Form = MadeSignature["form"];
type Format = "both" | "bundle" | "simple";

const FORMATS: Readonly<Record<Format, readonly Form[]>> = {
  both: ["simple", "statement"],
  bundle: ["statement"],
  simple: ["simple"],
};
const PAYLOADS = { simple: makePayload, statement: makeStatement };

export const sign: Command = {
  usage: "[OPTIONS] IMAGE [IMAGE...]",
  args: { rule: "at-least", count: 1 },
  long: "Sign images at their registries, as cosign does with a key.\nThe key stays here: the engine is only sent the finished signatures.",
  flags: [
    annotationsFlag("Sign this key=value with the image"),
    textFlag(
      "format",
      'Forms to sign in ("bundle": for cosign 3; "simple": for podman, skopeo and cosign before it; "both")',
      {
        initial: "both",
        check: (text) => {
          if (!Object.hasOwn(FORMATS, text)) throw new Error("it must be bundle, simple or both");
          return text;
        },
      },
    ),
    textFlag("key", "Private key: a file, or env://NAME"),
    boolFlag("r,recursive", "Sign the images of an index, too"),
    textFlag("sign-container-identity", "Sign the image under this name instead of its own"),
    boolFlag("y,yes", "Accepted for scripts of cosign's: nothing is asked", { hidden: true }),
  ],
  async run(call) {
    if (call.flags.text("key") === "") throw new ExitError(1, "no key to sign with: give --key FILE");
    // All that can be wrong here is found before anything is signed.
    const references = await Promise.all(call.args.map((text) => registryName(call, text)));
    const key = await signingKey(call.flags.text("key"));
    for (const reference of references) await signOne(call, key, reference);
    return 0;
  },
};

async function signOne(call: Call, key: PrivateKey, reference: Reference): Promise<void> {
  const manifests = await fetchSignatures(call, reference, { isRecursive: call.flags.bool("recursive") });
  const annotations = annotationsOf(call.flags.list("annotations"));
  const identity = call.flags.text("sign-container-identity") || claimOf(reference);
  const made: MadeSignature[] = [];
  const signed = new Set<string>();
  for (const manifest of manifests) {
    const digest = manifest.Digest;
    for (const form of FORMATS[call.flags.text("format") as Format]) {
      const payload = PAYLOADS[form]({ digest, identity, annotations });
      if (await isSigned(manifest, form, payload, key)) continue;
      const signature = await key.sign(bytesOf(form, payload));
      made.push({ digest, form, hint: key.publicKey.hint, payload, signature });
      signed.add(digest);
    }
  }
  // What the name points to comes last: when it is signed, all below it is.
  if (made.length > 0) await putSignatures(call, reference, made.toReversed());
  for (const { Digest } of manifests) {
    printLine(`${signed.has(Digest) ? "Signed" : "Signed already"}: ${familiarName(reference)}@${Digest}`);
  }
}

/** Signatures by this key over these very bytes need no second one. */
async function isSigned(manifest: SignedManifest, form: Form, payload: Buffer, key: PrivateKey): Promise<boolean> {
  for (const found of foundSignatures(manifest)) {
    if (found.form !== form || !payload.equals(found.payload)) continue;
    if (await key.publicKey.verify(bytesOf(form, payload), found.signature)) return true;
  }
  return false;
}

function bytesOf(form: Form, payload: Buffer): Buffer {
  return form === "statement" ? signedBytes(payload) : payload;
}
