import type { ConfigDraft } from "../../dockerfile/config-effect.ts";
import type { Argument, Instruction, Stage } from "../../dockerfile/instruction.ts";
import type { Linter } from "../../dockerfile/linter.ts";
import type { SourceRange } from "../../dockerfile/source.ts";
import type { Platform } from "../../oci/image.ts";
import type { PlannedHistory } from "../graph.ts";
import type { DraftVertex } from "./draft-graph.ts";
import type { ExpansionBudget } from "./expansion-budget.ts";
import type { LoadedFile } from "./loaded-file.ts";
import type { Outline } from "./outline.ts";

/** One Dockerfile's stages, for one platform. Those of another file are another scope. */
export interface FileScope {
  readonly file: LoadedFile;
  readonly linter: Linter;
  readonly budget: ExpansionBudget;
  /** Meta arguments and those of the platforms. */
  readonly globals: Map<string, string>;
  /** What `--from=<number>` counts. */
  readonly stages: StageState[];
  /** The last of each name. */
  readonly byName: Map<string, StageState>;
  readonly outline: Outline;
}

/** A row of history whose layer, if it has one, is a vertex that has no id yet. */
export interface DraftHistory extends Omit<PlannedHistory, "vertex"> {
  readonly vertex?: DraftVertex;
}

/** A root filesystem that a stage begins with or copies from. */
export interface Origin {
  /** undefined is an empty root. */
  readonly root: DraftVertex | undefined;
  readonly platform: Platform;
  /** The image it is; a folder has none. */
  readonly image?: OriginImage;
  /** Of a folder: says that a path of it is read. */
  readonly reads?: (path: string) => void;
}

export interface OriginImage {
  readonly draft: ConfigDraft;
  readonly platform: Platform;
  readonly history: readonly DraftHistory[];
  readonly base?: { readonly reference: string; readonly id: string };
}

/** A stage on its way from what is written to a vertex. */
export interface StageState {
  readonly scope: FileScope;
  readonly stage: Stage;
  /** Its order among all; a stage reads only what is before it. */
  readonly position: number;
  /** As progress shows it: its name or `stage-<n>`; empty for the only one. */
  label: string;
  /** FROM's argument with variables put in. */
  readonly baseName: string;
  /** FROM names an earlier stage. */
  readonly base: StageState | undefined;
  /** FROM's `--platform`. */
  readonly platform: Platform | undefined;
  /** A named context of the stage's name stands for all of it. */
  readonly replacedBy: string | undefined;
  readonly outline: Outline;
  /** Stages that it was found to read, with the last lines that do. */
  readonly reads: Map<StageState, SourceRange>;
  planning: Promise<PlannedStage> | undefined;
}

/** What a stage is at some instruction, and in the end. */
export interface PlannedStage {
  readonly state: StageState;
  platform: Platform;
  /** Of the image that it becomes. */
  imagePlatform: Platform;
  root: DraftVertex | undefined;
  readonly draft: ConfigDraft;
  /** Environment of steps: that of the config, and arguments. */
  readonly env: Map<string, string>;
  readonly declared: Argument[];
  readonly history: DraftHistory[];
  /** Characters of the history's rows. */
  historySize: number;
  /** Of the image, those of its base included. */
  layers: number;
  readonly base: OriginImage["base"];
  /** Some WORKDIR of this build set it. */
  workdirSet: boolean;
  /** Where CMD, ENTRYPOINT and HEALTHCHECK were, of this stage. */
  readonly last: Map<Instruction["kind"], SourceRange>;
  /** Triggers of the base, then its own. */
  readonly steps: StepCounter;
  readonly ignoreCache: boolean;
}

/** Which step of how many, for names. */
export interface StepCounter {
  done: number;
  total: number;
  /** The step comes from a trigger. */
  onbuild: boolean;
}

/** A stage and all that it stands on or reads: each before what it needs, its base before what it copies from. */
export function stagesFrom(target: StageState): ReadonlySet<StageState> {
  const seen = new Set<StageState>();
  const pending = [target];
  for (let state = pending.pop(); state !== undefined; state = pending.pop()) {
    if (seen.has(state)) continue;
    seen.add(state);
    pending.push(...[...state.reads.keys()].reverse(), ...(state.base === undefined ? [] : [state.base]));
  }
  return seen;
}
