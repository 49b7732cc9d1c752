import type { SourceFile, SourceRange } from "../../dockerfile/source.ts";

/** What a stage can be given: arguments, secrets and agents, for `--call=outline`. */
export interface Outline {
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

export function emptyOutline(): Outline {
  return { args: new Map(), used: new Set(), secrets: new Map(), agents: new Map() };
}

export function copyOfOutline(outline: Outline): Outline {
  return {
    args: new Map(outline.args),
    used: new Set(outline.used),
    secrets: new Map(outline.secrets),
    agents: new Map(outline.agents),
  };
}

/** The arguments that are used, with those that their defaults need. */
export function usedArgs({ args, used }: Outline): OutlineArg[] {
  const seen = new Set<string>();
  const pending = [...used];
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (seen.has(name)) continue;
    seen.add(name);
    pending.push(...(args.get(name)?.needs ?? []));
  }
  return [...seen].map((name) => args.get(name)).filter((arg) => arg !== undefined);
}
