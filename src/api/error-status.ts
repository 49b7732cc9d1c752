import type { ErrorKind } from "../base/errors.ts";

/** The HTTP status of each kind of error, as Docker answers them. A missing kind fails to compile. */
export const ERROR_STATUS = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  "not-found": 404,
  conflict: 409,
  "not-modified": 304,
  unavailable: 503,
  "too-many-requests": 429,
  unsupported: 501,
  cancelled: 499,
  internal: 500,
} as const satisfies Record<ErrorKind, number>;

/** The body of every refusal. */
export interface ErrorResponse {
  readonly message: string;
}
