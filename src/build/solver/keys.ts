import { createHash } from "node:crypto";
import { sha256Of } from "../../oci/digest.ts";
import type { BuildRequest } from "../builder.ts";
import type { Operation } from "../graph.ts";

/** Results of builders with other rules are not taken. */
const VERSION = "1";

/** What stands for one input of a vertex in its key: how it was made, or what is read of it. */
export type Ingredient = { readonly key: string } | { readonly digest: string };

/** The key of a source whose contents its `resolve` knows. */
export function sourceKey(kind: string, key: string): string {
  return digestOf(["source", kind, key]);
}

/**
 * The key of what an operation makes of these inputs. Inputs are in the vertex's order; one of which several selections
 * are read has several ingredients, in their order.
 */
export function stepKey(
  operation: Operation,
  inputs: readonly (readonly Ingredient[])[],
  surroundings: Surroundings,
): string {
  return digestOf([
    "step",
    counted(operation),
    inputs.map((rows) => rows.map((row) => ("key" in row ? row.key : row.digest))),
    ...seen(operation, surroundings),
  ]);
}

/** A key that names the same result as `stepKey`, of how all inputs were made: it needs nothing solved. */
export function definitionKey(operation: Operation, inputs: readonly string[], surroundings: Surroundings): string {
  return digestOf(["definition", counted(operation), inputs, ...seen(operation, surroundings)]);
}

/** What of a build may change what its commands make. */
export type Surroundings = Pick<BuildRequest, "extraHosts" | "network">;

/** Nothing where it is as usual. */
function seen({ kind }: Operation, { extraHosts, network }: Surroundings): readonly unknown[] {
  if (kind !== "exec" || (extraHosts.length === 0 && network === "default")) return [];
  return [{ network, hosts: extraHosts.map(({ address, name }) => `${name} ${address}`).sort() }];
}

/**
 * The operation without what must not change its key, its fields in one order whoever made it. Of long files, such as
 * heredocs of megabytes, it has the digests: it is serialized for each key, and kept with what it was made of.
 */
export function counted(operation: Operation): Operation {
  const known = COUNTED.get(operation);
  if (known !== undefined) return known;
  const { proxyEnv: _proxies, ...rest } = operation as Operation & { readonly proxyEnv?: unknown };
  const made = inOrder(operation.kind === "files" ? withoutLong(operation) : rest) as Operation;
  COUNTED.set(operation, made);
  return made;
}

const COUNTED = new WeakMap<Operation, Operation>();
/** Characters. */
const LONG = 32 << 10;

function withoutLong({ actions, ...rest }: Extract<Operation, { kind: "files" }>): unknown {
  const short = actions.map((action) =>
    action.type === "mkfile" && action.data.length > LONG
      ? { ...action, data: { digest: sha256Of(action.data) } }
      : action,
  );
  return { ...rest, actions: short };
}

function digestOf(value: unknown): string {
  return `sha256:${createHash("sha256")
    .update(JSON.stringify([VERSION, value]))
    .digest("hex")}`;
}

function inOrder(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(inOrder);
  if (typeof value !== "object" || value === null) return value;
  const rows = Object.entries(value).filter(([, each]) => each !== undefined);
  return Object.fromEntries(rows.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, each]) => [key, inOrder(each)]));
}
