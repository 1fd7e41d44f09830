import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

/** The page is served by the controller at /; everything on it comes from there. */
// oxlint-disable-next-line import/no-default-export -- Vite asks for one
export default defineConfig({
  plugins: [react()],
  resolve: { conditions: ["source", "module", "browser", "development|production"] },
  build: { outDir: "dist/page", emptyOutDir: true, target: "es2022", sourcemap: false },
  server: { proxy: { "/v1": "http://127.0.0.1:7070", "/readyz": "http://127.0.0.1:7070" } },
});
