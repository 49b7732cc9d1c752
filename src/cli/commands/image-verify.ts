import type { SignedManifest } from "../../api/signature.ts";
import type { Platform } from "../../oci/image.ts";
import { machinePlatform } from "../../oci/machine-platform.ts";
import { choosePlatform, parsePlatform } from "../../oci/platform.ts";
import { familiarName, familiarString, parseNormalized, type Reference } from "../../oci/reference.ts";
import { identityFits } from "../../trust/identity.ts";
import { SIMPLE_TYPE, type SignedClaim } from "../../trust/payload.ts";
import type { Policy } from "../../trust/policy.ts";
import { loadPolicy } from "../../trust/policy-file.ts";
import type { PublicKey } from "../../trust/public-key.ts";
import { type SearchResult, type SignatureForm, search } from "../../trust/signature.ts";
import { SIGN_PREDICATE } from "../../trust/statement.ts";
import { foundInstead, judge, rulingFor } from "../../trust/verdict.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { complain, print, printLine } from "../output/print.ts";
import { annotationsFlag, annotationsOf } from "../signing/annotations.ts";
import { verifyingKey } from "../signing/keys.ts";
import { fetchSignatures, foundSignatures, registryName } from "../signing/registry.ts";

export const verify: Command = {
  usage: "[OPTIONS] IMAGE [IMAGE...]",
  args: { rule: "at-least", count: 1 },
  long: "Check the signatures of images at their registries, by a key or by a policy.\nThe exit code is 1 if one of them has none that is good.",
  flags: [
    annotationsFlag("Demand that this key=value was signed"),
    textFlag("identity", "Accept signatures of this name instead of the image's own"),
    textFlag("key", "Public key: a file, or env://NAME"),
    textFlag("o,output", 'Output format ("text", "json": what was signed, as cosign prints it)', {
      initial: "text",
      check: (text) => {
        if (text !== "text" && text !== "json") throw new Error("it must be text or json");
        return text;
      },
    }),
    textFlag("platform", "With --policy: the image of an index that would be pulled, os/arch[/variant]"),
    textFlag("policy", "Judge by this policy file (containers-policy.json), as a pull would"),
    boolFlag("r,recursive", "Check the images of an index, too"),
  ],
  async run(call) {
    const { flags } = call;
    const [key, policy] = [flags.text("key"), flags.text("policy")];
    if ((key === "") === (policy === "")) {
      throw new ExitError(1, "nothing to verify by, or two things: give either --key FILE or --policy FILE");
    }
    const check = key === "" ? byPolicy(call, loadPolicy(policy)) : byKey(call, verifyingKey(key));
    const references = await Promise.all(call.args.map((text) => registryName(call, text)));
    const payloads: unknown[] = [];
    let failed = false;
    for (const reference of references) {
      const { lines, complaints, signed } = await check(reference);
      if (flags.text("output") === "text") for (const line of lines) printLine(line);
      for (const complaint of complaints) complain(complaint);
      payloads.push(...signed);
      failed ||= complaints.length > 0;
    }
    if (flags.text("output") === "json" && !failed) print(`${JSON.stringify(payloads)}\n`);
    return failed ? 1 : 0;
  },
};

interface Checked {
  readonly lines: readonly string[];
  readonly complaints: readonly string[];
  /** The payloads of good signatures. */
  readonly signed: readonly unknown[];
}

type Check = (reference: Reference) => Promise<Checked>;

function byKey(call: Call, key: PublicKey): Check {
  const { flags } = call;
  const annotations = annotationsOf(flags.list("annotations"));
  const other = flags.text("identity");
  if (other !== "") parseNormalized(other);
  return async (reference) => {
    const manifests = await fetchSignatures(call, reference, { isRecursive: flags.bool("recursive") });
    const [lines, complaints, signed]: [string[], string[], unknown[]] = [[], [], []];
    // A signature without a name is good for every one, unless a certain one is asked for: cosign writes no other.
    const fits = (identity: string | undefined): boolean =>
      other === ""
        ? identity === undefined || identityFits({ type: "matchRepository" }, identity, reference)
        : identityFits({ type: "exactRepository", dockerRepository: other }, identity, reference);
    for (const manifest of manifests) {
      const result = await search(foundSignatures(manifest), { keys: [key], fits, annotations });
      const name = `${familiarName(reference)}@${manifest.Digest}`;
      if (result.found) {
        const { identity } = result.claim;
        const as = identity === undefined ? "without a name" : `as ${identity}`;
        lines.push(`${name}: signed ${as} by ${key.name} (${key.fingerprint})`);
        signed.push(shownClaim(result.claim, result.signature.form));
      } else complaints.push(refusal(name, key, manifest, result, other || familiarName(reference)));
    }
    return { lines, complaints, signed };
  };
}

/** As cosign prints it, whichever way it was signed. */
function shownClaim({ annotations, digest, identity }: SignedClaim, form: SignatureForm): unknown {
  return {
    critical: {
      identity: { "docker-reference": identity ?? "" },
      image: { "docker-manifest-digest": digest },
      type: form === "simple" ? SIMPLE_TYPE : SIGN_PREDICATE,
    },
    optional: Object.keys(annotations).length === 0 ? null : annotations,
  };
}

function refusal(
  name: string,
  key: PublicKey,
  { Problem }: SignedManifest,
  result: Extract<SearchResult, { found: false }>,
  wanted: string,
): string {
  const found = foundInstead(result, wanted);
  const isNamed = result.identities.some((identity) => identity !== undefined);
  const hint = result.nearest === "other-identity" && isNamed ? "; give --identity to accept another name" : "";
  return `${name} is not signed by ${key.name}: ${found}${hint}${Problem === "" ? "" : ` (${Problem})`}`;
}

/** Of an entry of an index, which may not say it. */
function platformOf({ Platform: text }: SignedManifest): Platform | undefined {
  const [os = "", architecture, variant] = text.split("/");
  return architecture === undefined ? undefined : { os, architecture, ...(variant !== undefined && { variant }) };
}

function byPolicy(call: Call, policy: Policy): Check {
  const wanted = call.flags.text("platform");
  const platform = wanted === "" ? machinePlatform() : parsePlatform(wanted);
  return async (reference) => {
    const manifests = await fetchSignatures(call, reference, { isRecursive: true });
    // What a pull takes: what the name points to, and of an index the image for the platform.
    const [first, ...members] = manifests;
    const chosen = [first, choosePlatform(members, platform, platformOf)].filter((one) => one !== undefined);
    const problem = chosen.map(({ Problem }) => Problem).find((one) => one !== "");
    const name = familiarString(reference);
    const signatures = chosen.flatMap(foundSignatures);
    const verdict = await judge(rulingFor(policy, "docker", reference), { reference, name, problem }, signatures);
    if (!verdict.accepted) return { lines: [], complaints: [verdict.sentence], signed: [] };
    return {
      lines: [`${name}: accepted by ${verdict.place} of ${policy.path}`],
      complaints: [],
      signed: verdict.by.map(({ claim, signature }) => shownClaim(claim, signature.form)),
    };
  };
}
