//! What people say about themselves.

use sealpost_testing::{Reply, Stack, User};
use serde_json::{Value, json};

pub async fn a_profile_is_changed_and_seen_at_every_gateway(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let change = json!({
        "display_name": " Ann Åström ", "status_text": "At the sea", "time_zone": "europe/stockholm", "language": "SV-se",
    });
    let me = ann.request("PATCH", "/api/auth/me", change).await.ok(200);
    let expected =
        json!({ "display_name": "Ann Åström", "status_text": "At the sea", "time_zone": "Europe/Stockholm" });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&me[name], value, "{me}");
    }
    assert_eq!(me["language"], "sv-SE");
    for path in [format!("/api/users/{}", ann.id), format!("/api/users/{}", ann.username.to_uppercase())] {
        let seen = bob.get(&path).await.ok(200);
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&seen[name], value, "{seen}");
        }
        assert!(seen.get("email").is_none() && seen.get("language").is_none(), "{seen}");
    }
    // What is left out stays, and an empty text takes away.
    let me = ann.request("PATCH", "/api/auth/me", json!({ "status_text": "" })).await.ok(200);
    assert_eq!((&me["status_text"], &me["time_zone"]), (&Value::Null, &json!("Europe/Stockholm")));
    let me = ann.request("PATCH", "/api/auth/me", json!({})).await.ok(200);
    assert_eq!(me["display_name"], "Ann Åström");
    assert_eq!(bob.get("/api/auth/me").await.ok(200)["time_zone"], Value::Null, "nobody else has changed");
}

pub async fn what_a_profile_cannot_say_is_refused(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let before = ann.get("/api/auth/me").await.ok(200);
    for bad in [
        json!({ "display_name": "" }),
        json!({ "display_name": "Ann\u{202e}nnA" }),
        json!({ "status_text": "a\nb" }),
        json!({ "time_zone": "Europe/Atlantis" }),
        json!({ "time_zone": "../../etc/passwd" }),
        json!({ "language": "de_DE" }),
        json!({ "display_name": "Fine", "language": "!" }),
        // Mass assignment.
        json!({ "display_name": "Ann", "role": "admin" }),
        json!({ "display_name": "Ann", "id": "01a1fdc5-3c2e-7195-a383-919d8d53ba10" }),
        json!({ "avatar_id": "01a1fdc5-3c2e-7195-a383-919d8d53ba10" }),
    ] {
        ann.request("PATCH", "/api/auth/me", bad).await.is_problem(422, "invalid");
    }
    assert_eq!(ann.get("/api/auth/me").await.ok(200), before);
}

/// A PNG of 2 × 2 pixels.
const PNG: &[u8] = b"\x89PNG\x0d\x0a\x1a\x0a\x00\x00\x00\x0dIHDR\x00\x00\x00\x02\x00\x00\x00\x02\x08\x02\x00\x00\x00\xfd\xd4\x9as\x00\x00\x00\x10IDATx\x9cc\xf8\xcf\xc0\x00D\x0c\x10\x0a\x00\x1f\xee\x03\xfd\x8b_\x14\xd4\x00\x00\x00\x00IEND\xaeB`\x82";
/// A GIF of one pixel.
const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\xff\0\0\0\0\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

async fn upload(user: &User, kind: &str, bytes: &[u8]) -> Reply {
    let body = Some((kind, bytes.to_vec()));
    user.api.try_raw("PUT", "/api/auth/me/avatar", Some(&user.access_token), body).await.unwrap()
}

pub async fn a_picture_is_made_anew_and_served_at_every_gateway(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let first = upload(&ann, "image/gif", GIF).await.ok(200)["avatar_id"].as_str().unwrap().to_owned();
    assert_eq!(bob.get(&format!("/api/users/{}", ann.id)).await.ok(200)["avatar_id"], first);
    let http = reqwest::Client::new();
    for size in [64, 192, 512] {
        let url = format!("{}/api/avatars/{first}?size={size}", bob.api.base);
        // A range is not looked at.
        let answer = http.get(url).bearer_auth(&bob.access_token).header("range", "bytes=0-1").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "image/jpeg");
        assert_eq!(header("cache-control"), "private, max-age=31536000, immutable");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert!(header("content-security-policy").ends_with("sandbox"));
        assert!(answer.bytes().await.unwrap().starts_with(b"\xff\xd8\xff"));
    }
    let second = upload(&ann, "image/gif", GIF).await.ok(200)["avatar_id"].as_str().unwrap().to_owned();
    assert_ne!(first, second, "another picture has another id");
    bob.get(&format!("/api/avatars/{first}")).await.is_problem(404, "not-found");
    assert_eq!(bob.get(&format!("/api/avatars/{second}")).await.status, 200);
    ann.delete("/api/auth/me/avatar").await.ok(204);
    bob.get(&format!("/api/avatars/{second}")).await.is_problem(404, "not-found");
    assert_eq!(ann.get("/api/auth/me").await.ok(200)["avatar_id"], Value::Null);
}

