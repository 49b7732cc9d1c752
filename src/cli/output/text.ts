import { humanDuration, humanSize } from "../../base/units.ts";

export const FORMAT_USAGE = "Format output with a Go template, 'json', 'table' (default) or 'table TEMPLATE'";

/** The first twelve characters of an id, without its `sha256:`. */
export function shortId(id: string): string {
  return id.replace(/^sha256:/, "").slice(0, 12);
}

/** Cut to `width` characters, with an ellipsis for what is missing. */
export function ellipsis(text: string, width: number): string {
  const letters = [...text];
  return letters.length <= width ? text : `${letters.slice(0, width - 1).join("")}…`;
}

/** Unix seconds as Docker prints a time: `2026-01-02 15:04:05.1 +0000 UTC`, in the local zone. */
export function timeText(seconds: number, fraction = ""): string {
  const date = new Date(seconds * 1000);
  const two = (value: number): string => String(value).padStart(2, "0");
  const offset = -date.getTimezoneOffset();
  const zone = `${offset < 0 ? "-" : "+"}${two(Math.floor(Math.abs(offset) / 60))}${two(Math.abs(offset) % 60)}`;
  const name = /\(([^)]+)\)/.exec(date.toString())?.[1] ?? "";
  const short = offset === 0 ? "UTC" : /^[A-Z]{2,5}$/.test(name) ? name : zone.replace(/00$/, "");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}${fraction.replace(/\.?0+$/, "")} ${zone} ${short}`;
}

export function agoText(seconds: number): string {
  return seconds === 0 ? "N/A" : `${humanDuration(Date.now() - seconds * 1000)} ago`;
}

export function sizeText(bytes: number): string {
  return humanSize(bytes, 3);
}

export function labelsText(labels: Readonly<Record<string, string>> | null | undefined): string {
  return Object.entries(labels ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
}
