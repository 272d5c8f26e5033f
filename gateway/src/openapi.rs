//! The documents: OpenAPI from the routes themselves, AsyncAPI for the WebSocket from the frame types.

use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::get;
use sealpost_schema::{ClientFrame, CloseCode, Problem, PublicClientFrame, PublicServerFrame, ServerFrame};
use serde_json::{Value, json};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::state::App;
use crate::{
    admin, announcements, auth, blocks, channels, conversations, drafts, export, invites, mail, messages, oidc,
    passkeys, presence, profiles, receipts, scheduled, search, second_factor, service_accounts, users, webhooks,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sealpost",
        description = "An encrypted, real-time, durable messaging server. Errors are RFC 9457 problems with a stable `type`. \
                       The WebSocket at `/ws` is described in `/openapi/websocket.json`."
    ),
    components(schemas(Problem)),
    modifiers(&Security),
    tags(
        (name = "auth", description = "Sign up, sign in, sessions"),
        (name = "users", description = "Find people, and your own profile"),
        (name = "conversations", description = "Conversations and their participants"),
        (name = "messages", description = "Send, read, search, edit, delete, react, pin; threads, mentions, drafts, messages for later"),
        (name = "service accounts", description = "Accounts of programs, and their API tokens"),
        (name = "webhooks", description = "Addresses that are told of events"),
        (name = "admin", description = "For those who administer this server"),
    )
)]
struct Document;

struct Security;

/// The scheme of sessions in cookies.
const COOKIE: &str = "cookie";

impl Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let cookie = ApiKeyValue::with_description(
            "__Host-sealpost_access",
            "For browsers: set when a page signs in with the header `Sealpost-Session: cookie`; without TLS its name is `sealpost_access`. \
             What changes something needs that header, and an origin that may.",
        );
        components.add_security_scheme(COOKIE, SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
        document.info.license = Some(utoipa::openapi::License::new("MIT"));
    }
}

/// The API's routes with their documentation.
pub fn routes() -> OpenApiRouter<App> {
    let api = OpenApiRouter::new()
        .merge(auth::router())
        .merge(mail::router())
        .merge(second_factor::router())
        .merge(passkeys::router())
        .merge(oidc::router())
        .merge(users::router())
        .merge(profiles::router())
        .merge(blocks::router())
        .merge(conversations::router())
        .merge(invites::router())
        .merge(channels::router())
        .merge(announcements::router())
        .merge(messages::router())
        .merge(search::router())
        .merge(receipts::router())
        .merge(presence::router())
        .merge(drafts::router())
        .merge(export::router())
        .merge(scheduled::router())
        .merge(admin::router())
        .merge(service_accounts::router())
        .merge(webhooks::router());
    OpenApiRouter::with_openapi(Document::openapi()).nest("/api", api).routes(routes!(auth::get_jwks))
}

/// Adds the answers that every route can give: those of limits, and of checking a token.
pub fn complete(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            let mut answers = vec![
                ("429", "Too many requests: `Retry-After` says when to come again"),
                ("503", "The server cannot do this now"),
            ];
            if let Some(ways) = &mut operation.security {
                // Everything that takes the token takes it from a cookie as well.
                ways.push(SecurityRequirement::new::<_, [&str; 0], &str>(COOKIE, []));
                answers.push(("403", "An API token that may not do this"));
            }
            for (status, description) in answers {
                let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
                let answer = ResponseBuilder::new().description(description);
                let answer = answer.content("application/problem+json", problem).build();
                operation.responses.responses.entry(status.to_owned()).or_insert_with(|| answer.into());
            }
        }
    }
    document
}

/// The REST API as OpenAPI 3.1.
pub fn openapi() -> utoipa::openapi::OpenApi {
    complete(routes().into_openapi())
}

/// Serves the documents, and pages to read them, without anything from outside.
pub fn docs(document: utoipa::openapi::OpenApi) -> Router {
    Router::new()
        .merge(mail::page())
        .merge(oidc::page())
        .merge(SwaggerUi::new("/docs").url("/openapi.json", document))
        .route("/openapi/websocket.json", get(|| async { axum::Json(asyncapi()).into_response() }))
}

#[derive(OpenApi)]
#[openapi(components(schemas(ClientFrame, ServerFrame, PublicClientFrame, PublicServerFrame, Problem)))]
struct Frames;

