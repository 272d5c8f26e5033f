//! Mail and its links, against a real mail server. Each case has a stack of its own on each form, because it has settings of its own.

use sealpost_testing::{
    Api, Certificate, Connect, Encryption, Form, Mailbox, Reply, Running, Settings, Stack, User, eventually, unique,
};
use serde_json::{Value, json};

const PUBLIC: &str = "https://chat.example.org";

async fn stack(form: Form, mailbox: &Mailbox) -> Running {
    Stack::start(form, settings(mailbox)).await
}

fn settings(mailbox: &Mailbox) -> Settings {
    Settings::default()
        .set("SEALPOST__GATEWAY__PUBLIC_URL", PUBLIC)
        .set("SEALPOST__MAIL__TRANSPORT", "smtp")
        .set("SEALPOST__MAIL__SMTP_HOST", "127.0.0.1")
        .set("SEALPOST__MAIL__SMTP_PORT", mailbox.port)
        .set("SEALPOST__MAIL__SMTP_TLS", "none")
        .set("SEALPOST__MAIL__FROM", "Chat <chat@example.org>")
}

/// Somebody whose address is proven, and the address. One mail has come there.
async fn with_address(stack: &Stack, mailbox: &Mailbox, gateway: usize, name: &str) -> (User, String) {
    let user = User::sign_up(stack, gateway, name).await;
    let address = format!("{}@example.org", user.username);
    let wanted = json!({ "email": address, "password": user.password });
    user.post("/api/auth/email", wanted).await.ok(202);
    let token = mailbox.token(&address, 1, "verify_email").await;
    user.api.post("/api/auth/email/verify", &json!({ "token": token })).await.ok(204);
    let me = user.get("/api/auth/me").await.ok(200);
    assert_eq!((&me["email"], &me["email_verified"]), (&json!(address), &json!(true)), "{me}");
    (user, address)
}

async fn sign_in(user: &User, password: &str) -> u16 {
    let credentials = json!({ "username": user.username, "password": password });
    user.api.post("/api/auth/signin", &credentials).await.status
}

async fn links_open_accounts_once(form: Form) {
    let mailbox = Mailbox::start().await;
    let stack = stack(form, &mailbox).await;
    let (ann, address) = with_address(&stack, &mailbox, 0, "ann").await;
    let there = ann.at(&stack, 1);

    // A link to sign in, asked for at one gateway and used at another.
    ann.api.post("/api/auth/magic-link", &json!({ "email": address.to_uppercase() })).await.ok(202);
    let token = mailbox.token(&address, 2, "magic_link").await;
    there
        .api
        .post("/api/auth/password/reset", &json!({ "token": token, "new_password": "walrus lantern 47 x" }))
        .await
        .is_problem(403, "link-refused");
    let signed_in = there.api.post("/api/auth/magic-link/signin", &json!({ "token": token })).await.ok(200);
    assert_eq!((&signed_in["status"], &signed_in["user"]["id"]), (&json!("signed_in"), &json!(ann.id)));
    there.api.post("/api/auth/magic-link/signin", &json!({ "token": token })).await.is_problem(403, "link-refused");

    // A new password: all devices are signed out, the old password is nothing any more.
    ann.api.post("/api/auth/password/forgot", &json!({ "email": address })).await.ok(202);
    let token = mailbox.token(&address, 3, "reset_password").await;
    let reset = json!({ "token": token, "new_password": "harbour quiet 99 lamp" });
    let weak = json!({ "token": token, "new_password": "short" });
    ann.api.post("/api/auth/password/reset", &weak).await.is_problem(422, "weak-password");
    let mut socket = there.socket().await;
    ann.api.post("/api/auth/password/reset", &reset).await.ok(204);
    assert_eq!(socket.wait_for_close().await, Some(4401));
    ann.get("/api/auth/me").await.is_problem(401, "unauthenticated");
    assert_eq!(sign_in(&ann, &ann.password).await, 401);
    assert_eq!(sign_in(&ann, "harbour quiet 99 lamp").await, 200);
    ann.api.post("/api/auth/password/reset", &reset).await.is_problem(403, "link-refused");
    let notice = mailbox.mail(&address, 4).await;
    assert!(
        notice.text.contains("Subject: Your password was changed") && !notice.text.contains("/mail#"),
        "{notice:?}"
    );
    stack.settle().await;
}

