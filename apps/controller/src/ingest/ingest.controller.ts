import { FEATURES_HEADER, type Registration } from "@fulcrum/contracts/agent-api.js";
import { routes } from "@fulcrum/contracts/routes.js";
import { Body, Controller, Headers, Inject } from "@nestjs/common";
import { assertSpeaksFor, type Caller, FromCaller } from "../access/caller.js";
import { takesTraces } from "../assignments/assignment.service.js";
import { Handles } from "../http/handles.js";
import { checkReport } from "./check-report.js";
import { RegistrationService } from "./registration.service.js";
import { ReportService } from "./report.service.js";

@Controller()
export class IngestController {
  constructor(
    @Inject(ReportService) private readonly reports: ReportService,
    @Inject(RegistrationService) private readonly registrations: RegistrationService,
  ) {}

  @Handles(routes.register)
  async register(@Body({ schema: routes.register.body }) body: Registration, @FromCaller() caller: Caller) {
    assertSpeaksFor(caller, body.agent);
    return this.registrations.register(body, caller.actor);
  }

  @Handles(routes.report)
  async report(
    @Body() body: unknown,
    @Headers(FEATURES_HEADER) features: string | undefined,
    @FromCaller() caller: Caller,
  ) {
    const report = checkReport(body);
    assertSpeaksFor(caller, report.agent);
    return this.reports.take(report, takesTraces(features));
  }
}
