import { applyDecorators, HttpCode, RequestMapping, RequestMethod, SetMetadata } from "@nestjs/common";
import type { Route } from "@fulcrum/contracts/route.js";

export const ROUTE = "fulcrum:route";

/** Binds a handler to a row of the route table: method, path, status and least role come from there. */
export function Handles(route: Route): MethodDecorator {
  return applyDecorators(
    RequestMapping({ path: route.path, method: RequestMethod[route.method] }),
    HttpCode(route.status),
    SetMetadata(ROUTE, route),
  );
}
