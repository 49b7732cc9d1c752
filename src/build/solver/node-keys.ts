import { Breath } from "../../base/breath.ts";
import type { BuildRequest } from "../builder.ts";
import type { InputIngredients } from "../cache/record.ts";
import type { OperatorContext, ResolvedSource, SelectionDigest } from "../operator.ts";
import type { Root } from "../root.ts";
import { counted, definitionKey, type Ingredient, sourceKey, stepKey } from "./keys.ts";
import { isSource, type Node, selectionsOf } from "./node.ts";
import type { SolverPorts } from "./solver.ts";
import type { UnderWay } from "./under-way.ts";

export interface NodeKeysPorts extends Pick<SolverPorts, "cache" | "digest" | "operators"> {
  readonly request: BuildRequest;
  readonly underWay: UnderWay;
  readonly sourceOf: (node: Node) => Promise<ResolvedSource>;
  readonly rootOf: (node: Node) => Promise<Root | undefined>;
  readonly contextOf: (node: Node) => OperatorContext;
  readonly fail: (node: Node, error: unknown) => void;
}

/** By which keys the nodes of one build are found. Asking for a key solves no more than what is read for it. */
export class NodeKeys {
  readonly #ports: NodeKeysPorts;
  readonly #breath = new Breath();

  constructor(ports: NodeKeysPorts) {
    this.#ports = ports;
  }

  /** A key of how it is made, all the way down; undefined where only what is read says what it is. */
  definitionOf(node: Node): Promise<string | undefined> {
    node.definition ??= this.#ports.underWay.note(this.#define(node));
    return node.definition;
  }

  async #define(node: Node): Promise<string | undefined> {
    const { operation } = node.vertex;
    if (isSource(operation)) {
      const { key } = await this.#ports.sourceOf(node);
      return key === undefined ? undefined : sourceKey(operation.kind, key);
    }
    // A graph may be deeper than the stack: what is below goes on after this has returned.
    await this.#breath.take();
    const inputs = await this.#ports.underWay.all(node.inputs.map((input) => this.definitionOf(input)));
    const known = inputs.filter((key) => key !== undefined);
    return known.length < inputs.length ? undefined : definitionKey(operation, known, this.#ports.request);
  }

  /** The key of what it makes; of a folder of which only what is read counts there is none. */
  keyOf(node: Node): Promise<string> {
    node.key ??= this.#ports.underWay.note(this.#makeKey(node)).then((key) => {
      node.knownKey = key;
      return key;
    });
    return node.key;
  }

  async #makeKey(node: Node): Promise<string> {
    const { operation } = node.vertex;
    if (isSource(operation)) {
      const { key } = await this.#ports.sourceOf(node);
      if (key === undefined) throw new Error("only what is read of a folder has a key");
      return sourceKey(operation.kind, key);
    }
    const known = await this.knownKeyOf(node);
    if (known !== undefined) return known;
    const inputs = await this.#ports.underWay
      .all(node.inputs.map((_, at) => this.#ingredientsOf(node, at)))
      .catch((error: unknown) => {
        this.#ports.fail(node, error);
        throw error;
      });
    // Passwords of proxies must not be kept, nor do they count.
    node.ingredients = { operation: counted(operation), inputs: inputs.flatMap(({ told }) => told) };
    return stepKey(
      operation,
      inputs.map(({ counted }) => counted),
      this.#ports.request,
    );
  }

  /** The key of a result that is here and was made in the same way. */
  async knownKeyOf(node: Node): Promise<string | undefined> {
    if (node.hasAnew) return undefined;
    const definition = await this.definitionOf(node);
    if (definition === undefined) return undefined;
    const { cache } = this.#ports;
    const key = cache.keyOf(definition);
    return key !== undefined && cache.get(key) !== undefined ? key : undefined;
  }

  async #ingredientsOf(
    node: Node,
    at: number,
  ): Promise<{ readonly counted: readonly Ingredient[]; readonly told: readonly InputIngredients[] }> {
    const input = node.inputs[at]!;
    const { name } = input.vertex;
    const digests = await this.#selectionsOf(node, at);
    if (digests === undefined) {
      const key = await this.keyOf(input);
      return { counted: [{ key }], told: [{ name, key }] };
    }
    return {
      counted: digests.map(({ digest }) => ({ digest })),
      told: digests.map(({ digest, files }) => ({
        name,
        digest,
        ...(files !== undefined && { files: shortened(files) }),
      })),
    };
  }

  /** Digests of what is read of an input; undefined where it counts how that was made. */
  async #selectionsOf(node: Node, at: number): Promise<readonly SelectionDigest[] | undefined> {
    const { operation } = node.vertex;
    const input = node.inputs[at]!;
    const selections = selectionsOf(this.#ports.operators, operation).filter(({ input: wanted }) => wanted === at);
    const context = this.#ports.contextOf(node);
    if (selections.length > 0) {
      const root = await this.#ports.rootOf(input);
      return this.#ports.underWay.all(selections.map((selection) => selection.digest(root, context)));
    }
    if (!isSource(input.vertex.operation) || (await this.#ports.sourceOf(input)).key !== undefined) return undefined;
    const root = await this.#ports.rootOf(input);
    return [await this.#ports.digest(root, context.signal)];
  }
}

/** Enough of each digest to tell two files apart. */
function shortened(files: ReadonlyMap<string, string>): Record<string, string> {
  return Object.fromEntries([...files].map(([path, digest]) => [path, digest.replace(/^sha256:/, "").slice(0, 16)]));
}