#[tokio::test]
async fn links_open_accounts_once_embedded() {
    links_open_accounts_once(Form::Embedded).await;
}

#[tokio::test]
async fn links_open_accounts_once_cluster() {
    links_open_accounts_once(Form::Cluster).await;
}

async fn attack_22_a_link_is_good_once_however_many_use_it(form: Form) {
    let mailbox = Mailbox::start().await;
    let stack = stack(form, &mailbox).await;
    let (ann, address) = with_address(&stack, &mailbox, 0, "ann").await;
    let (bob, _) = with_address(&stack, &mailbox, 1, "bob").await;

    // A forged host changes no link.
    let forged = reqwest::Client::new().post(format!("{}/api/auth/magic-link", stack.url(0)));
    let forged = forged.header("host", "evil.example").header("x-forwarded-host", "evil.example");
    let forged = forged.header("forwarded", "host=evil.example").header("content-type", "application/json");
    let answer = forged.body(json!({ "email": address }).to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let mail = mailbox.mail(&address, 2).await;
    assert!(mail.link().starts_with(&format!("{PUBLIC}/mail#")) && !mail.text.contains("evil"), "{mail:?}");
    assert_eq!(mail.from, "chat@example.org");

    // Looking at it uses nothing up, whatever a scanner tries.
    let token = mail.token("magic_link");
    let http = reqwest::Client::new();
    for method in ["GET", "HEAD", "OPTIONS"] {
        for path in ["/mail", "/api/auth/magic-link/signin", "/api/auth/email/verify", "/api/auth/password/reset"] {
            let url = format!("{}{path}?token={token}", stack.url(0));
            http.request(method.parse().unwrap(), url).send().await.unwrap();
        }
    }
    let page = ann.api.get("/mail").await;
    assert!(page.status == 200 && page.content_type.starts_with("text/html") && !page.text.contains(&token));
    // Not for another purpose.
    ann.api.post("/api/auth/email/verify", &json!({ "token": token })).await.is_problem(403, "link-refused");

    // Fifty at once, at all gateways.
    let gateways = [ann.clone(), ann.at(&stack, 1)];
    let uses = (0..50).map(|number| {
        let api = gateways[number % 2].api.clone();
        let body = json!({ "token": token });
        async move { api.post("/api/auth/magic-link/signin", &body).await }
    });
    let replies = futures_util::future::join_all(uses).await;
    let good: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
    assert_eq!(good.len(), 1);
    assert_eq!(good[0].body["user"]["id"], ann.id);
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        reply.is_problem(403, "link-refused");
    }

    // Who asks learns nothing, and an address that is not proven gets nothing.
    let carl = User::sign_up(&stack, 0, "carl").await;
    let unproven = format!("{}@example.org", carl.username);
    let wanted = json!({ "email": unproven, "password": carl.password });
    carl.post("/api/auth/email", wanted).await.ok(202);
    mailbox.mail(&unproven, 1).await;
    for path in ["/api/auth/password/forgot", "/api/auth/magic-link"] {
        for email in [&unproven, &address, "nobody@example.org"] {
            let reply = ann.api.post(path, &json!({ "email": email })).await;
            assert_eq!((reply.status, reply.text.as_str()), (202, ""), "{reply}");
        }
    }
    // The last one asked for has come: so have all before it.
    bob.api.post("/api/auth/magic-link", &json!({ "email": format!("{}@example.org", bob.username) })).await.ok(202);
    mailbox.mail(&format!("{}@example.org", bob.username), 2).await;
    mailbox.mail(&address, 4).await;
    assert_eq!(mailbox.mails_to(&unproven).len(), 1);
    assert!(mailbox.mails_to("nobody@example.org").is_empty());
    // Nobody is buried in mails.
    for _ in 0..20 {
        ann.api.post("/api/auth/password/forgot", &json!({ "email": address })).await.ok(202);
    }
    let resets = async || {
        let mails = mailbox.mails_to(&address);
        mails.iter().filter(|mail| mail.text.contains("#reset_password=")).count()
    };
    eventually("three mails", async || (resets().await == 3).then_some(())).await;
    stack.settle().await;
    assert_eq!(resets().await, 3);
    let logs: String = stack.processes().map(sealpost_testing::Process::log_text).collect();
    assert!(!logs.contains(&token), "a token is in a log");
}

