import { GantryError, messageOf } from "../../base/errors.ts";
import { parseTemplate } from "./parse.ts";
import type { Attribute, Block, Body, Expression, Source, Span } from "./syntax.ts";

const SPAN: Span = { start: 0, end: 0 };

/** Which members of an object are blocks, with how many labels and of what kind. */
export interface BlockShape {
  readonly labels: number;
  readonly blocks?: Readonly<Record<string, BlockShape>>;
}

/** Reads a file in HCL's JSON syntax: strings are templates, and objects are blocks where `shapes` says so. */
export function parseJsonHcl(source: Source, shapes: Readonly<Record<string, BlockShape>>): Body {
  let value: unknown;
  try {
    value = JSON.parse(source.text.replace(/^\ufeff/, ""));
  } catch (error) {
    const [, line, column] = /\(line (\d+) column (\d+)\)/.exec(messageOf(error)) ?? [];
    const place = line === undefined ? "" : `:${line},${column}-${column}`;
    throw new GantryError("invalid", `${source.name}${place}: Invalid JSON; ${messageOf(error)}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new GantryError("invalid", `cannot read ${source.name}: it is not a JSON object`);
  }
  return bodyOf(source, value as Record<string, unknown>, shapes);
}

function bodyOf(
  source: Source,
  members: Readonly<Record<string, unknown>>,
  shapes: Readonly<Record<string, BlockShape>>,
): Body {
  const attributes = new Map<string, Attribute>();
  const blocks: Block[] = [];
  for (const [name, value] of Object.entries(members)) {
    // A comment, by the syntax's own rule.
    if (name === "//") continue;
    const shape = Object.hasOwn(shapes, name) ? shapes[name] : undefined;
    if (shape === undefined) attributes.set(name, { name, nameSpan: SPAN, value: expressionOf(source, value) });
    else blocks.push(...blocksOf(source, name, shape, value, []));
  }
  return { source, attributes, blocks };
}

function blocksOf(source: Source, type: string, shape: BlockShape, value: unknown, labels: readonly string[]): Block[] {
  if (Array.isArray(value)) return value.flatMap((each) => blocksOf(source, type, shape, each, labels));
  if (typeof value !== "object" || value === null) {
    throw new GantryError("invalid", `${source.name}: "${type}" has to be a JSON object, or an array of them`);
  }
  if (labels.length < shape.labels) {
    return Object.entries(value).flatMap(([label, each]) => blocksOf(source, type, shape, each, [...labels, label]));
  }
  const body = bodyOf(source, value as Record<string, unknown>, shape.blocks ?? {});
  return [{ type, typeSpan: SPAN, labels, labelSpans: labels.map(() => SPAN), start: 0, body }];
}

function expressionOf(source: Source, value: unknown): Expression {
  if (typeof value === "string") return parseTemplate(source, value, SPAN);
  if (Array.isArray(value)) {
    return { kind: "tuple", items: value.map((item) => expressionOf(source, item)), span: SPAN };
  }
  if (typeof value === "object" && value !== null) {
    const items = Object.entries(value).map(([name, each]) => ({
      key: parseTemplate(source, name, SPAN),
      value: expressionOf(source, each),
    }));
    return { kind: "object", items, span: SPAN };
  }
  return { kind: "literal", value: value as number | boolean | null, span: SPAN };
}
