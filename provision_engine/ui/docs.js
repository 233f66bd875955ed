// Shows /openapi.json with Swagger UI. Nothing leaves this host: no validator badge, no CDN.
"use strict";

window.addEventListener("load", () => {
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
});
