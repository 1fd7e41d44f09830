/** `nvidia-smi` without a driver; answers come from $FAKE_HOME/nvidia-smi.json (fake-mps.ts, NvidiaSmiAnswers). */
import { readFileSync } from "node:fs";
import { join } from "node:path";

const {
  mode = "ok",
  cudaVersion,
  gpus,
} = JSON.parse(readFileSync(join(process.env.FAKE_HOME, "nvidia-smi.json"), "utf8"));
const args = process.argv.slice(2);
const end = (code, text) => {
  process.stdout.write(`${text}\n`);
  process.exit(code);
};

if (mode === "hang") setInterval(() => undefined, 60_000);
else if (mode === "no_driver") {
  end(
    9,
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is installed and running.",
  );
} else if (mode === "garbage") end(0, "no comma here\n\u0000");
else {
  const query = args.find((arg) => arg.startsWith("--query-gpu="));
  if (query && args.includes("--format=csv,noheader,nounits")) {
    const fields = query.slice("--query-gpu=".length).split(",");
    end(0, gpus.map((gpu) => fields.map((field) => gpu[field] ?? "[N/A]").join(", ")).join("\n"));
  } else if (args[0] === "-q") {
    end(
      0,
      [
        "==============NVSMI LOG==============",
        "",
        `Driver Version                            : ${gpus[0]?.driver_version ?? "N/A"}`,
        `CUDA Version                              : ${cudaVersion ?? "N/A"}`,
        "",
        `Attached GPUs                             : ${gpus.length}`,
      ].join("\n"),
    );
  } else end(2, `Invalid combination of input arguments: ${args.join(" ")}`);
}
