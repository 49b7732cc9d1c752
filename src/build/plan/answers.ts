import { excerptOf } from "../../dockerfile/excerpt.ts";
import type { LintWarning } from "../../dockerfile/linter.ts";
import { DockerfileError, type SourceFile, type SourceRange } from "../../dockerfile/source.ts";
import type { LoadedFile } from "./loaded-file.ts";
import { needsOf, type OutlineArg, type OutlineNeed, usedArgs } from "./outline.ts";
import { type StageState, stagesFrom } from "./stage-state.ts";
import type { PlanAnswer } from "./types.ts";

/** Answers to `--call`, in the shapes of BuildKit's subrequests. */

/** `--call=check`: warnings, and the error that ended the planning, if one did. */
export function checkAnswer(main: SourceFile, warnings: readonly LintWarning[], failure: unknown): PlanAnswer {
  const sorted = warnings.toSorted(
    (a, b) =>
      compare(a.source.name, b.source.name) || a.range.start - b.range.start || compare(a.rule.name, b.rule.name),
  );
  const sources = new SourceList(main);
  const rows = sorted.map(({ rule, message, source, range }) => ({
    ruleName: rule.name,
    description: rule.description,
    ...(rule.url !== "" && { url: rule.url }),
    detail: message,
    location: sources.location(source, range),
  }));
  const buildError = failure === undefined ? undefined : errorRow(failure, sources);
  const text = sorted.map(
    ({ rule, message, source, range, offending }) =>
      `\nWARNING: ${rule.name}${rule.url === "" ? "" : ` - ${rule.url}`}\n${message}\n` +
      excerptOf({ source, range, ...(offending !== undefined && { offending }) }),
  );
  if (failure !== undefined) text.push(`\nERROR: ${messageOf(failure)}\n${excerptOfError(failure)}`);
  const json = { warnings: rows, sources: sources.rows(), ...(buildError !== undefined && { buildError }) };
  const code = rows.length > 0 || buildError !== undefined ? 1 : 0;
  return { text: text.join(""), json: JSON.stringify(json, undefined, 2), code };
}

/** `--call=targets`: the stages that can be built. */
export function targetsAnswer(file: LoadedFile): PlanAnswer {
  const { stages, source } = file.dockerfile;
  const targets = stages.map((stage, index) => ({
    ...(stage.name !== "" && { name: stage.name }),
    ...(index === stages.length - 1 && { default: true }),
    ...(stage.description !== "" && { description: stage.description }),
    base: stage.base,
    ...(stage.platform !== undefined && { platform: stage.platform }),
    location: { ranges: ranges(stage.range) },
  }));
  const rows = targets.map(({ name = "", default: isDefault, description = "" }) => {
    const shown = isDefault ? (name === "" ? "(default)" : `${name} (default)`) : name;
    return [shown, description];
  });
  const json = { targets, sources: [base64(source.text)] };
  return { text: table([["TARGET", "DESCRIPTION"], ...rows], 1), json: JSON.stringify(json, undefined, 2), code: 0 };
}

/** `--call=outline`: what the target can be given. */
export function outlineAnswer(target: StageState): PlanAnswer {
  const args = byLine(collected(target, ({ outline }) => usedArgs(outline)));
  const secrets = byLine(collected(target, ({ outline }) => needsOf(outline, "secrets")));
  const agents = byLine(collected(target, ({ outline }) => needsOf(outline, "agents")));
  const { name, description } = target.stage;
  const { source } = target.scope.file.dockerfile;
  const sources = new SourceList(source);
  const need = (row: OutlineNeed) => ({
    name: row.name,
    ...(row.required && { required: true }),
    location: sources.location(row.source, row.range),
  });
  const json = {
    ...(name !== "" && { name }),
    ...(description !== "" && { description }),
    ...(args.length > 0 && { args: args.map((arg) => argRow(arg, sources)) }),
    ...(secrets.length > 0 && { secrets: secrets.map(need) }),
    ...(agents.length > 0 && { ssh: agents.map(need) }),
    sources: sources.texts(),
  };
  const head = [
    ["TARGET:", name === "" ? "(default)" : name],
    ...(description === "" ? [] : [["DESCRIPTION:", description]]),
  ];
  const needs = (title: string, rows: readonly OutlineNeed[]): string[] =>
    rows.length === 0
      ? []
      : [table([[title, "REQUIRED"], ...rows.map((row) => [row.name, row.required ? "true" : ""])], 3)];
  const parts = [
    ...(name === "" && description === "" ? [] : [table(head, 1)]),
    ...(args.length === 0
      ? []
      : [
          table(
            [["BUILD ARG", "VALUE", "DESCRIPTION"], ...args.map((arg) => [arg.name, arg.value, arg.description])],
            3,
          ),
        ]),
    ...needs("SECRET", secrets),
    ...needs("SSH", agents),
  ];
  return { text: parts.map((part) => `${part}\n`).join(""), json: JSON.stringify(json, undefined, 2), code: 0 };
}

function argRow(arg: OutlineArg, sources: SourceList) {
  return {
    name: arg.name,
    ...(arg.description !== "" && { description: arg.description }),
    ...(arg.value !== "" && { value: arg.value }),
    location: sources.location(arg.source, arg.range),
  };
}

/** Of a stage, what it stands on and what it reads, each name once. */
function collected<T extends { readonly name: string }>(target: StageState, of: (state: StageState) => T[]): T[] {
  const rows = new Map<string, T>();
  for (const state of stagesFrom(target)) {
    for (const row of of(state)) if (!rows.has(row.name)) rows.set(row.name, row);
  }
  return [...rows.values()];
}

function byLine<T extends { readonly range: SourceRange }>(rows: readonly T[]): T[] {
  return rows.toSorted((a, b) => a.range.start - b.range.start);
}

function errorRow(failure: unknown, sources: SourceList) {
  const place = failure instanceof DockerfileError ? failure.place : undefined;
  return {
    message: messageOf(failure),
    location: place?.source === undefined ? {} : sources.location(place.source, place.range),
  };
}

function excerptOfError(failure: unknown): string {
  return failure instanceof DockerfileError ? excerptOf(failure.place) : "";
}

function messageOf(failure: unknown): string {
  return failure instanceof Error ? failure.message : String(failure);
}

/** The files that an answer speaks of, by number. */
class SourceList {
  readonly #sources: SourceFile[];

  constructor(main: SourceFile) {
    this.#sources = [main];
  }

  location(source: SourceFile, range: SourceRange) {
    let index = this.#sources.findIndex((known) => known.name === source.name && known.text === source.text);
    if (index < 0) index = this.#sources.push(source) - 1;
    return { ...(index > 0 && { sourceIndex: index }), ranges: ranges(range) };
  }

  rows() {
    return this.#sources.map(({ name, text }) => ({ filename: name, data: base64(text), language: "Dockerfile" }));
  }

  texts(): string[] {
    return this.#sources.map(({ text }) => base64(text));
  }
}

/** A row for each line, as BuildKit has them. */
function ranges({ start, end }: SourceRange) {
  return Array.from({ length: end - start + 1 }, (_, index) => {
    const line = start + index;
    return { start: { line }, end: { line } };
  });
}

/** Columns as wide as what is in them; the last one isn't padded. */
function table(rows: readonly (readonly string[])[], padding: number): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [index, cell] of row.slice(0, -1).entries()) {
      widths[index] = Math.max(widths[index] ?? 0, [...cell].length + padding);
    }
  }
  const lines = rows.map((row) => row.map((cell, index) => cell.padEnd(widths[index] ?? 0)).join(""));
  return lines.map((line) => `${line}\n`).join("");
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}
