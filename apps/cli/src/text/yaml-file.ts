import { readFileSync } from "node:fs";
import { parse, YAMLParseError } from "yaml";
import { usageError } from "../failure.js";

const MAX_FILE_CHARS = 1_048_576;

/** What a YAML or JSON file holds; `-` is standard input. @throws CliFailure (usage) naming the file and the line */
export function readYaml(file: string): unknown {
  const text = readText(file);
  if (text.length > MAX_FILE_CHARS) throw usageError(`${file} is over ${MAX_FILE_CHARS} characters`);
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof YAMLParseError)) throw error;
    const line = error.linePos?.[0].line;
    const where = line === undefined ? "" : ` line ${line}`;
    throw usageError(`${file}${where} is not YAML: ${error.message.split("\n")[0] ?? error.code}`);
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (error) {
    throw usageError(`${file} cannot be read: ${(error as Error).message}`);
  }
}
