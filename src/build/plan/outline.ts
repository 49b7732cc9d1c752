import type { SourceFile, SourceRange } from "../../dockerfile/source.ts";

/** What a stage can be given: arguments, secrets and agents, for `--call=outline`. */
export interface Outline {
  /** Of what the stage stands on. */
  readonly below: Outline | undefined;
  readonly args: Map<string, OutlineArg>;
  readonly used: Set<string>;
  readonly secrets: Map<string, OutlineNeed>;
  readonly agents: Map<string, OutlineNeed>;
}

export interface OutlineArg {
  readonly name: string;
  readonly value: string;
  readonly description: string;
  readonly source: SourceFile;
  readonly range: SourceRange;
  /** Arguments in its default. */
  readonly needs: ReadonlySet<string>;
}

export interface OutlineNeed {
  readonly name: string;
  readonly required: boolean;
  readonly source: SourceFile;
  readonly range: SourceRange;
}

/** One that begins with all that another holds. */
export function outlineOn(below: Outline | undefined): Outline {
  return { below, args: new Map(), used: new Set(), secrets: new Map(), agents: new Map() };
}

/** The arguments that are used, with those that their defaults need. */
export function usedArgs(outline: Outline): OutlineArg[] {
  const seen = new Set<string>();
  const pending = layersOf(outline).flatMap(({ used }) => [...used]);
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (seen.has(name)) continue;
    seen.add(name);
    pending.push(...(argOf(outline, name)?.needs ?? []));
  }
  return [...seen].map((name) => argOf(outline, name)).filter((arg) => arg !== undefined);
}

/** What the uppermost says of an argument. */
function argOf(outline: Outline, name: string): OutlineArg | undefined {
  for (let one: Outline | undefined = outline; one !== undefined; one = one.below) {
    const arg = one.args.get(name);
    if (arg !== undefined) return arg;
  }
  return undefined;
}

/** Secrets or agents, each name once, the lowest first. */
export function needsOf(outline: Outline, kind: "secrets" | "agents"): OutlineNeed[] {
  const needs = new Map<string, OutlineNeed>();
  for (const one of layersOf(outline)) {
    for (const need of one[kind].values()) if (!needs.has(need.name)) needs.set(need.name, need);
  }
  return [...needs.values()];
}

/** From the lowest to the uppermost. */
function layersOf(outline: Outline): Outline[] {
  const layers = [];
  for (let one: Outline | undefined = outline; one !== undefined; one = one.below) layers.push(one);
  return layers.toReversed();
}
