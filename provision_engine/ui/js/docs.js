// Shows /openapi.json with Swagger UI. Nothing leaves this host: no validator badge, no CDN.
/* global SwaggerUIBundle */
import { chosen, toggle } from "./theme.js";

const button = document.getElementById("theme");

function label() {
  button.textContent = `Theme: ${chosen()}`;
}

button.addEventListener("click", () => {
  toggle();
  label();
});
label();

window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
  defaultModelsExpandDepth: 0,
  docExpansion: "list",
  tryItOutEnabled: true,
  persistAuthorization: false,
});
