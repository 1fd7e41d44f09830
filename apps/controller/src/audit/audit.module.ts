import { Module } from "@nestjs/common";
import { AuditController } from "./audit.controller.js";
import { AuditRead } from "./audit.read.js";

@Module({ controllers: [AuditController], providers: [AuditRead] })
export class AuditModule {}
