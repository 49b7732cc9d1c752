import { posix } from "node:path";
import type { ChownOpt, FileAction as DefinedAction, FileOp, UserOpt } from "../../buildkit/operations.ts";
import type { FileAction, FilesOperation, Owner } from "../graph.ts";
import type { DraftVertex } from "../plan/draft-graph.ts";
import { changedRoot, emptyRoot, type PlannedRoot, type Surroundings, standing } from "./planned-root.ts";
import { invalid, unsupported } from "./refuse.ts";

const EMPTY = -1;

/**
 * What file operations make, by the numbers that others know them by. Each stands on an input or on what another made;
 * those that stand on each other in a line become one layer.
 */
export function fileRoots(
  { actions }: FileOp,
  inputs: readonly PlannedRoot[],
  surroundings: Surroundings,
): ReadonlyMap<number, PlannedRoot> {
  const users = new Map<number, number>();
  const use = (index: bigint) => users.set(Number(index), (users.get(Number(index)) ?? 0) + 1);
  for (const [at, action] of actions.entries()) {
    const most = BigInt(inputs.length + at);
    for (const index of readBy(action)) {
      if (index < -1n || index >= most) throw invalid(`there is no input ${index}`);
      use(index);
    }
  }
  const lines: Line[] = [];
  const roots = new Map<number, PlannedRoot>();
  for (const action of actions) {
    const on = Number(action.input);
    const former = lines[on - inputs.length];
    const isNext = former !== undefined && users.get(on) === 1 && actions[on - inputs.length]!.output < 0n;
    const rootOf = (index: number): PlannedRoot => {
      if (index === EMPTY) return emptyRoot(surroundings.platform);
      return inputs[index] ?? lines[index - inputs.length]!.root();
    };
    const line = isNext ? former : new Line(standing(rootOf(on)), on, surroundings);
    line.add(action, isNext, rootOf);
    lines.push(line);
    if (action.output >= 0n) roots.set(Number(action.output), line.root());
  }
  return roots;
}

function readBy({ copy, input, secondaryInput }: DefinedAction): readonly bigint[] {
  return copy === undefined ? [input] : [input, secondaryInput];
}

/** Actions on one root, one after the other. */
class Line {
  readonly #base: PlannedRoot;
  /** The number of what it stands on. */
  readonly #on: number;
  readonly #surroundings: Surroundings;
  readonly #actions: FileAction[] = [];
  readonly #inputs: DraftVertex[];
  #made: PlannedRoot | undefined;

  constructor(base: PlannedRoot, on: number, surroundings: Surroundings) {
    this.#base = base;
    this.#on = on;
    this.#surroundings = surroundings;
    this.#inputs = base.vertex === undefined ? [] : [base.vertex];
  }

  add(action: DefinedAction, isNext: boolean, rootOf: (index: number) => PlannedRoot): void {
    const owner = (wish: ChownOpt | undefined) => ownerOf(wish, [this.#on, ...(isNext ? [Number(action.input)] : [])]);
    this.#actions.push(
      actionOf(action, owner, (index) => {
        const { vertex } = rootOf(Number(index));
        // Its root is an input of its own also where the same is read, of which the contents count.
        return vertex === undefined ? EMPTY : this.#inputs.push(vertex) - 1;
      }),
    );
  }

  root(): PlannedRoot {
    this.#made ??= this.#make();
    return this.#made;
  }

  #make(): PlannedRoot {
    const { ignoreCache, name, platform } = this.#surroundings;
    const actions = this.#actions;
    const operation: FilesOperation = {
      kind: "files",
      root: this.#base.vertex === undefined ? EMPTY : 0,
      actions,
      platform,
    };
    const title = name || actions.map(shown).join(", ").slice(0, 500);
    return changedRoot(this.#base, {
      ...{ operation, inputs: this.#inputs, name: title, stage: "", site: `definition/${title}` },
      ...(ignoreCache && { ignoreCache }),
    });
  }
}

type OwnerOf = (wish: ChownOpt | undefined) => Owner | undefined;

