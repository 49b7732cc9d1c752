import { greet } from "./greet.ts";

if (greet() !== "hello\n") throw new Error("not greeted");
