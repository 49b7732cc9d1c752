import { cleanPath, quote } from "../../dockerfile/go-text.ts";
import type { AddInstruction, CopyInstruction } from "../../dockerfile/instruction.ts";
import { RULES } from "../../dockerfile/lint-rules.ts";
import { invalid } from "../../dockerfile/source.ts";
import { expandText } from "../../dockerfile/words.ts";
import { validateDigest } from "../../oci/digest-format.ts";
import { isGlob } from "../files/glob.ts";
import { modeChange } from "../files/mode.ts";
import { type GitUrl, parseGitUrl } from "../git-url.ts";
import type { FileAction, Owner } from "../graph.ts";
import type { DraftVertex } from "./draft-graph.ts";
import { inlineFile } from "./run-step.ts";
import { gitVertex } from "./sources.ts";
import type { Origin } from "./stage-state.ts";
import type { Step } from "./step.ts";
import { withUpperName } from "./step-name.ts";

type CopyAction = Extract<FileAction, { type: "copy" }>;
type Common = Pick<CopyAction, "target" | "exclude" | "owner" | "mode" | "createTarget">;

/** COPY and ADD: one vertex that changes the stage's root; with `--link` one that stands on nothing, laid on it. */
export async function planTransfer(step: Step, instruction: CopyInstruction | AddInstruction): Promise<void> {
  const { stage, expander } = step;
  const sources = instruction.sources.map((source) => expander.text(source));
  const chown = expander.text(instruction.chown);
  const chmod = expander.text(instruction.chmod);
  const written = expander.text(instruction.target);
  // As BuildKit: what gets a mode is copied onto what is there, and owners may be names of it.
  const linked = instruction.link && chmod === "" && stage.root !== undefined;
  const owner = ownerOf(chown);
  if (linked || stage.root === undefined) requireNumbers(owner);
  const name = withUpperName(shownCode(step, instruction.code));
  const draft = new TransferDraft(step, instruction, name, linked ? undefined : stage.root, {
    target: targetPath(stage.draft.config.WorkingDir || "/", written),
    exclude: instruction.exclude,
    owner,
    mode: modeOf(chmod),
    createTarget: true,
  });
  await draft.add(sources);
  for (const { name: file, data, expand } of instruction.inline) {
    draft.addInline(file, expand ? await step.expandDocument(data) : data);
  }
  const { actions, inputs } = draft;
  const root = linked || stage.root === undefined ? -1 : 0;
  let vertex = step.vertex({ kind: "files", root, actions, platform: stage.platform }, inputs, name, instruction);
  if (linked) {
    const { name: title, ...rest } = vertex;
    const below = stage.root!;
    vertex = { ...rest, name: withLink(title), operation: { kind: "merge" }, inputs: [below, vertex] };
  }
  stage.root = vertex;
  const shown = [
    ...(instruction.kind === "copy" && instruction.parents ? ["--parents"] : []),
    ...(chown === "" ? [] : [`--chown=${chown}`]),
    ...(chmod === "" ? [] : [`--chmod=${chmod}`]),
    ...sources,
    ...instruction.inline.map(({ name: file }) => `<<${file}`),
    written,
  ];
  step.commit(`${instruction.kind.toUpperCase()} ${shown.join(" ")} # buildkit`, vertex);
}

class TransferDraft {
  readonly actions: FileAction[] = [];
  readonly inputs: DraftVertex[];
  readonly #step: Step;
  readonly #instruction: CopyInstruction | AddInstruction;
  readonly #name: string;
  readonly #common: Common;
  #origin: Origin | undefined;

  constructor(
    step: Step,
    instruction: CopyInstruction | AddInstruction,
    name: string,
    root: DraftVertex | undefined,
    common: Common,
  ) {
    this.#step = step;
    this.#instruction = instruction;
    this.#name = name;
    this.#common = common;
    this.inputs = root === undefined ? [] : [root];
  }

