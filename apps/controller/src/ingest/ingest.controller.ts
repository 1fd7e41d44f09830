import { routes } from "@fulcrum/contracts/routes.js";
import { Body, Controller, Inject } from "@nestjs/common";
import { assertSpeaksFor, type Caller, FromCaller } from "../access/caller.js";
import { Handles } from "../http/handles.js";
import { checkReport } from "./check-report.js";
import { ReportService } from "./report.service.js";

@Controller()
export class IngestController {
  constructor(@Inject(ReportService) private readonly reports: ReportService) {}

  @Handles(routes.report)
  async report(@Body() body: unknown, @FromCaller() caller: Caller) {
    const report = checkReport(body);
    assertSpeaksFor(caller, report.agent);
    return this.reports.take(report);
  }
}
