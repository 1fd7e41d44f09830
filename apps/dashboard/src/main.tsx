import { createRoot } from "react-dom/client";
import { takeKeyFromAddress } from "./api/client.js";
import { App } from "./app.js";
import { applyTheme } from "./ui/theme.js";
import "./ui/base.css";
import "./ui/pages.css";

takeKeyFromAddress();
applyTheme();
const root = document.getElementById("root");
if (root) createRoot(root).render(<App />);