  async add(sources: readonly string[]): Promise<void> {
    const checksum = this.#checksum(sources);
    for (const source of sources) {
      const git = parseGitUrl(source);
      if (git !== undefined) this.#addGit(git, checksum);
      else if (/^https?:\/\//.test(source)) this.#addUrl(source, checksum);
      else await this.#addLocal(source);
    }
  }

  addInline(written: string, data: string): void {
    const name = cleanPath(`/${written}`).slice(1);
    if (name === "" || name.includes("/")) throw invalid(`a file that is a heredoc cannot be named ${quote(written)}`);
    this.#push(inlineFile(this.#step, name, data, 0o644), {
      sources: [`/${name}`],
      wildcard: false,
      allowEmpty: false,
      followLinks: false,
      contentsOnly: false,
      parents: false,
      unpack: "never",
    });
  }

  #checksum(sources: readonly string[]): string {
    if (this.#instruction.kind !== "add" || this.#instruction.checksum === "") return "";
    const checksum = this.#step.expander.text(this.#instruction.checksum);
    if (checksum === "") return "";
    const [only, ...more] = sources;
    if (only === undefined || more.length > 0) throw invalid("checksum can't be specified for multiple sources");
    const isRemote = /^https?:\/\//.test(only) || parseGitUrl(only) !== undefined;
    if (!isRemote) throw invalid("checksum requires HTTP(S) or Git sources");
    return checksum;
  }

  #addGit(git: GitUrl, checksum: string): void {
    const instruction = this.#instruction;
    if (instruction.kind !== "add") throw invalid("source can't be a git ref for COPY");
    const wished = instruction.keepGitDir;
    if (wished !== undefined && git.keepGitDir !== undefined && wished !== git.keepGitDir) {
      throw invalid("inconsistent keep-git-dir configuration");
    }
    if (checksum !== "" && git.checksum !== undefined && checksum !== git.checksum) {
      throw invalid(`checksum mismatch ${quote(checksum)} != ${quote(git.checksum)}`);
    }
    const wanted = checksum === "" ? git : { ...git, checksum };
    if (wanted.checksum !== undefined && !/^[0-9a-f]{4,64}$/.test(wanted.checksum)) {
      throw invalid(`invalid checksum ${quote(wanted.checksum)} for Git source, expected hex commit hash`);
    }
    this.#push(gitVertex(wanted, wished, this.#name), {
      sources: ["/"],
      wildcard: false,
      allowEmpty: false,
      followLinks: false,
      // Its root has no name: a folder that is there takes its contents, and a new one looks like it.
      contentsOnly: false,
      parents: false,
      unpack: "never",
    });
  }

  #addUrl(url: string, checksum: string): void {
    const instruction = this.#instruction;
    if (instruction.kind !== "add") throw invalid("source can't be a URL for COPY");
    if (!URL.canParse(url)) throw invalid(`invalid URL ${quote(url)}`);
    if (checksum !== "") validateDigest(checksum);
    const filename = fileNameOf(url);
    const fetched: DraftVertex = {
      operation: { kind: "http", url, filename, ...(checksum !== "" && { checksum }) },
      inputs: [],
      name: this.#name,
      stage: "",
      site: `http/${url}`,
    };
    this.#push(fetched, {
      sources: [`/${filename}`],
      wildcard: false,
      allowEmpty: false,
      followLinks: false,
      contentsOnly: false,
      parents: false,
      unpack: instruction.unpack === true ? "auto" : "never",
    });
  }

  async #addLocal(source: string): Promise<void> {
    const instruction = this.#instruction;
    const origin = await this.#local();
    const parents = instruction.kind === "copy" && instruction.parents;
    const path = parents ? parentsPath(source) : cleanPath(`/${source}`);
    if (!isGlob(path)) throw invalid(`invalid pattern ${quote(source)}: syntax error in pattern`);
    this.#lintIgnored(source);
    origin.reads?.(path.replace("/./", "/"));
    const unpacks = instruction.kind === "add" && instruction.unpack !== false;
    this.#push(origin.root, {
      sources: [path],
      wildcard: true,
      allowEmpty: true,
      followLinks: true,
      contentsOnly: true,
      parents,
      unpack: unpacks ? "auto" : "never",
    });
  }

  async #local(): Promise<Origin> {
    const instruction = this.#instruction;
    const from = instruction.kind === "copy" ? instruction.from : "";
    if (from === "") this.#origin ??= await this.#step.context();
    else {
      const current = this.#step.stage.state.stage.name || this.#step.stage.state.label;
      const late = `cannot copy from stage ${quote(from)}, it needs to be defined before current stage ${quote(current)}`;
      this.#origin ??= await this.#step.origin(from, { numbers: true, late });
    }
    return this.#origin;
  }

  #lintIgnored(source: string): void {
    const instruction = this.#instruction;
    if (instruction.kind === "copy" && instruction.from !== "") return;
    const path = cleanPath(source);
    if (this.#step.isIgnored(path) !== true) return;
    const verb = instruction.kind === "add" ? "Add" : "Copy";
    const message = RULES.copyIgnoredFile.format(verb, path);
    this.#step.linter.report(RULES.copyIgnoredFile, message, instruction.range, source);
  }

  #push(vertex: DraftVertex | undefined, rest: Omit<CopyAction, keyof Common | "type" | "input">): void {
    this.actions.push({ type: "copy", input: this.#input(vertex), ...rest, ...this.#common });
  }

  #input(vertex: DraftVertex | undefined): number {
    if (vertex === undefined) return -1;
    const at = this.inputs.indexOf(vertex);
    return at >= 0 ? at : this.inputs.push(vertex) - 1;
  }
}

