import { GantryError } from "../base/errors.ts";
import { composeBody, isCompose } from "./compose.ts";
import { BLOCKS, type Definition, define } from "./definition.ts";
import { parseJsonHcl } from "./hcl/json.ts";
import { parseHcl } from "./hcl/parse.ts";
import type { Body } from "./hcl/syntax.ts";
import { type Override, override, parseOverride } from "./override.ts";
import { layOver, shownTarget, type Target } from "./target.ts";

export { HclError } from "./hcl/error.ts";

/** A file as it was read; later ones are laid over earlier ones. */
export interface BakeFile {
  readonly name: string;
  readonly text: string;
}

/** What the files may ask about this machine. */
export interface BakeSurroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** `linux/amd64`: what BAKE_LOCAL_PLATFORM says. */
  readonly localPlatform: string;
}

export interface BakeOptions extends BakeSurroundings {
  /** Names of targets and groups, with `*` and `?`; none means `default`. */
  readonly names: readonly string[];
  /** Values of `--set`. */
  readonly overrides: readonly string[];
}

export interface Bake {
  /** What was asked for, groups as the targets they have. */
  readonly groups: ReadonlyMap<string, readonly string[]>;
  /** All that has to be built, those that others take as a context before them. */
  readonly targets: ReadonlyMap<string, BakeTarget>;
  readonly definition: Definition;
}

export interface BakeTarget {
  readonly target: Target;
  /** It was not asked for by name: another target takes it as a context. */
  readonly linked: boolean;
}

/** The files that are read where none is named, in this order. */
export const DEFAULT_FILES: readonly string[] = [
  "compose.yaml",
  "compose.yml",
  "docker-compose.yml",
  "docker-compose.yaml",
  "docker-bake.json",
  "docker-bake.hcl",
  "docker-bake.override.json",
  "docker-bake.override.hcl",
];

/** What there is to build. Throws invalid (an `HclError` names the place). */
export function readDefinition(files: readonly BakeFile[], { env, localPlatform }: BakeSurroundings): Definition {
  const builtin = new Map([
    ["BAKE_CMD_CONTEXT", "cwd://"],
    ["BAKE_LOCAL_PLATFORM", localPlatform],
  ]);
  const bodies = files.map((file) => bodyOf(file, env));
  return define(bodies, (name) => env[name], builtin);
}

/** Says what is to be built. Throws invalid (an `HclError` names the place) or not-found. */
export function readBake(files: readonly BakeFile[], options: BakeOptions): Bake {
  const definition = readDefinition(files, options);
  const env = (name: string): string | undefined => options.env[name];
  const overrides = options.overrides.flatMap((text) => {
    const one = parseOverride(text, env);
    return one === undefined ? [] : [one];
  });
  return new Chooser(definition, overrides).choose(options.names.length === 0 ? ["default"] : options.names);
}

function bodyOf(file: BakeFile, env: Readonly<Record<string, string | undefined>>): Body {
  if (isCompose(file)) return parseJsonHcl(composeBody(file, env), BLOCKS);
  if (file.name.toLowerCase().endsWith(".json") || /^\s*\{/.test(file.text)) return parseJsonHcl(file, BLOCKS);
  return parseHcl(file);
}

class Chooser {
  readonly #definition: Definition;
  readonly #overrides: readonly Override[];
  readonly #chosen = new Map<string, BakeTarget>();

  constructor(definition: Definition, overrides: readonly Override[]) {
    this.#definition = definition;
    this.#overrides = overrides;
    for (const { pattern } of overrides) {
      if (this.#matching(pattern).length === 0) throw notFound(pattern, definition);
    }
  }

  choose(names: readonly string[]): Bake {
    const groups = new Map<string, readonly string[]>();
    const all: string[] = [];
    for (const name of names.flatMap((pattern) => this.#named(pattern))) {
      const targets = unique(this.#expanded(name, []));
      if (this.#definition.groups.has(name)) groups.set(name, targets);
      all.push(...targets);
    }
    for (const name of unique(all)) this.#add(name, false, []);
    if (!groups.has("default")) groups.set("default", unique(all));
    return { groups, targets: this.#chosen, definition: this.#definition };
  }

  /** Names as they are, or those that a pattern means. */
  #named(pattern: string): string[] {
    const { groups, targets } = this.#definition;
    if (groups.has(pattern) || targets.has(pattern)) return [pattern];
    const matching = this.#matching(pattern);
    if (matching.length > 0) return matching;
    throw notFound(pattern, this.#definition);
  }

  #matching(pattern: string): string[] {
    const names = [...this.#definition.targets.keys()];
    const { groups } = this.#definition;
    if (groups.has(pattern)) return this.#expanded(pattern, []);
    const expression = new RegExp(`^${pattern.replace(/[\\^$.*+?()[\]{}|]/g, wildcard)}$`);
    return names.filter((name) => expression.test(name));
  }

  #expanded(name: string, above: readonly string[]): string[] {
    const { groups, targets } = this.#definition;
    const group = groups.get(name);
    if (group === undefined || above.includes(name)) {
      if (!targets.has(name)) throw notFound(name, this.#definition);
      return [name];
    }
    return group.targets.flatMap((each) => this.#expanded(each, [...above, name]));
  }

  #add(name: string, linked: boolean, above: readonly string[]): void {
    const former = this.#chosen.get(name);
    if (former !== undefined && (linked || !former.linked)) return;
    if (above.includes(name)) {
      throw new GantryError("invalid", `infinite loop from ${name} to ${name}: ${[...above, name].join(" → ")}`);
    }
    const target = this.#resolved(name);
    for (const context of Object.values(target.contexts ?? {})) {
      if (!context.startsWith("target:")) continue;
      const other = context.slice("target:".length);
      if (!this.#definition.targets.has(other)) {
        throw new GantryError("not-found", `failed to find target ${other}, which target ${name} takes as a context`);
      }
      this.#add(other, true, [...above, name]);
    }
    this.#chosen.delete(name);
    this.#chosen.set(name, { target, linked });
  }

  #resolved(name: string): Target {
    const own = this.#inherited(name, []);
    const overrides = this.#overrides.filter(({ pattern }) => this.#matching(pattern).includes(name));
    return { context: ".", dockerfile: "Dockerfile", ...override(own, overrides) };
  }

  #inherited(name: string, above: readonly string[]): Target {
    const defined = this.#definition.targets.get(name);
    if (defined === undefined) throw notFound(name, this.#definition);
    if (above.includes(name)) {
      throw new GantryError("invalid", `target ${name} inherits from itself: ${[...above, name].join(" → ")}`);
    }
    const parents = defined.inherits.map((parent) => this.#inherited(parent, [...above, name]));
    return [...parents, defined.own].reduce(layOver, {});
  }
}

function wildcard(character: string): string {
  if (character === "*") return ".*";
  return character === "?" ? "." : `\\${character}`;
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)];
}

function notFound(name: string, { groups, targets }: Definition): GantryError {
  const known = [...groups.keys(), ...targets.keys()].slice(0, 20).join(", ");
  return new GantryError(
    "not-found",
    `failed to find target ${name}${known === "" ? ": the files have none" : `: there are ${known}`}`,
  );
}

/** As `--print` shows it: JSON that is a Bake file again. */
export function showBake({ groups, targets }: Bake): string {
  const shown = {
    group: Object.fromEntries([...groups].map(([name, members]) => [name, { targets: members }])),
    target: Object.fromEntries([...targets].map(([name, { target }]) => [name, shownTarget(target)])),
  };
  return `${JSON.stringify(shown, undefined, 2)}\n`;
}
