import { openApiDocument } from "@fulcrum/contracts/openapi.js";
import type { Command } from "commander";
import { printJson, type Io } from "../io.js";
import { VERSION } from "../version.js";
import { localCommand } from "./command.js";

export function addOpenapi(program: Command, io: Io): void {
  localCommand(
    program,
    {
      usage: "openapi",
      summary: "Print the OpenAPI 3.1 document of the API",
      examples: ["fulcrum openapi > openapi.json"],
    },
    async () => printJson(io, openApiDocument(VERSION)),
  );
}
