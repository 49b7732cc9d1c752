import { messageOf } from "../../base/errors.ts";
import { type Policy, parsePolicy, type Requirement, TRANSPORTS_OF_NAMES } from "../../trust/policy.ts";
import { isScopeOfNames } from "../../trust/scope.ts";
import { type Check, failure, ok, warning } from "../check.ts";

const policy: Check = {
  id: "engine.signatures",
  title: "signature policy",
  run({ files }, { signaturePolicy: path }) {
    if (path === "") return ok("none is set: images need no signatures");
    const read = (file: string): string => {
      const text = files.read(file);
      if (text === undefined) throw new Error(`${file} can't be read`);
      return text;
    };
    let found: Policy;
    try {
      found = parsePolicy(Buffer.from(read(path)), path, read);
    } catch (error) {
      const why = messageOf(error);
      // An engine that runs goes on by what it read before.
      return failure(
        `${path} can't be used: ${why}`,
        "Correct it, and tell the engine with SIGHUP: it doesn't start with it",
      );
    }
    const all = [...found.transports].flatMap(([transport, scopes]) =>
      [...scopes].map(([scope, requirements]) => ({
        place: `${transport}:${scope}`,
        isOfNames: TRANSPORTS_OF_NAMES.includes(transport),
        scope,
        requirements,
      })),
    );
    const everywhere = [...all, { place: "the default", requirements: found.initial }];
    const blind = everywhere.find(({ requirements }) => requirements.some(isUnsupported));
    if (blind !== undefined) {
      return warning(
        `${blind.place} in ${path} demands what is not checked here, so that all its images are refused`,
        "Demand signatures by keys there: sigstoreSigned with keyPath",
      );
    }
    const nowhere = all.find(({ isOfNames, scope }) => isOfNames && !isScopeOfNames(scope));
    if (nowhere !== undefined) {
      return warning(
        `no image lies in the scope ${JSON.stringify(nowhere.scope)} of ${path}: its names are never written so`,
        "Write scopes as whole names are: docker.io/library/busybox, quay.io/team, *.example.com",
      );
    }
    const keys = new Set(everywhere.flatMap(({ requirements }) => requirements.flatMap(fingerprints)));
    return ok(`${path}: ${counted(all.length, "scope")}, ${counted(keys.size, "key")}`);
  },
};

function isUnsupported({ type }: Requirement): boolean {
  return type === "unsupported";
}

function fingerprints(requirement: Requirement): string[] {
  return requirement.type === "sigstoreSigned" ? requirement.keys.map(({ fingerprint }) => fingerprint) : [];
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

export const signatureChecks: readonly Check[] = [policy];
