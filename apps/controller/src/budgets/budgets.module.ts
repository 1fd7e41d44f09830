import { Module } from "@nestjs/common";
import { BudgetRead } from "./budget.read.js";
import { BudgetsController } from "./budgets.controller.js";
import { SloBounds } from "./slo-bounds.js";

@Module({
  controllers: [BudgetsController],
  providers: [BudgetRead, SloBounds],
  exports: [BudgetRead, SloBounds],
})
export class BudgetsModule {}
