import { GantryError } from "../base/errors.ts";
import type { Definition } from "./definition.ts";
import { type Override, override } from "./override.ts";
import { layOver, type Target } from "./target.ts";

/** What is to be built. */
export interface Bake {
  /** What was asked for as `default`, and the groups that this is made of. */
  readonly groups: ReadonlyMap<string, ShownGroup>;
  /** All that has to be built, those that others take as a context before them. */
  readonly targets: ReadonlyMap<string, BakeTarget>;
  readonly definition: Definition;
}

export interface ShownGroup {
  readonly targets: readonly string[];
  readonly description?: string;
}

export interface BakeTarget {
  readonly target: Target;
  /** It was not asked for by name: another target takes it as a context. */
  readonly linked: boolean;
}

/** Names, groups and patterns → targets, each with what it inherits and what is laid over it. */
export function choose(definition: Definition, overrides: readonly Override[], names: readonly string[]): Bake {
  return new Chooser(definition, overrides).choose(names);
}

class Chooser {
  readonly #definition: Definition;
  readonly #overrides: readonly (Override & { readonly names: ReadonlySet<string> })[];
  readonly #chosen = new Map<string, BakeTarget>();

  constructor(definition: Definition, overrides: readonly Override[]) {
    this.#definition = definition;
    this.#overrides = overrides.map((one) => ({ ...one, names: this.#overridden(one.pattern) }));
  }

  choose(patterns: readonly string[]): Bake {
    const { groups } = this.#definition;
    const names = unique(patterns.flatMap((pattern) => this.#named(pattern)));
    const shown = new Map<string, ShownGroup>();
    const all: string[] = [];
    for (const name of names) {
      const members = this.#expanded(name, new Set());
      for (const group of members.groups) shown.set(group, groups.get(group)!);
      all.push(...members.targets);
    }
    for (const name of unique(all)) this.#add(name, false, []);
    const own = shown.get("default");
    const others = names.filter((name) => name !== "default" || own === undefined);
    const byDefault = unique([...(own?.targets ?? []), ...others]).sort();
    return {
      groups: shown.set("default", { ...own, targets: byDefault }),
      targets: this.#chosen,
      definition: this.#definition,
    };
  }

  /** A name as it is, or those that a pattern means. */
  #named(pattern: string): string[] {
    if (!/[*?[\]]/.test(pattern)) return [pattern.replaceAll(".", "_")];
    const { groups, targets } = this.#definition;
    const expression = expressionOf(pattern);
    const names = [...groups.keys(), ...targets.keys()].filter((name) => expression.test(name));
    if (names.length > 0) return names;
    throw new GantryError("not-found", `could not find any target matching ${JSON.stringify(pattern)}`);
  }

  #overridden(pattern: string): ReadonlySet<string> {
    const { targets } = this.#definition;
    if (targets.has(pattern)) return new Set([pattern]);
    const expression = expressionOf(pattern);
    const names = [...targets.keys()].filter((name) => expression.test(name));
    if (names.length > 0) return new Set(names);
    throw new GantryError("not-found", `could not find any target matching '${pattern}'`);
  }

  /** A group's targets, and the groups that it is made of. In a ring a group is taken for a target, which there is none of. */
  #expanded(name: string, above: Set<string>): { readonly targets: string[]; readonly groups: string[] } {
    const group = this.#definition.groups.get(name);
    if (group === undefined || above.has(name)) return { targets: [name], groups: [] };
    above.add(name);
    const parts = group.targets.map((each) => this.#expanded(each, above));
    above.delete(name);
    return {
      targets: unique(parts.flatMap(({ targets }) => targets)),
      groups: unique([name, ...parts.flatMap(({ groups }) => groups)]),
    };
  }

  #add(name: string, linked: boolean, above: readonly string[]): Target {
    const former = this.#chosen.get(name);
    if (former !== undefined && (linked || !former.linked)) return former.target;
    let target = this.#resolved(name, linked);
    for (const context of Object.values(target.contexts ?? {})) {
      if (!context.startsWith("target:")) continue;
      const other = context.slice("target:".length);
      if (other === name) throw new GantryError("invalid", `target ${name} cannot link to itself`);
      if (above.includes(other)) throw new GantryError("invalid", `infinite loop from ${name} to ${other}`);
      const base = this.#add(other, true, [...above, name]);
      checkPlatforms([name, target], [other, base]);
      // Whoever is built of it needs what it needs.
      const entitlements = unique([...(target.entitlements ?? []), ...(base.entitlements ?? [])]);
      if (entitlements.length > 0) target = { ...target, entitlements };
    }
    this.#chosen.delete(name);
    this.#chosen.set(name, { target, linked });
    return target;
  }

  #resolved(name: string, linked: boolean): Target {
    const { context = ".", dockerfile, ...target } = this.#inherited(name, new Map()) ?? {};
    const whole = { ...target, context, dockerfile: dockerfile || "Dockerfile" };
    return linked ? { ...whole, output: [{ type: "cacheonly" }] } : whole;
  }

  /** Of a ring, what is met again has nothing more to say. */
  #inherited(name: string, visited: Map<string, Target | undefined>): Target | undefined {
    if (visited.has(name)) return visited.get(name);
    visited.set(name, undefined);
    const defined = this.#definition.targets.get(name);
    if (defined === undefined) throw notFound(name, this.#definition);
    const parents = defined.inherits.map((parent) => this.#inherited(parent, visited) ?? {});
    const whole = [...parents, defined.own].reduce(layOver, {});
    const target = override(
      whole,
      this.#overrides.filter(({ names }) => names.has(name)),
    );
    visited.set(name, target);
    return target;
  }
}

function checkPlatforms([name, target]: readonly [string, Target], [other, base]: readonly [string, Target]): void {
  const [own = [], theirs = []] = [target.platforms, base.platforms];
  if (own.length < 2 || theirs.length < 2 || own.every((platform) => theirs.includes(platform))) return;
  const [wanted, there] = [own.join(" "), theirs.join(" ")];
  throw new GantryError(
    "invalid",
    `target ${other} can't be used by ${name} because its platforms [${wanted}] are not a subset of [${there}]`,
  );
}

/** `*`, `?` and `[a-z]`, as of file names. */
function expressionOf(pattern: string): RegExp {
  const source = pattern.replace(/\[\^?[^\]]+\]|[\\^$.*+?()[\]{}|]/g, (part) => {
    if (part.length > 1) return part;
    if (part === "*") return ".*";
    return part === "?" ? "." : `\\${part}`;
  });
  try {
    return new RegExp(`^${source}$`);
  } catch {
    throw new GantryError("invalid", `could not match targets with '${pattern}': syntax error in pattern`);
  }
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)];
}

function notFound(name: string, { groups, targets }: Definition): GantryError {
  const known = [...groups.keys(), ...targets.keys()].filter((each) => !each.startsWith("_")).slice(0, 20);
  const others = known.length === 0 ? ": the files have none" : `: there are ${known.join(", ")}`;
  return new GantryError("not-found", `failed to find target ${name}${others}`);
}
