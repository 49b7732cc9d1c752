import type { SignedManifest } from "../../api/signature.ts";
import { familiarName, type Reference } from "../../oci/reference.ts";
import { claimOf } from "../../trust/identity.ts";
import { makePayload } from "../../trust/payload.ts";
import type { PrivateKey } from "../../trust/private-key.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { printLine } from "../output/print.ts";
import { annotationsFlag, annotationsOf } from "../signing/annotations.ts";
import { signingKey } from "../signing/keys.ts";
import { fetchSignatures, foundSignatures, putSignatures, registryName } from "../signing/registry.ts";

export const sign: Command = {
  usage: "[OPTIONS] IMAGE [IMAGE...]",
  args: { rule: "at-least", count: 1 },
  long: "Sign images at their registries, as cosign does with a key.\nThe key stays here: the engine is only sent the finished signatures.",
  flags: [
    annotationsFlag("Sign this key=value with the image"),
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
  const made = [];
  const kept = new Set<string>();
  for (const manifest of manifests) {
    const payload = makePayload({ digest: manifest.Digest, identity, annotations });
    if (await isSigned(manifest, payload, key)) kept.add(manifest.Digest);
    else made.push({ digest: manifest.Digest, payload, signature: await key.sign(payload) });
  }
  // What the name points to comes last: when it is signed, all below it is.
  if (made.length > 0) await putSignatures(call, reference, made.toReversed());
  for (const { Digest } of manifests) {
    printLine(`${kept.has(Digest) ? "Signed already" : "Signed"}: ${familiarName(reference)}@${Digest}`);
  }
}

/** Signatures by this key over these very bytes need no second one. */
async function isSigned(manifest: SignedManifest, payload: Buffer, key: PrivateKey): Promise<boolean> {
  for (const found of foundSignatures(manifest)) {
    if (payload.equals(found.payload) && (await key.publicKey.verify(payload, found.signature))) return true;
  }
  return false;
}
