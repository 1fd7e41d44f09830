import type { PreviewInput } from "@fulcrum/contracts/preview.js";
import { routes } from "@fulcrum/contracts/routes.js";
import { Body, Controller, Inject, Param } from "@nestjs/common";
import { Handles } from "../http/handles.js";
import { PreviewService } from "./preview.service.js";

@Controller()
export class PreviewController {
  constructor(@Inject(PreviewService) private readonly previews: PreviewService) {}

  @Handles(routes.previewPool)
  preview(
    @Param({ schema: routes.previewPool.params }) params: { pool: string },
    @Body({ schema: routes.previewPool.body }) body: PreviewInput,
  ) {
    return this.previews.preview(params.pool, body);
  }
}
