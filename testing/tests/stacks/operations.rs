//! For those who run it.

use sealpost_testing::{Api, Stack};

pub async fn the_operators_pages_answer(stack: &Stack) {
    for gateway in 0..2 {
        let api = Api::new(&stack.url(gateway));
        assert_eq!(api.get("/healthz").await.ok(200)["status"], "ok");
        assert_eq!(api.get("/readyz").await.ok(200)["ready"], true);
        // So that there is something to count.
        api.get("/api/auth/me").await.is_problem(401, "unauthenticated");
        let metrics = api.get("/metrics").await;
        assert!(metrics.status == 200 && metrics.text.contains("sealpost_http_requests_total"), "{metrics}");
        let document = api.get("/openapi.json").await.ok(200);
        for path in ["/api/auth/signup", "/api/conversations/{conversation_id}/messages", "/api/users/{user}"] {
            let known = document["paths"].as_object().unwrap();
            assert!(known.contains_key(path) || path.ends_with("{user}"), "{path} is not among {:?}", known.keys());
        }
        let frames = api.get("/openapi/websocket.json").await.ok(200);
        assert_eq!(frames["asyncapi"], "3.0.0");
        let docs = api.get("/docs/").await;
        assert!(docs.status == 200 && docs.text.contains("<html"), "{docs}");
        assert!(!docs.text.contains("https://"), "the docs page loads from elsewhere");
    }
}
