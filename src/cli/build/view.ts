import { GantryError } from "../../base/errors.ts";
import type { StatusResponse } from "../../buildkit/control.ts";
import { writeAll } from "../output/print.ts";
import { isScreen } from "../streams/terminal.ts";
import { coloursOf } from "./progress/colours.ts";
import type { Display } from "./progress/display.ts";
import { BuildModel, type Step } from "./progress/model.ts";
import { Picture } from "./progress/picture.ts";
import { PlainDisplay } from "./progress/plain.ts";
import { RawJsonDisplay } from "./progress/raw-json.ts";

export type ProgressKind = "auto" | "plain" | "tty" | "rawjson" | "quiet" | "none";

/** How a build is told to its user, and what is known of it. */
export interface View {
  readonly kind: ProgressKind;
  readonly model: BuildModel;
  show(status: StatusResponse): void;
  /** The step of a digest, as the build that it is of names it. */
  step(digest: string | undefined): Step | undefined;
  finish(failed: boolean): void;
}

/** One build's own, on a file descriptor. Throws invalid where a terminal is asked for and there is none. */
export function openView(kind: ProgressKind, fd: 1 | 2 = 2): View {
  const model = new BuildModel();
  const display = displayOf(kind, model, fd);
  return {
    kind,
    model,
    show: (status) => display.show(status),
    step: (digest) => model.steps.get(digest ?? "") ?? model.all.find(({ error }) => error !== ""),
    finish: (failed) => display.finish(failed),
  };
}

/** One picture of several builds at once, each with a name before its steps. */
export class SharedView {
  readonly #view: View;

  constructor(kind: ProgressKind) {
    this.#view = openView(kind);
  }

  get model(): BuildModel {
    return this.#view.model;
  }

  /** A build's part of it; one without a name is all of it. */
  part(name: string): View {
    const own = (digest: string): string => (digest === "" || name === "" ? digest : `${name}/${digest}`);
    return {
      kind: this.#view.kind,
      model: this.#view.model,
      show: (status) => this.#view.show(name === "" ? status : named(status, name, own)),
      step: (digest) =>
        this.#view.model.steps.get(own(digest ?? "")) ??
        this.#view.model.all.find((step) => step.digest.startsWith(own(" ").trim()) && step.error !== ""),
      finish: () => {},
    };
  }

  finish(failed: boolean): void {
    this.#view.finish(failed);
  }
}

function named(status: StatusResponse, name: string, own: (digest: string) => string): StatusResponse {
  const titled = (text: string): string => (text.startsWith("[") ? `[${name} ${text.slice(1)}` : `[${name}] ${text}`);
  return {
    ...status,
    vertexes: status.vertexes.map((vertex) => ({
      ...vertex,
      digest: own(vertex.digest),
      inputs: vertex.inputs.map(own),
      name: titled(vertex.name),
    })),
    statuses: status.statuses.map((row) => ({ ...row, vertex: own(row.vertex) })),
    logs: status.logs.map((row) => ({ ...row, vertex: own(row.vertex) })),
    warnings: status.warnings.map((row) => ({ ...row, vertex: own(row.vertex) })),
  };
}

function displayOf(kind: ProgressKind, model: BuildModel, fd: 1 | 2): Display {
  const silent: Display = { show: (status) => void model.apply(status), finish: () => {} };
  if (kind === "quiet" || kind === "none") return silent;
  if (kind === "rawjson") return new RawJsonDisplay((text) => writeAll(fd, text));
  const onScreen = kind === "tty" || (kind === "auto" && isScreen(fd));
  if (kind === "tty" && !isScreen(fd))
    throw new GantryError("invalid", "failed to get console: standard error is no terminal");
  if (!onScreen)
    return new PlainDisplay(model, (text) => writeAll(fd, text), { truncates: process.env.PROGRESS_NO_TRUNC === "0" });
  const output = {
    write: (text: string) => writeAll(fd, text),
    size: () => ({ columns: process.stderr.columns || 80, rows: process.stderr.rows || 24 }),
  };
  const {
    NO_COLOR = "",
    BUILDKIT_COLORS = "",
    BUILDKIT_TTY_LOG_LINES = "",
    LC_ALL = "",
    LC_CTYPE = "",
    LANG = "",
  } = process.env;
  const unicode = /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG);
  return new Picture(model, output, {
    colours: NO_COLOR === "" ? coloursOf(BUILDKIT_COLORS) : undefined,
    unicode,
    tail: Number(BUILDKIT_TTY_LOG_LINES) || undefined,
  });
}
