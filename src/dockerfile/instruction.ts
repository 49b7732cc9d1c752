import type { ImageProcess } from "../oci/image.ts";
import type { Device } from "./device.ts";
import type { Heredoc } from "./heredoc.ts";
import type { SourceFile, SourceRange } from "./source.ts";

/** A Dockerfile understood: its arguments, and its stages with their instructions. No variable is put in yet. */
export interface Dockerfile {
  readonly source: SourceFile;
  readonly escape: string;
  /** ARG before the first FROM. */
  readonly metaArgs: readonly ArgInstruction[];
  readonly includes: readonly IncludeInstruction[];
  readonly stages: readonly Stage[];
  readonly emptyContinuations: readonly SourceRange[];
}

export interface Stage {
  /** In lower case; empty if it has none. */
  readonly name: string;
  /** FROM's argument as it is written. */
  readonly base: string;
  readonly platform: string | undefined;
  /** "FROM" and "AS" in the case they are written in; and the stage's name. */
  readonly written: { readonly from: string; readonly as: string; readonly name: string };
  readonly code: string;
  readonly range: SourceRange;
  readonly comments: readonly string[];
  /** The comment above it that begins with its name. */
  readonly description: string;
  readonly instructions: readonly Instruction[];
}

interface Written {
  /** The instruction's name in the case it is written in. */
  readonly name: string;
  /** Its line, continuations joined. */
  readonly code: string;
  readonly range: SourceRange;
  readonly comments: readonly string[];
}

export type Instruction =
  | AddInstruction
  | ArgInstruction
  | CmdInstruction
  | CopyInstruction
  | EntrypointInstruction
  | EnvInstruction
  | ExposeInstruction
  | HealthcheckInstruction
  | LabelInstruction
  | MaintainerInstruction
  | OnbuildInstruction
  | RunInstruction
  | ShellInstruction
  | StopsignalInstruction
  | UserInstruction
  | VolumeInstruction
  | WorkdirInstruction;

/** What COPY and ADD share. */
export interface Transfer extends Written {
  readonly sources: readonly string[];
  /** Sources that are heredocs. */
  readonly inline: readonly InlineFile[];
  readonly target: string;
  readonly chown: string;
  readonly chmod: string;
  readonly link: boolean;
  readonly exclude: readonly string[];
}

export interface InlineFile {
  readonly name: string;
  readonly data: string;
  /** Variables are put into the data. */
  readonly expand: boolean;
}

export interface CopyInstruction extends Transfer {
  readonly kind: "copy";
  /** A stage, a context or an image; empty is the main context. */
  readonly from: string;
  readonly parents: boolean;
}

export interface AddInstruction extends Transfer {
  readonly kind: "add";
  readonly checksum: string;
  readonly keepGitDir: boolean | undefined;
  readonly unpack: boolean | undefined;
}

export interface ArgInstruction extends Written {
  readonly kind: "arg";
  readonly args: readonly Argument[];
}

export interface Argument {
  readonly name: string;
  readonly value: string | undefined;
  readonly description: string;
}

/** A command line that a shell reads, or a list of words that it doesn't. */
export interface CommandLine {
  readonly words: readonly string[];
  readonly shell: boolean;
}

export interface RunInstruction extends Written {
  readonly kind: "run";
  readonly command: CommandLine;
  readonly heredocs: readonly Heredoc[];
  /** Values of `--mount`, read by `readMount` when variables are known. */
  readonly mounts: readonly string[];
  readonly devices: readonly Device[];
  readonly network: "default" | "none" | "host";
  readonly security: "sandbox" | "insecure";
}

export interface CmdInstruction extends Written {
  readonly kind: "cmd";
  readonly command: CommandLine;
}

export interface EntrypointInstruction extends Written {
  readonly kind: "entrypoint";
  readonly command: CommandLine;
}

export interface NamedValue {
  readonly name: string;
  readonly value: string;
  /** Of the old form, without "=". */
  readonly legacy: boolean;
}

export interface EnvInstruction extends Written {
  readonly kind: "env";
  readonly pairs: readonly NamedValue[];
}

export interface LabelInstruction extends Written {
  readonly kind: "label";
  readonly pairs: readonly NamedValue[];
}

export interface ExposeInstruction extends Written {
  readonly kind: "expose";
  readonly ports: readonly string[];
}

export type Healthcheck = NonNullable<ImageProcess["Healthcheck"]>;

export interface HealthcheckInstruction extends Written {
  readonly kind: "healthcheck";
  readonly check: Healthcheck;
}

export interface MaintainerInstruction extends Written {
  readonly kind: "maintainer";
  readonly maintainer: string;
}

export interface OnbuildInstruction extends Written {
  readonly kind: "onbuild";
  /** The trigger as it is written, with its heredocs. */
  readonly expression: string;
}

export interface ShellInstruction extends Written {
  readonly kind: "shell";
  readonly shell: readonly string[];
}

export interface StopsignalInstruction extends Written {
  readonly kind: "stopsignal";
  readonly signal: string;
}

export interface UserInstruction extends Written {
  readonly kind: "user";
  readonly user: string;
}

export interface VolumeInstruction extends Written {
  readonly kind: "volume";
  readonly paths: readonly string[];
}

export interface WorkdirInstruction extends Written {
  readonly kind: "workdir";
  readonly path: string;
}

/** Gantry's own: the stages of another Dockerfile. */
export interface IncludeInstruction extends Written {
  readonly kind: "include";
  /** A named context, or `context`. */
  readonly context: string;
  readonly path: string;
  /** Put before the names of its stages, with a "-"; may be empty. */
  readonly prefix: string;
}