#[tokio::test]
async fn attack_22_a_link_is_good_once_however_many_use_it_embedded() {
    attack_22_a_link_is_good_once_however_many_use_it(Form::Embedded).await;
}

#[tokio::test]
async fn attack_22_a_link_is_good_once_however_many_use_it_cluster() {
    attack_22_a_link_is_good_once_however_many_use_it(Form::Cluster).await;
}

async fn a_new_password_voids_all_links_whoever_sets_it(form: Form) {
    let mailbox = Mailbox::start().await;
    let stack = stack(form, &mailbox).await;
    let (ann, address) = with_address(&stack, &mailbox, 0, "ann").await;
    let ask = async |purpose: &str, number: usize| {
        let path = if purpose == "magic_link" { "magic-link" } else { "password/forgot" };
        ann.api.post(&format!("/api/auth/{path}"), &json!({ "email": address })).await.ok(202);
        mailbox.token(&address, number, purpose).await
    };
    let refused = async |link: &str, reset: &str| {
        let path = "/api/auth/magic-link/signin";
        ann.api.post(path, &json!({ "token": link })).await.is_problem(403, "link-refused");
        let body = json!({ "token": reset, "new_password": "walrus lantern 47 x" });
        ann.api.post("/api/auth/password/reset", &body).await.is_problem(403, "link-refused");
    };
    // By the operator, who acts because somebody may be in the account: also in its mails.
    let (link, reset) = (ask("magic_link", 2).await, ask("reset_password", 3).await);
    let printed = stack.run(&["admin", "reset-password", &ann.username]);
    refused(&link, &reset).await;
    let password = printed.lines().find_map(|line| line.strip_prefix("password: ")).unwrap().to_owned();
    let ann = User { password, ..ann.clone() }.sign_in().await;
    // By its owner.
    let (link, reset) = (ask("magic_link", 4).await, ask("reset_password", 5).await);
    let change = json!({ "password": ann.password, "new_password": "harbour quiet 99 lamp" });
    ann.post("/api/auth/password", change).await.ok(204);
    refused(&link, &reset).await;
    // By another link. The notice of the change before is the sixth mail.
    mailbox.mail(&address, 6).await;
    let (link, reset) = (ask("magic_link", 7).await, ask("reset_password", 8).await);
    let body = json!({ "token": reset, "new_password": "lamp quiet 99 harbour" });
    ann.api.post("/api/auth/password/reset", &body).await.ok(204);
    refused(&link, &reset).await;
    assert_eq!(sign_in(&ann, "lamp quiet 99 harbour").await, 200);
    stack.settle().await;
}

#[tokio::test]
async fn a_new_password_voids_all_links_whoever_sets_it_embedded() {
    a_new_password_voids_all_links_whoever_sets_it(Form::Embedded).await;
}

#[tokio::test]
async fn a_new_password_voids_all_links_whoever_sets_it_cluster() {
    a_new_password_voids_all_links_whoever_sets_it(Form::Cluster).await;
}

#[tokio::test]
async fn a_changed_password_signs_out_all_other_devices() {
    let mailbox = Mailbox::start().await;
    let stack = stack(Form::Cluster, &mailbox).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    let other = ann.sign_in().await;
    let (mut here, mut there) = (ann.socket().await, other.at(&stack, 1).socket().await);
    let change = |password: &str, new: &str| json!({ "password": password, "new_password": new });
    ann.post("/api/auth/password", change("not the password", "harbour quiet 99 lamp"))
        .await
        .is_problem(401, "wrong-credentials");
    ann.post("/api/auth/password", change(&ann.password, "short")).await.is_problem(422, "weak-password");
    ann.post("/api/auth/password", change(&ann.password, "harbour quiet 99 lamp")).await.ok(204);
    assert_eq!(there.wait_for_close().await, Some(4401));
    other.get("/api/auth/me").await.is_problem(401, "unauthenticated");
    let refresh = json!({ "refresh_token": other.refresh_token });
    other.api.post("/api/auth/refresh", &refresh).await.is_problem(401, "refresh-refused");
    here.ping().await;
    ann.get("/api/auth/me").await.ok(200);
    assert_eq!((sign_in(&ann, &ann.password).await, sign_in(&ann, "harbour quiet 99 lamp").await), (401, 200));
}

