/** RFC 3339 in nanoseconds without the zeros at the end, as Go prints a time. */
export function timeText(nano: bigint): string {
  const seconds = new Date(Number(nano / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
  const decimals = String(nano % 1_000_000_000n)
    .padStart(9, "0")
    .replace(/0+$/, "");
  return decimals === "" ? `${seconds}Z` : `${seconds}.${decimals}Z`;
}

/** Such a text, or one with an offset, as unix nanoseconds; 0 for what is no time. */
export function parseTime(text: string): bigint {
  const [, whole = "", decimals = "", zone = "Z"] = /^([^.Z+]{19})(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(text) ?? [];
  const ms = Date.parse(`${whole}${zone}`);
  return Number.isNaN(ms) ? 0n : BigInt(ms) * 1_000_000n + BigInt(decimals.padEnd(9, "0"));
}
