/** The one table of routes: the controller's handlers, the OpenAPI document and the clients are made from it. */
import { adminRoutes } from "./admin-routes.js";
import { agentRoutes } from "./agent-routes.js";

export const routes = { ...adminRoutes, ...agentRoutes };

export type RouteName = keyof typeof routes;