#[tokio::test]
async fn a_proven_address_goes_before_a_claimed_one_and_links_end_with_a_change() {
    let mailbox = Mailbox::start().await;
    let stack = stack(Form::Embedded, &mailbox).await;
    // Somebody claims an address that is not theirs.
    let address = format!("{}@example.org", unique("ann"));
    let squatter = json!({ "username": unique("eve"), "password": "walrus lantern 47 x", "email": address });
    let api = sealpost_testing::Api::new(&stack.url(0));
    let eve = api.post("/api/auth/signup", &squatter).await.ok(201);
    assert!(mailbox.mail(&address, 1).await.text.contains("#verify_email="), "signing up asks for proof");
    // As a provider says it of somebody whose account it makes.
    let claim =
        format!("UPDATE users SET email = '{address}' WHERE id = {}", stack.id(eve["user"]["id"].as_str().unwrap()));
    assert_eq!(stack.execute(&claim).await, Ok(1));
    let ann = User::sign_up(&stack, 0, "ann").await;
    ann.post("/api/auth/email", json!({ "email": address, "password": ann.password })).await.ok(202);
    let token = mailbox.token(&address, 2, "verify_email").await;
    ann.api.post("/api/auth/email/verify", &json!({ "token": token })).await.ok(204);
    let eve = api.request("GET", "/api/auth/me", eve["access_token"].as_str(), &Value::Null).await.ok(200);
    assert_eq!(eve["email"], Value::Null);

    // A link that went to the address before is not good after the address has changed, and that address is told.
    api.post("/api/auth/password/forgot", &json!({ "email": address })).await.ok(202);
    let old = mailbox.token(&address, 3, "reset_password").await;
    let new_address = format!("{}@example.net", ann.username);
    ann.post("/api/auth/email", json!({ "email": new_address, "password": ann.password })).await.ok(202);
    let token = mailbox.token(&new_address, 1, "verify_email").await;
    ann.api.post("/api/auth/email/verify", &json!({ "token": token })).await.ok(204);
    assert!(mailbox.mail(&address, 4).await.text.contains("another mail address"));
    let reset = json!({ "token": old, "new_password": "harbour quiet 99 lamp" });
    api.post("/api/auth/password/reset", &reset).await.is_problem(403, "link-refused");
}

#[tokio::test]
async fn a_mail_server_that_puts_mail_off_gets_it_again() {
    let mailbox = Mailbox::start().await;
    mailbox.put_off(2);
    let stack = stack(Form::Embedded, &mailbox).await;
    let (ann, _) = with_address(&stack, &mailbox, 0, "ann").await;
    assert!(stack.process("serve-1").log_text().contains("a mail could not be sent yet"));
    ann.get("/api/auth/me").await.ok(200);
}

#[tokio::test]
async fn without_a_mail_server_mails_are_private_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let stack = Stack::start(Form::Embedded, Settings::default()).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    ann.post("/api/auth/email", json!({ "email": "ann@example.org", "password": ann.password })).await.ok(202);
    let folder = stack.folder().join("data/mail");
    let path = eventually("a mail", async || {
        let file = std::fs::read_dir(&folder).ok()?.next()?.ok()?.path();
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("/mail#verify_email=")).then_some(file)
    })
    .await;
    assert!(std::fs::read_to_string(&path).unwrap().contains(&stack.url(0)), "the link is to where it listens");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
}

/// The answer, and the password.
async fn sign_up(api: &Api, email: &str) -> (Reply, String) {
    let password = unique("pass word ");
    let body = json!({ "username": unique("mal"), "password": password, "email": email });
    (api.post("/api/auth/signup", &body).await, password)
}

