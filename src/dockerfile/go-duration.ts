/** Nanoseconds as Go's `Duration.String` has them: `1m30s`, `1.5ms`, `0s`. */
export function durationText(nanoseconds: number): string {
  if (nanoseconds === 0) return "0s";
  const sign = nanoseconds < 0 ? "-" : "";
  const amount = Math.abs(nanoseconds);
  if (amount < 1e3) return `${sign}${amount}ns`;
  if (amount < 1e6) return `${sign}${decimal(amount, 1e3)}µs`;
  if (amount < 1e9) return `${sign}${decimal(amount, 1e6)}ms`;
  const minutes = Math.floor(amount / 60e9);
  const seconds = `${decimal(amount % 60e9, 1e9)}s`;
  if (minutes === 0) return sign + seconds;
  const hours = Math.floor(minutes / 60);
  return hours === 0 ? `${sign}${minutes}m${seconds}` : `${sign}${hours}h${minutes % 60}m${seconds}`;
}

/** `amount / unit` with all its digits and no zeros at the end; the unit is a power of ten. */
function decimal(amount: number, unit: number): string {
  const whole = Math.floor(amount / unit);
  const digits = Math.round(Math.log10(unit));
  const fraction = String(Math.round(amount % unit))
    .padStart(digits, "0")
    .replace(/0+$/, "");
  return fraction === "" ? String(whole) : `${whole}.${fraction}`;
}
