// Draws openapi.yaml. Nothing leaves for another host: no validator, and the server is the one that this page is of.
SwaggerUIBundle({
  url: "openapi.yaml",
  dom_id: "#ui",
  validatorUrl: null,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
});
