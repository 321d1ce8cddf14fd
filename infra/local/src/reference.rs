//! `cargo local up --reference`: the contract as a page to read and to try, before the running stack.
//!
//! The page is made in the browser from `GET /v1/openapi.json` by Scalar, whose one script is fetched from
//! its package once and then served from here. The page may load nothing from anywhere else.

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderName;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;

/// Where it is.
pub const PATH: &str = "/reference";

/// What the page may load: this origin's, and what it draws itself.
const OWN: &str = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; font-src data:; \
    img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";

const PAGE: &str = r#"<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Connects: the API</title>
  </head>
  <body>
    <noscript>This page needs JavaScript. What it shows is GET /v1/openapi.json.</noscript>
    <script id="api-reference" data-url="/v1/openapi.json" data-configuration='{
      "withDefaultFonts": false, "telemetry": false, "agent": { "disabled": true }, "mcp": { "disabled": true },
      "showDeveloperTools": "never", "hideClientButton": true,
      "defaultHttpClient": { "targetKey": "shell", "clientKey": "curl" }
    }'></script>
    <script src="/reference/scalar.js"></script>
  </body>
</html>
"#;

/// The page and its script.
pub fn routes(script: Bytes) -> Router {
    let script = get(|| async move { typed("text/javascript; charset=utf-8", script) });
    Router::new()
        .route(
            PATH,
            get(|| async { typed("text/html; charset=utf-8", PAGE) }),
        )
        .route("/reference/scalar.js", script)
}

fn typed(kind: &'static str, body: impl IntoResponse) -> impl IntoResponse {
    let headers: [(HeaderName, &str); 2] = [(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, OWN)];
    (headers, body)
}