/// RELIABILITY.md 3.6, number 20: everything that a stranger can do with a mail address is answered alike whether an account has it.
async fn attack_20_no_answer_tells_whether_an_address_is_known(form: Form) {
    let mailbox = Mailbox::start().await;
    let stack = stack(form, &mailbox).await;
    let (ann, known) = with_address(&stack, &mailbox, 0, "ann").await;
    let api = Api::new(&stack.url(1));
    let unknown = format!("{}@example.org", unique("nobody"));
    let mut seen = Vec::new();
    for address in [&known, &unknown] {
        let (made, password) = sign_up(&api, &address.to_uppercase()).await;
        let body = made.ok(201);
        let token = body["access_token"].as_str().unwrap().to_owned();
        let mut me = api.request("GET", "/api/auth/me", Some(&token), &Value::Null).await.ok(200);
        assert_eq!((&me["email"], &me["email_verified"]), (&Value::Null, &json!(false)), "{me}");
        let mut keys: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        for changing in ["id", "session_id", "username", "display_name", "created_at"] {
            me.as_object_mut().unwrap().remove(changing);
        }
        // Neither does it sign in anybody but its owner, nor is anybody found by it.
        let wrong = json!({ "username": address, "password": "not the password" });
        let refused = api.post("/api/auth/signin", &wrong).await;
        // Its own password does not either: the address is not proven to be this account's.
        let own = json!({ "username": address, "password": password });
        api.post("/api/auth/signin", &own).await.is_problem(401, "wrong-credentials");
        let found = api.request("GET", &format!("/api/users/{address}"), Some(&token), &Value::Null).await;
        let listed = api.request("GET", &format!("/api/users?query={address}"), Some(&token), &Value::Null).await;
        let answers = ["magic-link", "password/forgot"].map(|path| (path, json!({ "email": address })));
        let mut texts = vec![refused.text, found.text, listed.text];
        for (path, body) in answers {
            let reply = api.post(&format!("/api/auth/{path}"), &body).await;
            texts.push(format!("{} {}", reply.status, reply.text));
        }
        seen.push((keys, me.to_string(), texts, password));
    }
    let (first, second) = (&seen[0], &seen[1]);
    assert_eq!((&first.0, &first.1, &first.2), (&second.0, &second.1, &second.2));
    // Only the owner hears of it, without a link, and nobody can be buried in such mails.
    let eve = User::sign_up(&stack, 0, "eve").await;
    for _ in 0..6 {
        sign_up(&api, &known).await.0.ok(201);
        eve.post("/api/auth/email", json!({ "email": known, "password": eve.password })).await.ok(202);
    }
    let told = || {
        let mails = mailbox.mails_to(&known);
        mails.into_iter().filter(|mail| mail.text.contains("You have an account already")).collect::<Vec<_>>()
    };
    eventually("the mails to the owner", async || (told().len() == 3).then_some(())).await;
    stack.settle().await;
    for mail in told() {
        assert!(!mail.text.contains("/mail#") && mail.text.contains(&ann.username), "{mail:?}");
    }
    assert_eq!(mailbox.mails_to(&known).iter().filter(|mail| mail.text.contains("#verify_email=")).count(), 1);
    assert_eq!(told().len(), 3);
    // Whoever reads the mails of the other address proves it, and signs in with it from then on.
    let token = mailbox.token(&unknown, 1, "verify_email").await;
    api.post("/api/auth/email/verify", &json!({ "token": token })).await.ok(204);
    let credentials = json!({ "username": unknown, "password": second.3 });
    api.post("/api/auth/signin", &credentials).await.ok(200);
}

#[tokio::test]
async fn attack_20_no_answer_tells_whether_an_address_is_known_embedded() {
    attack_20_no_answer_tells_whether_an_address_is_known(Form::Embedded).await;
}

#[tokio::test]
async fn attack_20_no_answer_tells_whether_an_address_is_known_cluster() {
    attack_20_no_answer_tells_whether_an_address_is_known(Form::Cluster).await;
}

