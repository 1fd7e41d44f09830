import { routes } from "@fulcrum/contracts/routes.js";
import { Controller, Inject, Param } from "@nestjs/common";
import { Handles } from "../http/handles.js";
import { BudgetRead } from "./budget.read.js";

@Controller()
export class BudgetsController {
  constructor(@Inject(BudgetRead) private readonly read: BudgetRead) {}

  @Handles(routes.getBudget)
  async budget(@Param({ schema: routes.getBudget.params }) params: { pool: string }) {
    return this.read.budget(params.pool);
  }
}
