import { csvFields } from "../base/csv.ts";
import { messageOf } from "../base/errors.ts";
import { parseBool } from "../base/parse-bool.ts";
import { invalid } from "./source.ts";
import { withSuggestion } from "./suggest.ts";

/** One `--device` of RUN: a device of CDI, and whether the step needs it. */
export interface Device {
  readonly name: string;
  readonly required: boolean;
}

/** Reads `name`, `name,required` or `name=…,required=…`. Throws `invalid` in BuildKit's words. */
export function readDevice(text: string): Device {
  const device = { name: "", required: false };
  for (const field of fieldsOf(text)) {
    const equals = field.indexOf("=");
    const key = (equals < 0 ? field : field.slice(0, equals)).toLowerCase();
    const value = equals < 0 ? undefined : field.slice(equals + 1);
    if (key === "required") device.required = value === undefined || booleanOf(key, value);
    else if (key === "name" && value !== undefined) {
      if (device.name !== "") throw invalid(`device name already set to ${device.name}`);
      device.name = value;
    } else if (device.name === "") device.name = field;
    else if (value === undefined) throw invalid(`invalid field '${field}' must be a key=value pair`);
    else throw invalid(withSuggestion(`unexpected key '${key}' in '${field}'`, key, ["name", "required"]));
  }
  return device;
}

function fieldsOf(text: string): readonly string[] {
  try {
    return csvFields(text);
  } catch (error) {
    throw invalid(`failed to parse csv devices: ${messageOf(error)}`);
  }
}

function booleanOf(key: string, value: string): boolean {
  const answer = parseBool(value);
  if (answer === undefined) throw invalid(`invalid value for ${key}: ${value}`);
  return answer;
}
