import { json } from "../answer.ts";
import type { Doctor } from "../doctor.ts";
import type { Handlers } from "../route-request.ts";

export function doctorRoutes(doctor: Doctor): Pick<Handlers, "doctor"> {
  return { doctor: async ({ query }) => json(await doctor(query.check)) };
}