/// RELIABILITY.md 3.6, number 22: a link that is too old, or in the hands of another account.
async fn attack_22_a_link_counts_for_its_time_and_its_account(form: Form) {
    let mailbox = Mailbox::start().await;
    let stack = stack(form, &mailbox).await;
    let (ann, address) = with_address(&stack, &mailbox, 0, "ann").await;
    let bob = User::sign_up(&stack, 1, "bob").await;
    let wanted = format!("{}@example.net", ann.username);
    for (path, body) in [
        ("password/forgot", json!({ "email": address })),
        ("magic-link", json!({ "email": address })),
        ("email", json!({ "email": wanted, "password": ann.password })),
    ] {
        let reply = ann.post(&format!("/api/auth/{path}"), body).await;
        reply.ok(202);
    }
    let mut of_ann = Vec::new();
    for number in [2, 3] {
        of_ann.push(mailbox.mail(&address, number).await);
    }
    let token = |purpose: &str| {
        let mail = of_ann.iter().find(|mail| mail.text.contains(purpose)).unwrap();
        mail.token(purpose)
    };
    let (reset, link) = (token("reset_password"), token("magic_link"));
    let verify = mailbox.token(&wanted, 1, "verify_email").await;
    let uses = [
        ("password/reset", json!({ "token": reset, "new_password": "harbour quiet 99 lamp" })),
        ("magic-link/signin", json!({ "token": link })),
        ("email/verify", json!({ "token": verify })),
    ];
    // Too old.
    let until = "SELECT count(*) FROM mail_tokens WHERE expires_at - 600000 <= ";
    let now = sealpost_schema::Clock::default().now().millis();
    assert_eq!(stack.count(&format!("{until}{now}")).await, 3, "none is good for longer than ten minutes");
    let shift = async |by: i64| stack.execute(&format!("UPDATE mail_tokens SET expires_at = expires_at + {by}")).await;
    assert_eq!(shift(-600_000).await, Ok(3));
    for (path, body) in &uses {
        bob.post(&format!("/api/auth/{path}"), body.clone()).await.is_problem(403, "link-refused");
    }
    assert_eq!(shift(600_000).await, Ok(3));
    // Bob, signed in as himself, has got Ann's links: nothing of his changes, and what does is hers.
    let [(_, _), (path, body), (verify_path, verify_body)] = &uses;
    let signed_in = bob.post(&format!("/api/auth/{path}"), body.clone()).await.ok(200);
    assert_eq!(signed_in["user"]["id"], ann.id);
    bob.post(&format!("/api/auth/{verify_path}"), verify_body.clone()).await.ok(204);
    assert_eq!(ann.get("/api/auth/me").await.ok(200)["email"], wanted);
    assert_eq!(bob.get("/api/auth/me").await.ok(200)["email"], Value::Null);
    // The address has changed since that link was sent.
    let (path, body) = &uses[0];
    bob.post(&format!("/api/auth/{path}"), body.clone()).await.is_problem(403, "link-refused");
    assert_eq!(sign_in(&bob, &bob.password).await, 200);
}

#[tokio::test]
async fn attack_22_a_link_counts_for_its_time_and_its_account_embedded() {
    attack_22_a_link_counts_for_its_time_and_its_account(Form::Embedded).await;
}

#[tokio::test]
async fn attack_22_a_link_counts_for_its_time_and_its_account_cluster() {
    attack_22_a_link_counts_for_its_time_and_its_account(Form::Cluster).await;
}

/// RELIABILITY.md 3.6, number 8: a token out of a mail is good at its own route and nowhere else.
#[tokio::test]
async fn attack_8_a_token_of_a_mail_is_no_access_token() {
    let mailbox = Mailbox::start().await;
    let stack = stack(Form::Embedded, &mailbox).await;
    let (ann, address) = with_address(&stack, &mailbox, 0, "ann").await;
    for (number, path, purpose) in [(2, "magic-link", "magic_link"), (3, "password/forgot", "reset_password")] {
        ann.api.post(&format!("/api/auth/{path}"), &json!({ "email": address })).await.ok(202);
        let token = mailbox.token(&address, number, purpose).await;
        let reply = ann.api.request("GET", "/api/auth/me", Some(&token), &Value::Null).await;
        reply.is_problem(401, "unauthenticated");
        ann.api.post("/api/auth/refresh", &json!({ "refresh_token": token })).await.is_problem(401, "refresh-refused");
        let opened = Connect::to(&ann.api.base).header("authorization", &format!("Bearer {token}")).open().await;
        assert_eq!(opened.err().unwrap().status, 401, "{purpose}");
        let mut socket = Connect::to(&ann.api.base).open().await.unwrap();
        socket.send(&json!({ "type": "authenticate", "token": token })).await;
        assert_eq!(socket.wait_for_close().await, Some(4401), "{purpose}");
    }
}

