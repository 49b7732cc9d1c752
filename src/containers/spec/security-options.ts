import { GantryError } from "../../base/errors.ts";

/** What `--security-opt` says; a field that is left out wasn't spoken of. */
export interface SecurityOptions {
  readonly noNewPrivileges?: boolean;
  /** `unconfined`, `builtin` or a profile as JSON text. */
  readonly seccomp?: string;
  readonly apparmor?: string;
  readonly labels: readonly string[];
  /** No masked and no read-only paths. */
  readonly systemPathsUnconfined: boolean;
  readonly writableCgroups?: boolean;
}

const BOOLEANS: Readonly<Record<string, boolean>> = {
  ...Object.fromEntries(["1", "t", "T", "true", "TRUE", "True"].map((text) => [text, true])),
  ...Object.fromEntries(["0", "f", "F", "false", "FALSE", "False"].map((text) => [text, false])),
};

/** Reads the list in its order, the last word winning. Unknown ones are refused as Docker refuses them. */
export function parseSecurityOptions(options: readonly string[]): SecurityOptions {
  const labels: string[] = [];
  let result: Omit<SecurityOptions, "labels"> = { systemPathsUnconfined: false };
  for (const option of options) {
    if (option === "no-new-privileges") result = { ...result, noNewPrivileges: true };
    else if (option === "writable-cgroups") result = { ...result, writableCgroups: true };
    else if (option === "disable") labels.push("disable");
    else {
      // `=` first: the JSON text of a seccomp profile is full of colons.
      const at = option.includes("=") ? option.indexOf("=") : option.indexOf(":");
      if (at < 0) throw invalid(1, option);
      const value = option.slice(at + 1);
      const refuse = () => invalid(2, option);
      switch (option.slice(0, at)) {
        case "label":
          labels.push(value);
          break;
        case "apparmor":
          result = { ...result, apparmor: value };
          break;
        case "seccomp":
          result = { ...result, seccomp: value };
          break;
        case "no-new-privileges":
          result = { ...result, noNewPrivileges: parseBoolean(value, refuse) };
          break;
        case "writable-cgroups":
          result = { ...result, writableCgroups: parseBoolean(value, refuse) };
          break;
        case "systempaths":
          if (value !== "unconfined") throw refuse();
          result = { ...result, systemPathsUnconfined: true };
          break;
        default:
          throw refuse();
      }
    }
  }
  return { ...result, labels };
}

function parseBoolean(text: string, refuse: () => GantryError): boolean {
  const value = Object.hasOwn(BOOLEANS, text) ? BOOLEANS[text] : undefined;
  if (value === undefined) throw refuse();
  return value;
}

function invalid(step: 1 | 2, option: string): GantryError {
  return new GantryError("invalid", `invalid --security-opt ${step}: ${JSON.stringify(option)}`);
}
