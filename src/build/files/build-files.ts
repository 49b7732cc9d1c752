import { isKind } from "../../base/errors.ts";
import type { FilesOperation, InputIndex } from "../graph.ts";
import { MissingSource } from "../missing.ts";
import type { Operator, OperatorContext, Selection, SelectionDigest } from "../operator.ts";
import type { BuildFiles } from "../parts.ts";
import type { OpenRoot, Root } from "../root.ts";
import type { Reading } from "./digest.ts";
import { doOrder } from "./job.ts";
import type { FilesOrder } from "./messages.ts";
import { Remembered } from "./remembered.ts";
import { isSmall, readingsOf } from "./small.ts";
import { FilesThreads } from "./threads.ts";

const LOG = 2;

/** COPY, ADD and WORKDIR, and digests of what is read. */
export class Files implements BuildFiles {
  readonly #threads: FilesThreads;
  readonly #remembered = new Remembered();

  /** `worker` is the path of worker.ts, or of what it was bundled to. */
  constructor({ worker }: { readonly worker: string }) {
    this.#threads = new FilesThreads(worker);
  }

  readonly operator: Operator<FilesOperation> = {
    selections: (operation) => this.#selections(operation),
    run: (operation, work, context) => this.#run(operation, work.root, work.inputs, context),
  };

  digest(root: Root | undefined, signal: AbortSignal, path = "/"): Promise<SelectionDigest> {
    return this.#digest(root, allOf(path), signal);
  }

  close(): Promise<void> {
    return this.#threads.close();
  }

  /** One for each input, of all that the actions read of it. */
  #selections(operation: FilesOperation): Selection[] {
    const byInput = new Map<InputIndex, Reading[]>();
    for (const { input, reading } of readingsOf(operation)) {
      if (input < 0) continue;
      const { sources, wildcard, allowEmpty, followLinks, parents, exclude, contentsOnly } = reading;
      const read = { sources, wildcard, allowEmpty, followLinks, parents, exclude, withFolder: !contentsOnly };
      byInput.set(input, [...(byInput.get(input) ?? []), read]);
    }
    return [...byInput].map(([input, readings]) => ({
      input,
      digest: async (root, { signal }) => {
        const digests = [];
        for (const reading of readings) digests.push(await this.#digest(root, reading, signal));
        return together(digests);
      },
    }));
  }

  async #digest(root: Root | undefined, reading: Reading, signal: AbortSignal): Promise<SelectionDigest> {
    const before = this.#remembered.get(root, reading);
    if (before !== undefined) return before;
    try {
      await using open = await root?.open();
      const order: FilesOrder = { do: "digest", reading, root: open?.path };
      const context = { signal, onWarning: () => {} };
      // What is known of a folder is known to this thread.
      const isHere = (root?.index?.isComplete ?? root?.index !== undefined) || isSmall([{ root: open?.path, reading }]);
      const known = {
        get: (path: string) => root?.index?.digest(path)?.slice("sha256:".length),
        set: () => {},
        isPlain: (path: string) => root?.index?.isPlain?.(path) === true,
        contents: async (folder: string, least: number) => root?.index?.contents?.(folder, least),
      };
      const outcome = isHere ? await doOrder(order, context, known) : await this.#threads.run(order, context);
      const digest = { digest: outcome.digest ?? "", files: outcome.files && new Map(outcome.files) };
      this.#remembered.set(root, reading, digest);
      return digest;
    } catch (error) {
      throw missingSource(root, error);
    }
  }

  async #run(
    operation: FilesOperation,
    root: string,
    inputs: readonly (Root | undefined)[],
    context: OperatorContext,
  ): Promise<void> {
    await using stack = new AsyncDisposableStack();
    const open: (OpenRoot | undefined)[] = [];
    const read = new Set(readingsOf(operation).map(({ input }) => input));
    for (const [index, input] of inputs.entries()) {
      open.push(input === undefined || !read.has(index) ? undefined : stack.use(await input.open()));
    }
    const paths = open.map((one) => one?.path);
    const order: FilesOrder = { do: "actions", operation, root, inputs: paths };
    const { vertex, signal, onEvent } = context;
    const onWarning = (text: string): void => {
      const data = Buffer.from(`${text}\n`);
      void onEvent({ type: "log", log: { vertex: vertex.id, stream: LOG, data, timestamp: Date.now() } });
    };
    const readings = readingsOf(operation).map(({ input, reading }) => ({ root: paths[input], reading }));
    try {
      if (isSmall(readings)) await doOrder(order, { signal, onWarning });
      else await this.#threads.run(order, { signal, onWarning });
    } catch (error) {
      throw missingSource(undefined, error);
    }
  }
}

/** A thing and all that is in it. */
function allOf(path: string): Reading {
  return {
    sources: [path],
    wildcard: false,
    allowEmpty: false,
    followLinks: true,
    parents: false,
    exclude: [],
    withFolder: true,
  };
}

function together(digests: readonly SelectionDigest[]): SelectionDigest {
  const [first] = digests;
  if (first !== undefined && digests.length === 1) return first;
  const files = new Map<string, string>();
  let isWhole = true;
  for (const each of digests) {
    if (each.files === undefined) isWhole = false;
    else for (const [path, digest] of each.files) files.set(path, digest);
  }
  return { digest: digests.map(({ digest }) => digest).join(" "), files: isWhole ? files : undefined };
}

/** A source that isn't there, as what it is. */
function missingSource(root: Root | undefined, error: unknown): unknown {
  if (!isKind(error, "not-found") || !("path" in error) || typeof error.path !== "string") return error;
  return new MissingSource(root?.snapshot ?? "context", error.path, error);
}