async fn mails_that_wait_at_a_stop_are_sent_after_it(form: Form) {
    let mailbox = Mailbox::start().await;
    let stack = stack(form, &mailbox).await;
    let (ann, address) = with_address(&stack, &mailbox, 0, "ann").await;
    mailbox.put_off(usize::MAX);
    let first = if form == Form::Embedded { "serve-1" } else { "gateway-1" };
    ann.api.post("/api/auth/magic-link", &json!({ "email": address })).await.ok(202);
    let change = json!({ "password": ann.password, "new_password": "harbour quiet 99 lamp" });
    ann.post("/api/auth/password", change).await.ok(204);
    // Of both: a mail server may take what it was sent whole by somebody who then goes without hearing the answer.
    let put_off = async || {
        let log = stack.process(first).log_text();
        (log.matches("a mail could not be sent yet").count() >= 2).then_some(())
    };
    eventually("an attempt of both", put_off).await;
    let kept = "SELECT count(*) FROM kept_mails";
    assert_eq!(stack.count(kept).await, 0);
    assert!(stack.process(first).terminate().success());
    mailbox.put_off(0);
    if form == Form::Embedded {
        assert_eq!(stack.count(kept).await, 2);
        stack.process(first).start();
        stack.ready().await;
    }
    // In a cluster another gateway takes them up. The link of before the change of the password is made anew, and good.
    let token = async || {
        let mails = mailbox.mails_to(&address);
        let notice = mails.iter().any(|mail| mail.text.contains("Your password was changed"));
        mails.iter().find(|mail| notice && mail.text.contains("#magic_link=")).map(|mail| mail.token("magic_link"))
    };
    let token = eventually("both mails", token).await;
    let there = ann.at(&stack, 1);
    there.api.post("/api/auth/magic-link/signin", &json!({ "token": token })).await.ok(200);
    assert_eq!(stack.count(kept).await, 0);
    let mails: Vec<_> = mailbox.mails_to(&address).into_iter().map(|mail| mail.text).collect();
    assert_eq!(mails.len(), 3, "each once: {mails:#?}");
}

#[tokio::test]
async fn mails_that_wait_at_a_stop_are_sent_after_it_embedded() {
    mails_that_wait_at_a_stop_are_sent_after_it(Form::Embedded).await;
}

#[tokio::test]
async fn mails_that_wait_at_a_stop_are_sent_after_it_cluster() {
    mails_that_wait_at_a_stop_are_sent_after_it(Form::Cluster).await;
}

fn by_tls(mailbox: &Mailbox, how: &str) -> Settings {
    let settings = settings(mailbox).set("SEALPOST__MAIL__SMTP_HOST", "localhost");
    settings.set("SEALPOST__MAIL__SMTP_TLS", how)
}

#[tokio::test]
async fn mails_go_by_tls_to_a_server_of_ones_own_authority() {
    for (encryption, how) in [(Encryption::Starttls, "starttls"), (Encryption::Tls, "tls")] {
        let (certificate, folder) = (Certificate::new(), tempfile::tempdir().unwrap());
        let mailbox = Mailbox::start_with(encryption, &certificate).await;
        let authority = certificate.write(folder.path());
        let settings = by_tls(&mailbox, how).set("SEALPOST__MAIL__SMTP_AUTHORITY", authority.display());
        let stack = Stack::start(Form::Embedded, settings).await;
        // The server takes nothing in the clear.
        with_address(&stack, &mailbox, 0, "ann").await;
    }
}

#[tokio::test]
async fn without_tls_that_can_be_trusted_no_mail_is_sent() {
    for (encryption, how) in [
        (Encryption::None, "starttls"),
        (Encryption::None, "tls"),
        (Encryption::Starttls, "starttls"),
        (Encryption::Tls, "tls"),
    ] {
        // The last two have a certificate that nobody vouches for.
        let mailbox = Mailbox::start_with(encryption, &Certificate::new()).await;
        let settings =
            by_tls(&mailbox, how).set("SEALPOST__MAIL__ATTEMPTS", 1).set("SEALPOST__MAIL__TIMEOUT_SECONDS", 5);
        let stack = Stack::start(Form::Embedded, settings).await;
        let ann = User::sign_up(&stack, 0, "ann").await;
        let wanted = json!({ "email": "ann@example.org", "password": ann.password });
        ann.post("/api/auth/email", wanted).await.ok(202);
        let serve = stack.process("serve-1");
        let dropped = async || serve.log_text().contains("a mail could not be sent and is dropped").then_some(());
        eventually("the end of the attempt", dropped).await;
        assert!(mailbox.mails_to("ann@example.org").is_empty(), "{encryption:?}, {how}");
    }
}