function actionOf(action: DefinedAction, owner: OwnerOf, add: (index: bigint) => number): FileAction {
  const { copy, mkdir, mkfile, rm, symlink } = action;
  const all = [copy, mkdir, mkfile, rm, symlink].filter((one) => one !== undefined);
  if (all.length !== 1) throw invalid("a file operation does nothing, or several things");
  if (copy !== undefined) return copied(copy, owner, add(action.secondaryInput));
  if (mkfile !== undefined) {
    refuseTime(mkfile.timestamp);
    const text = Buffer.from(mkfile.data);
    const isText = text.equals(Buffer.from(text.toString("utf8")));
    return {
      ...{ type: "mkfile", target: absolute(mkfile.path), data: text.toString(isText ? "utf8" : "base64") },
      ...(!isText && { encoding: "base64" as const }),
      ...{ mode: mkfile.mode & 0o777, owner: owner(mkfile.owner) },
    };
  }
  if (mkdir !== undefined) {
    refuseTime(mkdir.timestamp);
    return { type: "mkdir", path: absolute(mkdir.path), mode: mkdir.mode & 0o777, owner: owner(mkdir.owner) };
  }
  if (symlink !== undefined) {
    refuseTime(symlink.timestamp);
    return { type: "symlink", path: absolute(symlink.newpath), leads: symlink.oldpath, owner: owner(symlink.owner) };
  }
  const { allowNotFound, allowWildcard, path } = rm!;
  if (absolute(path) === "/") throw invalid("a root can't be removed");
  return { type: "remove", path: absolute(path), wildcard: allowWildcard, allowMissing: allowNotFound };
}

function copied(copy: NonNullable<DefinedAction["copy"]>, owner: OwnerOf, input: number): FileAction {
  refuseTime(copy.timestamp);
  if (copy.includePatterns.length > 0) throw unsupported("include patterns of a copy");
  if (copy.requiredPaths.length > 0) throw unsupported("paths that a copy requires");
  if (copy.alwaysReplaceExistingDestPaths) throw unsupported("copies that replace folders");
  return {
    type: "copy",
    input,
    sources: [absolute(copy.src)],
    target: copy.dest.endsWith("/") && absolute(copy.dest) !== "/" ? `${absolute(copy.dest)}/` : absolute(copy.dest),
    wildcard: copy.allowWildcard,
    allowEmpty: copy.allowEmptyWildcard,
    followLinks: copy.followSymlink,
    contentsOnly: copy.dirCopyContents,
    createTarget: copy.createDestPath,
    parents: false,
    exclude: copy.excludePatterns,
    unpack: copy.attemptUnpackDockerCompatibility ? "auto" : "never",
    owner: owner(copy.owner),
    mode: copy.modeStr === "" ? (copy.mode < 0 ? undefined : copy.mode & 0o7777) : copy.modeStr,
  };
}

/** Names are looked up in what an operation stands on; `known` are its numbers. */
function ownerOf(wish: ChownOpt | undefined, known: readonly number[]): Owner | undefined {
  if (wish === undefined) return undefined;
  const idOf = (option: UserOpt | undefined): string | number | undefined => {
    if (option?.user.case === "byID") return option.user.value;
    if (option?.user.case !== "byName") return undefined;
    const { input, name } = option.user.value;
    if (!known.includes(Number(input)))
      throw unsupported("owners by names of another root than the one that is changed");
    return name;
  };
  const [user, group] = [idOf(wish.user), idOf(wish.group)];
  return user === undefined && group === undefined ? undefined : { user: user ?? 0, group };
}

function refuseTime(nanoseconds: bigint): void {
  if (nanoseconds !== -1n) throw unsupported("times of files");
}

function absolute(path: string): string {
  return posix.resolve("/", path);
}

function shown(action: FileAction): string {
  switch (action.type) {
    case "copy":
      return `copy ${action.sources.join(" ")} ${action.target}`;
    case "mkfile":
      return `mkfile ${action.target}`;
    case "mkdir":
      return `mkdir ${action.path}`;
    case "symlink":
      return `symlink ${action.leads} ${action.path}`;
    case "remove":
      return `rm ${action.path}`;
  }
}
