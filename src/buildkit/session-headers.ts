/** Header names of a session's request, lower-case. */
export const SESSION_HEADERS = {
  id: "x-docker-expose-session-uuid",
  name: "x-docker-expose-session-name",
  sharedKey: "x-docker-expose-session-sharedkey",
  methods: "x-docker-expose-session-grpc-method",
} as const;
