import { collectionFunctions } from "./collection-functions.ts";
import { HclError } from "./error.ts";
import type { Callable } from "./evaluate.ts";
import { hostFunctions } from "./host-functions.ts";
import { numberFunctions } from "./number-functions.ts";
import { textFunctions } from "./text-functions.ts";
import { convertTo, typeOf } from "./type.ts";
import { ValueError } from "./value.ts";

/** The functions that a Bake file may call, by name. */
export function standardFunctions(): ReadonlyMap<string, Callable> {
  return new Map<string, Callable>([
    ...Object.entries({ ...numberFunctions, ...textFunctions, ...collectionFunctions, ...hostFunctions }),
    ...Object.entries(lazyFunctions),
  ]);
}

const lazyFunctions: Readonly<Record<string, Callable>> = {
  try: {
    lazy: (args, evaluate) => {
      for (const arg of args) {
        try {
          return evaluate(arg);
        } catch (error) {
          if (!(error instanceof HclError)) throw error;
        }
      }
      throw new ValueError("no expression succeeded");
    },
  },
  can: {
    lazy: (args, evaluate) => {
      try {
        for (const arg of args) evaluate(arg);
        return true;
      } catch (error) {
        if (error instanceof HclError) return false;
        throw error;
      }
    },
  },
  convert: {
    lazy: (args, evaluate) => {
      const [value, type] = args;
      if (value === undefined || type === undefined || args.length > 2)
        throw new ValueError("it takes a value and a type");
      return convertTo(evaluate(value), typeOf(type));
    },
  },
};
