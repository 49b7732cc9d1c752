import { goText } from "./values.ts";

/** Go's Sprintf for the verbs that make sense on JSON values. */
export function sprintf(format: string, args: readonly unknown[]): string {
  let used = 0;
  const text = format.replace(
    /%([-+ #0]*)(\d+|\*)?(?:\.(\d+))?([a-zA-Z%])/g,
    (_, flags: string, width, precision, verb: string) => {
      if (verb === "%") return "%";
      const size = width === "*" ? Number(args[used++]) : width === undefined ? 0 : Number(width);
      if (used >= args.length) return `%!${verb}(MISSING)`;
      const value = args[used++];
      const body = format1(verb, value, flags, precision === undefined ? undefined : Number(precision));
      if (flags.includes("-")) return body.padEnd(size);
      if (!flags.includes("0") || typeof value !== "number") return body.padStart(size);
      return /^[+-]/.test(body) ? (body[0] ?? "") + body.slice(1).padStart(size - 1, "0") : body.padStart(size, "0");
    },
  );
  if (used >= args.length) return text;
  const extra = args.slice(used).map((arg) => `${typeof arg === "number" ? "int" : typeof arg}=${goText(arg)}`);
  return `${text}%!(EXTRA ${extra.join(", ")})`;
}

function format1(verb: string, value: unknown, flags: string, precision: number | undefined): string {
  const bad = `%!${verb}(${typeof value === "number" ? "int" : typeof value}=${goText(value)})`;
  switch (verb) {
    case "v":
      return flags.includes("#") && typeof value === "string" ? JSON.stringify(value) : goText(value);
    case "s": {
      if (typeof value === "number" || typeof value === "boolean") return bad;
      const text = goText(value);
      return precision === undefined ? text : [...text].slice(0, precision).join("");
    }
    case "q":
      if (Array.isArray(value)) return `[${value.map((item) => JSON.stringify(goText(item))).join(" ")}]`;
      return typeof value === "string" ? JSON.stringify(value) : bad;
    case "d":
      return typeof value === "number" ? (flags.includes("+") && value >= 0 ? "+" : "") + goText(value) : bad;
    case "t":
      return typeof value === "boolean" ? String(value) : bad;
    case "x":
    case "X": {
      const hex =
        typeof value === "number"
          ? value.toString(16)
          : typeof value === "string"
            ? Buffer.from(value).toString("hex")
            : bad;
      return verb === "X" ? hex.toUpperCase() : hex;
    }
    case "o":
    case "b":
      return typeof value === "number" ? value.toString(verb === "o" ? 8 : 2) : bad;
    case "c":
      return typeof value === "number" ? String.fromCodePoint(value) : bad;
    case "f":
    case "e":
    case "g":
      if (typeof value !== "number") return bad;
      return verb === "f"
        ? value.toFixed(precision ?? 6)
        : verb === "e"
          ? value.toExponential(precision ?? 6)
          : String(value);
    case "T":
      return typeof value === "number" ? "int" : typeof value;
    default:
      return bad;
  }
}