/** Absolute; what was written with a slash at its end keeps it, and the working folder has one. */
function targetPath(cwd: string, written: string): string {
  const path = cleanPath(written.startsWith("/") ? written : `/${cwd}/${written}`);
  const isFolder = written === "" || /(?:^|\/)\.?$/.test(written);
  return isFolder && path !== "/" ? `${path}/` : path;
}

/** `/before/./kept`; the part before the pivot is not kept. */
function parentsPath(source: string): string {
  const pivot = source.indexOf("/./");
  if (pivot < 0) return cleanPath(`/${source}`);
  const before = cleanPath(`/${source.slice(0, pivot)}`);
  const kept = cleanPath(`/${source.slice(pivot + 3)}`);
  return `${before === "/" ? "" : before}/.${kept}`;
}

/** The last part of the path, as it is when it is decoded. */
function fileNameOf(url: string): string {
  let path = new URL(url).pathname;
  try {
    path = decodeURIComponent(path);
  } catch {
    // What isn't well encoded is taken as it is written.
  }
  const name = path.split("/").findLast((part) => part !== "") ?? "";
  return name === "" || name === "." || name === ".." || name.includes("\0") ? "__unnamed__" : name;
}

function ownerOf(chown: string): Owner | undefined {
  if (chown === "") return undefined;
  const colon = chown.indexOf(":");
  const user = colon < 0 ? chown : chown.slice(0, colon);
  const group = colon < 0 ? undefined : chown.slice(colon + 1);
  return { user: numberOrName(user || "0"), group: group === undefined ? undefined : numberOrName(group || "0") };
}

/** What stands on nothing has no /etc/passwd. Throws `invalid`. */
export function requireNumbers(owner: Owner | undefined): void {
  const name = [owner?.user, owner?.group].find((id) => typeof id === "string");
  if (name !== undefined) throw invalid(`unable to find user or group ${name}: there are no files to look it up in`);
}

function numberOrName(text: string): string | number {
  if (!/^[0-9]+$/.test(text)) return text;
  const id = Number(text);
  if (id > 2 ** 32 - 2) throw invalid(`invalid id ${text}: it is more than ${2 ** 32 - 2}`);
  return id;
}

function modeOf(chmod: string): number | string | undefined {
  if (chmod === "") return undefined;
  if (/^[0-7]+$/.test(chmod)) {
    const mode = Number.parseInt(chmod, 8);
    if (mode <= 0o7777) return mode;
  }
  // Throws for what is no mode.
  modeChange(chmod);
  return chmod;
}

function shownCode({ stage, escaper }: Step, code: string): string {
  try {
    return expandText(code, stage.env, { escape: escaper }).text;
  } catch {
    return code;
  }
}

function withLink(name: string): string {
  return name.replace(/^((?:\[[^\]]*\] )?(?:ONBUILD )?)/, "$1LINK ");
}
