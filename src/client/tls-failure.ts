import type { Endpoint } from "./endpoint.ts";

/** What TLS libraries say of a failed handshake, and what that means to a person. */
const MEANINGS: readonly (readonly [RegExp, string])[] = [
  [/alert_?.*certificate_?.?required/i, "remote error: tls: certificate required: give --tlscert and --tlskey"],
  [/alert_?.*bad_?.?certificate/i, "remote error: tls: bad certificate: the engine does not take this client's"],
  [/alert_?.*unknown_?.?ca/i, "remote error: tls: unknown certificate authority: another one signed this client's"],
  [/alert_?.*certificate_?.?expired/i, "remote error: tls: expired certificate: this client's is too old"],
  [/wrong_?.?version_?.?number/i, "http: server gave HTTP response to HTTPS client: no TLS is spoken there"],
  [
    /key_?.?values_?.?mismatch/i,
    "tls: private key does not match public key: --tlscert and --tlskey do not belong together",
  ],
  [/no_?.?start_?.?line/i, "tls: failed to find any PEM data in a certificate or key"],
  [
    /self.signed|unable to (?:get|verify)|unknown.?ca/i,
    "x509: certificate signed by unknown authority: see --tlscacert",
  ],
  [/certificate has expired/i, "x509: certificate has expired or is not yet valid"],
];

/** The message of a failed TLS connection in words that say what to do; the message itself if it needs none. */
export function tlsFailure(message: string): string {
  return MEANINGS.find(([pattern]) => pattern.test(message))?.[1] ?? message;
}

/** What a connection that is cut off, or answered by something else, may be about; "" if TLS can't be it. */
export function tlsHint(endpoint: Endpoint): string {
  if (endpoint.kind !== "tcp") return "";
  return endpoint.tls === undefined
    ? "\n* Are you trying to connect to a TLS-enabled daemon without TLS?"
    : "\n* The engine may not take this client's certificate: see --tlscert";
}
