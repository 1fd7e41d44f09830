import { Module } from "@nestjs/common";
import { APP_GUARD } from "@nestjs/core";
import { AccessGuard } from "./access.guard.js";
import { Authenticator } from "./authenticator.js";
import { KeyService } from "./key.service.js";
import { KeysController } from "./keys.controller.js";
import { TokenService } from "./token.service.js";

@Module({
  controllers: [KeysController],
  providers: [Authenticator, KeyService, TokenService, { provide: APP_GUARD, useClass: AccessGuard }],
  exports: [Authenticator, KeyService],
})
export class AccessModule {}
