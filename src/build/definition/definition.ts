import { Breath } from "../../base/breath.ts";
import { messageOf } from "../../base/errors.ts";
import { decode } from "../../buildkit/message.ts";
import { type Definition, type Op, OpSchema } from "../../buildkit/operations.ts";
import { sha256Of } from "../../oci/digest.ts";
import { invalid } from "./refuse.ts";

/** What is to be built as operations that a client gave, each with those it stands on (LLB). */
export interface LowLevelDefinition {
  /** By their digests. */
  readonly operations: ReadonlyMap<string, DefinedOperation>;
  /** What is wanted; undefined is an empty root. */
  readonly result: Output | undefined;
}

export interface DefinedOperation {
  readonly digest: string;
  readonly op: Op;
  /** As the client calls it; empty where it doesn't. */
  readonly name: string;
  readonly ignoreCache: boolean;
}

/** One of the things that an operation makes. */
export interface Output {
  readonly digest: string;
  readonly index: number;
}

/** More than any client's. */
const MOST_OPERATIONS = 10_000;
const LONGEST_NAME = 1_000;
/** Of one operation, with all that it is made of: reading each takes its time. */
const MOST_FIELDS = 20_000;

/**
 * Reads a definition. Rejects with `invalid` for what is none: operations that don't say what they do, or that stand on others
 * which aren't there. By their digests no operation can stand on itself.
 */
export async function readDefinition({ def, metadata }: Definition): Promise<LowLevelDefinition> {
  if (def.length > MOST_OPERATIONS) {
    throw invalid(`it has ${def.length} operations, more than ${MOST_OPERATIONS}`);
  }
  const operations = new Map<string, DefinedOperation>();
  let last: Op | undefined;
  const breath = new Breath();
  for (const bytes of def) {
    if (breath.isDue) await breath.take();
    const digest = sha256Of(bytes);
    const op = readOperation(bytes);
    const name = (metadata[digest]?.description["llb.customname"] ?? "").slice(0, LONGEST_NAME);
    operations.set(digest, { digest, op, name, ignoreCache: metadata[digest]?.ignoreCache === true });
    last = op;
  }
  if (last === undefined) return { operations, result: undefined };
  const [result, ...more] = last.inputs;
  if (result === undefined || more.length > 0 || kindsOf(last).length > 0) {
    throw invalid("its last operation does not say what the result is");
  }
  for (const { op } of operations.values()) {
    if (breath.isDue) await breath.take();
    check(op, operations, op === last);
  }
  return { operations, result: outputOf(result) };
}

/** An operation of a client's. Throws `invalid` for bytes that are none, or that would hold up everybody else. */
export function readOperation(bytes: Uint8Array): Op {
  try {
    return decode(OpSchema, bytes, MOST_FIELDS);
  } catch (error) {
    throw invalid(messageOf(error));
  }
}

/** What an operation stands on, in order. */
export function inputsOf({ inputs }: Op): readonly Output[] {
  return inputs.map(outputOf);
}

function check(op: Op, operations: LowLevelDefinition["operations"], isLast: boolean): void {
  const kinds = kindsOf(op);
  if (!isLast && kinds.length !== 1) throw invalid("an operation says nothing of what it does, or several things");
  for (const { digest, index } of op.inputs) {
    const found = operations.get(digest);
    if (found === undefined) throw invalid(`an operation stands on ${digest.slice(0, 80)}, which is not there`);
    if (kindsOf(found.op).length === 0) throw invalid("an operation stands on what only names the result");
    if (index < 0n || index >= BigInt(MOST_OPERATIONS)) throw invalid(`there is no result ${index} of an operation`);
  }
}

function kindsOf({ build, diff, exec, file, merge, passthrough, source }: Op): readonly unknown[] {
  return [build, diff, exec, file, merge, passthrough, source].filter((one) => one !== undefined);
}

function outputOf({ digest, index }: { readonly digest: string; readonly index: bigint }): Output {
  return { digest, index: Number(index) };
}