/// Attack case 23, as far as pictures of users go: they have no names, and nothing is served as it was sent.
pub async fn attack_23_only_our_own_pictures_are_served(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    for (kind, body) in [
        ("image/svg+xml", &b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"[..]),
        ("text/html", b"<script>alert(1)</script>"),
        ("application/pdf", b"%PDF-1.7"),
        ("multipart/form-data; boundary=x", PNG),
        // A name for what it is not.
        ("image/png", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"),
        ("image/png", b"%PDF-1.7"),
        ("image/jpeg", b"<!doctype html><script>alert(1)</script>"),
    ] {
        upload(&ann, kind, body).await.is_problem(415, "unsupported-media-type");
    }
    // A picture that is a page as well: of the page nothing is left.
    let polyglot = [GIF, b"<script>alert('canary-polyglot')</script>"].concat();
    let id = upload(&ann, "image/gif", &polyglot).await.ok(200)["avatar_id"].as_str().unwrap().to_owned();
    let served = ann.get(&format!("/api/avatars/{id}")).await;
    assert!(served.content_type == "image/jpeg" && !served.text.contains("canary-polyglot"), "{served}");
    let nobody = uuid::Uuid::new_v4();
    for path in [
        format!("/api/avatars/{nobody}"),
        "/api/avatars/..%2f..%2fetc%2fpasswd".to_owned(),
        "/api/avatars/%00".to_owned(),
        format!("/api/avatars/{id}%0d%0aset-cookie:%20a=b"),
        format!("/api/avatars/{}", "a".repeat(4000)),
        "/api/avatars/%e2%80%aegnp.exe".to_owned(),
    ] {
        ann.get(&path).await.is_problem(404, "not-found");
    }
    ann.get(&format!("/api/avatars/{id}?size=65")).await.is_problem(422, "invalid");
    ann.get(&format!("/api/avatars/{id}?name=x.html")).await.is_problem(422, "invalid");
    ann.api.get(&format!("/api/avatars/{id}")).await.is_problem(401, "unauthenticated");
}

/// Attack case 24: the codecs' own cases are in `gateway/src/profiles/decode_tests.rs`.
pub async fn attack_24_bombs_harm_nobody(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let mut png = PNG.to_vec();
    png[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    let mut gif = GIF.to_vec();
    gif[6..10].copy_from_slice(&[0xff; 4]);
    let uploads = (0..40).map(|number| {
        let (kind, body) = if number % 2 == 0 { ("image/png", &png) } else { ("image/gif", &gif) };
        upload(&ann, kind, body)
    });
    for reply in futures_util::future::join_all(uploads).await {
        assert!([422, 503].contains(&reply.status), "{reply}");
    }
    upload(&ann, "image/png", &PNG[..30]).await.is_problem(422, "invalid");
    upload(&ann, "image/png", &vec![0; 5 * 1024 * 1024]).await.is_problem(413, "body-too-large");
    assert_eq!(ann.get("/api/auth/me").await.ok(200)["avatar_id"], Value::Null);
    upload(&ann, "image/png", PNG).await.ok(200);
}

pub async fn uploads_at_once_leave_one_picture(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let there = ann.at(stack, 1);
    let uploads = (0..8).map(|number| upload(if number % 2 == 0 { &ann } else { &there }, "image/gif", GIF));
    let replies = futures_util::future::join_all(uploads).await;
    let kept = ann.get("/api/auth/me").await.ok(200)["avatar_id"].clone();
    let mut found = 0;
    for reply in replies {
        let id = reply.ok(200)["avatar_id"].clone();
        let status = ann.get(&format!("/api/avatars/{}", id.as_str().unwrap())).await.status;
        assert_eq!(status, if id == kept { 200 } else { 404 });
        found += usize::from(id == kept);
    }
    assert_eq!(found, 1);
}
