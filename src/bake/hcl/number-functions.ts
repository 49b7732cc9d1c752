import { takes } from "./arity.ts";
import { isEqual, toBool, toInteger, toNumber, toText, type Value, ValueError } from "./value.ts";

const MANY = Number.POSITIVE_INFINITY;
const binary = (run: (a: number, b: number) => Value) => takes(2, 2, (a, b) => run(toNumber(a!), toNumber(b!)));
const unary = (run: (a: number) => Value) => takes(1, 1, (a) => run(toNumber(a!)));

function notZero(divisor: number): number {
  if (divisor === 0) throw new ValueError("division by zero");
  return divisor;
}

function parseInteger(text: string, base: number): number {
  if (base < 2 || base > 36) throw new ValueError("base must be a whole number between 2 and 36");
  const digits = text.replace(/^[+-]/, "");
  const isNumber = digits !== "" && [...digits].every((digit) => Number.parseInt(digit, 36) < base);
  if (!isNumber) throw new ValueError(`cannot parse "${text}" as a base ${base} integer`);
  return Number.parseInt(text, base);
}

/** Numbers, comparisons and truth. */
export const numberFunctions = {
  absolute: unary(Math.abs),
  add: binary((a, b) => a + b),
  subtract: binary((a, b) => a - b),
  multiply: binary((a, b) => a * b),
  divide: binary((a, b) => a / notZero(b)),
  modulo: binary((a, b) => a % notZero(b)),
  negate: unary((a) => -a),
  ceil: unary(Math.ceil),
  floor: unary(Math.floor),
  int: unary(Math.trunc),
  signum: takes(1, 1, (a) => Math.sign(toInteger(a!))),
  pow: binary((a, b) => a ** b),
  log: binary((a, base) => Math.log(a) / Math.log(base)),
  max: takes(1, MANY, (...all) => Math.max(...all.map(toNumber))),
  min: takes(1, MANY, (...all) => Math.min(...all.map(toNumber))),
  parseint: takes(2, 2, (text, base) => parseInteger(toText(text!), toInteger(base!))),
  greaterthan: binary((a, b) => a > b),
  greaterthanorequalto: binary((a, b) => a >= b),
  lessthan: binary((a, b) => a < b),
  lessthanorequalto: binary((a, b) => a <= b),
  equal: takes(2, 2, (a, b) => isEqual(a!, b!)),
  notequal: takes(2, 2, (a, b) => !isEqual(a!, b!)),
  and: takes(2, 2, (a, b) => toBool(a!) && toBool(b!)),
  or: takes(2, 2, (a, b) => toBool(a!) || toBool(b!)),
  not: takes(1, 1, (a) => !toBool(a!)),
};