/// The WebSocket protocol as AsyncAPI 3.0, with a JSON Schema for every frame.
pub fn asyncapi() -> Value {
    let schemas = Frames::openapi().components.map(|components| components.schemas);
    let schemas = serde_json::to_value(schemas).unwrap_or_default();
    let codes: Vec<Value> = [
        CloseCode::GoingAway,
        CloseCode::TryAgainLater,
        CloseCode::HeartbeatTimeout,
        CloseCode::SlowConsumer,
        CloseCode::ProtocolError,
        CloseCode::Unauthenticated,
        CloseCode::NotOpen,
        CloseCode::TooMany,
    ]
    .into_iter()
    .map(|code| json!({ "code": code.code(), "reason": code.reason(), "reconnect": code.reconnect() }))
    .collect();
    let message = |name: &str| {
        json!({ "name": name, "contentType": "application/json",
        "payload": { "$ref": format!("#/components/schemas/{name}") } })
    };
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Sealpost WebSocket",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT" },
            "description": "One JSON object per text frame, told apart by `type`. Authenticate with `Authorization: Bearer`, with the \
                            subprotocols `sealpost.v1, bearer.<token>`, or with `authenticate` as first frame."
        },
        "channels": {
            "ws": {
                "address": "/ws",
                "messages": {
                    "client": { "$ref": "#/components/messages/ClientFrame" },
                    "server": { "$ref": "#/components/messages/ServerFrame" }
                }
            },
            "public": {
                "address": "/ws/public/{channel}",
                "description": "A public channel, live, without an account.",
                "parameters": { "channel": { "description": "Its id or its public name" } },
                "messages": {
                    "client": { "$ref": "#/components/messages/PublicClientFrame" },
                    "server": { "$ref": "#/components/messages/PublicServerFrame" }
                }
            }
        },
        "operations": {
            "receive": { "action": "receive", "channel": { "$ref": "#/channels/ws" },
                "messages": [{ "$ref": "#/channels/ws/messages/client" }] },
            "send": { "action": "send", "channel": { "$ref": "#/channels/ws" },
                "messages": [{ "$ref": "#/channels/ws/messages/server" }] },
            "receivePublic": { "action": "receive", "channel": { "$ref": "#/channels/public" },
                "messages": [{ "$ref": "#/channels/public/messages/client" }] },
            "sendPublic": { "action": "send", "channel": { "$ref": "#/channels/public" },
                "messages": [{ "$ref": "#/channels/public/messages/server" }] }
        },
        "components": {
            "messages": {
                "ClientFrame": message("ClientFrame"), "ServerFrame": message("ServerFrame"),
                "PublicClientFrame": message("PublicClientFrame"), "PublicServerFrame": message("PublicServerFrame")
            },
            "schemas": schemas
        },
        "x-close-codes": codes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What extractors answer belongs to every operation that has them. `make fuzz-api` finds what is missing only if it comes to it.
    #[test]
    fn each_operation_names_the_answers_of_its_kind() {
        let document = serde_json::to_value(openapi()).unwrap();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let mut needed = vec!["429", "503"];
                if path.contains('{') {
                    needed.push("404");
                }
                let parameters = operation["parameters"].as_array();
                if parameters.is_some_and(|all| all.iter().any(|parameter| parameter["in"] == "query")) {
                    needed.push("422");
                }
                let body = &operation["requestBody"]["content"];
                if body.is_object() {
                    needed.extend(["413", "415", "422"]);
                }
                if body["application/json"].is_object() {
                    needed.push("400");
                }
                if let Some(ways) = operation["security"].as_array() {
                    needed.extend(["401", "403"]);
                    assert_eq!(*ways, [json!({ "bearer": [] }), json!({ (COOKIE): [] })], "{method} {path}");
                }
                for status in needed {
                    assert!(operation["responses"][status].is_object(), "{method} {path} does not name {status}");
                }
            }
        }
        let schemes = document["components"]["securitySchemes"].as_object().unwrap();
        assert_eq!(schemes.keys().collect::<Vec<_>>(), ["bearer", COOKIE]);
        assert_eq!((&schemes[COOKIE]["type"], &schemes[COOKIE]["in"]), (&json!("apiKey"), &json!("cookie")));
    }
}
