import { createServer } from "node:http";
import { greet } from "./greet.ts";

createServer((_, response) => response.end(greet())).listen(Number(process.env.PORT));
