import { Module } from "@nestjs/common";
import { APP_GUARD } from "@nestjs/core";
import { AccessGuard } from "./access.guard.js";
import { KeyService } from "./key.service.js";
import { KeysController } from "./keys.controller.js";

@Module({
  controllers: [KeysController],
  providers: [KeyService, { provide: APP_GUARD, useClass: AccessGuard }],
  exports: [KeyService],
})
export class AccessModule {}
