/** Linux' signals by name, as Docker has them. */
const NAMES: ReadonlySet<string> = new Set(
  (
    "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP " +
    "TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ"
  ).split(" "),
);
/** Of the real-time signals those up to the middle are counted from below, the others from above. */
const REAL_TIME = /^RT(?:MIN(?:\+(?:[1-9]|1[0-5]))?|MAX(?:-(?:[1-9]|1[0-4]))?)$/;
/** Of an integer of 64 bits. */
const MOST_DIGITS = 18;

/** True for a signal's name, with or without "SIG", and for any number but 0, as BuildKit has it. */
export function isSignal(text: string): boolean {
  const digits = /^[+-]?0*([0-9]*)$/.exec(text)?.[1];
  if (digits !== undefined) return digits !== "" && digits.length <= MOST_DIGITS;
  const name = text.toUpperCase().replace(/^SIG/, "");
  return NAMES.has(name) || REAL_TIME.test(name);
}
