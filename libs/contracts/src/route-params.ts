/** What paths name. */
import { z } from "zod";
import { name, uuid } from "./primitives.js";

export const byPool = z.strictObject({ pool: name });
export const byInstance = z.strictObject({ instance: name });
export const byAgent = z.strictObject({ agent: name });
export const byId = z.strictObject({ id: uuid });
