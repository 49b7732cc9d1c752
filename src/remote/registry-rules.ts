/** How a registry, or what lies below a path of it, is reached. */
export interface RegistryRule {
  /** URLs that are asked first, in their order. */
  readonly mirrors: readonly string[];
  /** True to take any certificate, or none. */
  readonly insecure: boolean;
  /** True to ask the registry itself for nothing. */
  readonly onlyMirrors: boolean;
}

/** By `quay.io`, `quay.io/team` or `*`. */
export type RegistryRules = Readonly<Record<string, RegistryRule>>;

/** The rule of a repository: the one with the longest path above it, else its registry's, else that of `*`. */
export function ruleOf(rules: RegistryRules, domain: string, path: string): RegistryRule | undefined {
  const parts = path === "" ? [] : path.split("/");
  for (let count = parts.length; count >= 0; count--) {
    const key = [domain, ...parts.slice(0, count)].join("/");
    if (Object.hasOwn(rules, key)) return rules[key];
  }
  return Object.hasOwn(rules, "*") ? rules["*"] : undefined;
}
