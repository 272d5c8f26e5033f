//! Search: what is found, by whom, and what never is.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sealpost_testing::{Api, Reply, Stack, User, eventually, unique};
use serde_json::{Value, json};

/// As part of an address.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        let _ = write!(all, "%{byte:02X}");
        all
    })
}

async fn ask(user: &User, words: &str, rest: &str) -> Reply {
    user.get(&format!("/api/search?q={}{rest}", encoded(words))).await
}

fn texts(page: &Value) -> Vec<String> {
    let results = page["results"].as_array().unwrap_or_else(|| panic!("no results: {page}"));
    results.iter().map(|result| result["message"]["text"].as_str().unwrap().to_owned()).collect()
}

async fn found(user: &User, words: &str, rest: &str) -> Vec<String> {
    texts(&ask(user, words, rest).await.ok(200))
}

/// The index follows in a moment.
async fn until_found(user: &User, words: &str, rest: &str, expected: &[&str]) {
    eventually(&format!("`{words}` {rest} finding {expected:?}"), async || {
        (found(user, words, rest).await == expected).then_some(())
    })
    .await;
}

/// The highlighted parts of the first result.
fn highlighted(page: &Value) -> Vec<String> {
    let first = &page["results"][0];
    let text: Vec<char> = first["message"]["text"].as_str().unwrap().chars().collect();
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let part = |range: &Value| {
        let (start, length) = (number(&range["start"]), number(&range["length"]));
        text[start..start + length].iter().collect()
    };
    first["highlights"].as_array().unwrap().iter().map(part).collect()
}

pub async fn words_beginnings_and_accents_are_found_in_every_script(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let group = ann.group(&[&bob]).await;
    let said = [
        "The ANCHOR is up, in Łódź harbour",
        "Crème brûlée auf der Straße",
        "明日は東京都のラーメンを食べる",
        "학교에서 만나요",
        "Встретимся у Ёлки",
    ];
    for (number, text) in said.iter().enumerate() {
        ann.say(&group, &format!("m-{number}"), text).await.ok(201);
    }
    until_found(&bob, "елки", "", &said[4..]).await;
    for (words, expected, parts) in [
        ("anchor", 0, vec!["ANCHOR"]),
        ("lodz anchor", 0, vec!["ANCHOR", "Łódź"]),
        ("anchor harb", 0, vec!["ANCHOR", "harb"]),
        ("creme BRULEE", 1, vec!["Crème", "brûlée"]),
        ("strasse", 1, vec!["Straße"]),
        ("東京", 2, vec!["東京"]),
        ("京都 ﾗｰﾒﾝ", 2, vec!["京都", "ラーメン"]),
        ("학교", 3, vec!["학교"]),
        ("ЁЛК", 4, vec!["Ёлк"]),
    ] {
        let page = ask(&bob, words, "").await.ok(200);
        assert_eq!(texts(&page), [said[expected]], "{words}");
        assert_eq!(highlighted(&page), parts, "{words}");
        assert_eq!((&page["results"][0]["message"]["sender_id"], page.get("next_cursor")), (&json!(ann.id), None));
    }
    for words in ["harb anchor", "anc ", "anchors", "lighthouse", "anchor lighthouse", "東都", "만나요 anchor"] {
        assert_eq!(found(&bob, words, "").await, Vec::<String>::new(), "{words}");
    }
    // A long text comes with the part that matters.
    let long = format!("{} the needle {}", "hay ".repeat(200), "hay ".repeat(200));
    ann.say(&group, "m-long", &long).await.ok(201);
    until_found(&ann, "needle", "", &[&long]).await;
    let page = ask(&ann, "needle", "").await.ok(200);
    let snippet = &page["results"][0]["snippet"];
    assert!(snippet["text"].as_str().unwrap().contains("the needle"), "{snippet}");
    assert!(snippet["text"].as_str().unwrap().chars().count() <= 240, "{snippet}");
    assert_eq!(highlighted(&page), ["needle"]);
}

pub async fn sender_time_link_and_conversation_narrow_it_down(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let (one, other) = (ann.group(&[&bob]).await, ann.group(&[&bob]).await);
    ann.say(&one, "m-1", "the anchor of ann").await.ok(201);
    bob.say(&one, "m-2", "the anchor of bob: https://example.org/harbour").await.ok(201);
    // Places are counted in seconds; these have to be apart.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    bob.say(&other, "m-3", "another anchor").await.ok(201);
    let (first, second, third) =
        ("the anchor of ann", "the anchor of bob: https://example.org/harbour", "another anchor");
    until_found(&ann, "anchor", "", &[third, second, first]).await;
    let all = ask(&ann, "anchor", "").await.ok(200);
    let moment = |index: usize| all["results"][index]["message"]["created_at"].as_str().unwrap().to_owned();
    for (words, rest, expected) in [
        ("anchor", format!("&conversation_id={one}"), vec![second, first]),
        ("anchor", format!("&conversation_id={other}"), vec![third]),
        ("anchor", format!("&sender_id={}", bob.id), vec![third, second]),
        ("", format!("&sender_id={}", ann.id), vec![first]),
        ("anchor", "&has=link".to_owned(), vec![second]),
        ("", "&has=link".to_owned(), vec![second]),
        ("harbour", String::new(), vec![second]),
        ("anchor", format!("&after={}", moment(0)), vec![third]),
        ("anchor", format!("&before={}", moment(0)), vec![second, first]),
        ("anchor", format!("&after={}&before={}", moment(1), moment(0)), vec![second]),
        ("anchor", format!("&sender_id={}&conversation_id={other}&has=link", bob.id), vec![]),
        ("anchor", format!("&sender_id={}", uuid::Uuid::now_v7()), vec![]),
    ] {
        assert_eq!(found(&ann, words, &rest).await, expected, "{words} {rest}");
        assert_eq!(found(&bob.at(stack, 0), words, &rest).await, expected, "{words} {rest}");
    }
}

pub async fn results_follow_edits_and_deletions(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let group = ann.group(&[&bob]).await;
    let sent = ann.say(&group, "m-1", "the anchor").await.ok(201);
    let path = format!("/api/messages/{}", sent["message_id"].as_str().unwrap());
    until_found(&bob, "anchor", "", &["the anchor"]).await;
    ann.request("PUT", &path, json!({ "text": "the lighthouse" })).await.ok(200);
    // The old text is gone at once, the new one is found in a moment.
    assert_eq!(found(&bob, "anchor", "").await, Vec::<String>::new());
    until_found(&bob, "lighthouse", "", &["the lighthouse"]).await;
    let rows = |table: &str| format!("SELECT count(*) FROM {table} WHERE {{}}");
    let of_it = rows("search_messages").replace("{}", &format!("conversation_id = {}", stack.id(&group)));
    assert_eq!(stack.count(&of_it).await, 1);
    ann.delete(&path).await.ok(204);
    assert_eq!(found(&bob, "lighthouse", "").await, Vec::<String>::new());
    assert_eq!(stack.count(&of_it).await, 0, "the index keeps nothing of it");
    // A whole conversation, soon after its end.
    ann.say(&group, "m-2", "another anchor").await.ok(201);
    until_found(&bob, "anchor", "", &["another anchor"]).await;
    ann.delete(&format!("/api/conversations/{group}")).await.ok(204);
    assert_eq!(found(&bob, "anchor", "").await, Vec::<String>::new());
    ask(&bob, "anchor", &format!("&conversation_id={group}")).await.is_problem(404, "not-found");
    eventually("the index to keep nothing of it", async || (stack.count(&of_it).await == 0).then_some(())).await;
}

/// RELIABILITY.md 3.6, number 4.
pub async fn attack_4_search_finds_nothing_from_before_joining(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let group = ann.group(&[&bob]).await;
    let path = format!("/api/conversations/{group}");
    for number in 0..5 {
        ann.say(&group, &format!("m-{number}"), &format!("anchor {number} https://example.org")).await.ok(201);
    }
    ann.request("PATCH", &path, json!({ "history": "since_joining" })).await.ok(200);
    eventually("bob to find all", async || (found(&bob, "anchor", "").await.len() == 5).then_some(())).await;
    ann.add(&group, &eve, "member").await.ok(200);
    ann.say(&group, "m-9", "anchor after").await.ok(201);
    until_found(&eve, "anchor", "", &["anchor after"]).await;
    assert_eq!(found(&bob, "anchor", "").await.len(), 6);
    let one = format!("&conversation_id={group}");
    let cursor = ask(&bob, "anchor", "&limit=1").await.ok(200)["next_cursor"].as_str().unwrap().to_owned();
    for (words, rest) in [
        ("anchor 3", String::new()),
        ("anchor 3", one.clone()),
        ("", format!("&has=link{one}")),
        ("", format!("&has=link&sender_id={}", ann.id)),
        // A cursor of somebody who sees more.
        ("anchor", format!("&cursor={cursor}")),
        ("anchor", format!("&cursor={cursor}{one}")),
    ] {
        let page = ask(&eve, words, &rest).await.ok(200);
        assert_eq!(page, json!({ "results": [] }), "{words} {rest}: nothing tells that there is something");
    }
    // Who comes back sees from then on only; who may see all sees all.
    ann.remove(&group, &eve).await.ok(204);
    ann.add(&group, &eve, "member").await.ok(200);
    assert_eq!(found(&eve, "anchor", "").await, Vec::<String>::new());
    ann.request("PATCH", &path, json!({ "history": "all" })).await.ok(200);
    ann.remove(&group, &eve).await.ok(204);
    ann.add(&group, &eve, "member").await.ok(200);
    assert_eq!(found(&eve, "anchor", "").await.len(), 6);
}

pub async fn nobody_finds_what_they_may_not_see(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let (group, dm) = (ann.group(&[&bob]).await, ann.dm(&bob).await);
    ann.say(&group, "m-1", "the anchor").await.ok(201);
    ann.say(&dm, "m-2", "between us: the anchor").await.ok(201);
    eventually("bob to find both", async || (found(&bob, "anchor", "").await.len() == 2).then_some(())).await;
    let one = format!("&conversation_id={group}");
    let nothing = format!("&conversation_id={}", uuid::Uuid::now_v7());
    assert_eq!(found(&eve, "anchor", "").await, Vec::<String>::new());
    assert_eq!(found(&eve, "anchor", &format!("&sender_id={}", ann.id)).await, Vec::<String>::new());
    let (foreign, missing) = (ask(&eve, "anchor", &one).await, ask(&eve, "anchor", &nothing).await);
    foreign.is_problem(404, "not-found");
    assert_eq!(foreign.text, missing.text);
    // What is hidden is left out, unless it is named.
    bob.request("PATCH", &format!("/api/conversations/{group}/state"), json!({ "hidden": true })).await.ok(200);
    assert_eq!(found(&bob, "anchor", "").await, ["between us: the anchor"]);
    assert_eq!(found(&bob, "anchor", &one).await, ["the anchor"]);
    ann.say(&group, "m-3", "still there?").await.ok(201);
    assert_eq!(found(&bob, "anchor", "").await.len(), 2);
    // Removed: at once, at every gateway.
    ann.remove(&group, &bob).await.ok(204);
    for gateway in 0..2 {
        let bob = bob.at(stack, gateway);
        assert_eq!(found(&bob, "anchor", "").await, ["between us: the anchor"]);
        ask(&bob, "anchor", &one).await.is_problem(404, "not-found");
    }
    assert_eq!(found(&ann, "anchor", "").await.len(), 2);
}

pub async fn an_api_token_searches_where_it_may(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let (chosen, other) = (ann.group(&[]).await, ann.group(&[]).await);
    let account = ann.post("/api/service-accounts", json!({ "username": unique("bot") })).await.ok(201);
    let account = account["id"].as_str().unwrap();
    for group in [&chosen, &other] {
        let path = format!("/api/conversations/{group}/participants/{account}");
        ann.request("PUT", &path, json!({ "role": "member" })).await.ok(200);
        ann.say(group, "m-1", if *group == chosen { "the chosen anchor" } else { "another anchor" }).await.ok(201);
    }
    eventually("ann to find both", async || (found(&ann, "anchor", "").await.len() == 2).then_some(())).await;
    let token = async |scopes: &[&str], conversations: Value| {
        let body = json!({ "name": "x", "scopes": scopes, "conversations": conversations });
        let made = ann.post(&format!("/api/service-accounts/{account}/tokens"), body).await.ok(201);
        made["token"].as_str().unwrap().to_owned()
    };
    let (both, bound) = (token(&["read"], json!([chosen, other])).await, token(&["read"], json!([chosen])).await);
    let sender = token(&["send"], json!([chosen])).await;
    let api = Api::new(&stack.url(1));
    let asked = async |token: &str, rest: &str| {
        api.request("GET", &format!("/api/search?q=anchor{rest}"), Some(token), &Value::Null).await
    };
    assert_eq!(texts(&asked(&both, "").await.ok(200)).len(), 2);
    assert_eq!(texts(&asked(&bound, "").await.ok(200)), ["the chosen anchor"]);
    assert_eq!(texts(&asked(&bound, &format!("&conversation_id={chosen}")).await.ok(200)), ["the chosen anchor"]);
    asked(&bound, &format!("&conversation_id={other}")).await.is_problem(404, "not-found");
    asked(&sender, "").await.is_problem(403, "forbidden");
}

pub async fn pages_of_results_join_without_a_hole(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let groups = [ann.group(&[&bob]).await, ann.group(&[&bob]).await, ann.dm(&bob).await];
    let mut said = BTreeSet::new();
    for number in 0..45 {
        // Most in one second, so that places of several conversations are the same.
        let text = format!("anchor number{number} {}", if number % 2 == 0 { "even harbour" } else { "odd harbour" });
        ann.say(&groups[number % 3], &format!("m-{number}"), &text).await.ok(201);
        said.insert(text);
    }
    eventually("all to be found", async || (found(&bob, "anchor", "&limit=50").await.len() == 45).then_some(())).await;
    let all = found(&bob, "anchor", "&limit=50").await;
    assert_eq!(all.iter().cloned().collect::<BTreeSet<_>>(), said);
    let paged = async |words: &str, rest: &str, limit: usize| {
        let (mut pages, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = ask(&bob, words, &format!("{rest}&limit={limit}{cursor}")).await.ok(200);
            let page_texts = texts(&page);
            assert!(page_texts.len() <= limit);
            pages.extend(page_texts);
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return pages,
            }
        }
    };
    for limit in [1, 7, 44, 45] {
        assert_eq!(paged("anchor", "", limit).await, all, "by {limit}");
    }
    let even: Vec<_> = all.iter().filter(|text| text.contains("even")).cloned().collect();
    assert_eq!(paged("anchor even harb", "", 4).await, even);
    assert_eq!(paged("harbour anchor", &format!("&sender_id={}", ann.id), 10).await, all);
    let first = paged("anchor", &format!("&conversation_id={}", groups[0]), 4).await;
    assert_eq!(first, all.iter().filter(|text| first.contains(text)).cloned().collect::<Vec<_>>());
    assert_eq!(first.len(), 15);
}

/// RELIABILITY.md 3.6, number 28.
pub async fn attack_28_hostile_queries_get_an_answer(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let group = ann.group(&[]).await;
    ann.say(&group, "m-1", "the anchor").await.ok(201);
    until_found(&ann, "anchor", "", &["the anchor"]).await;
    for words in [
        "' OR 1=1 --",
        "anchor'; DROP TABLE search_terms; --",
        "anchor\" OR \"a\"=\"a",
        "%anchor%_",
        "anchor\0",
        "anchor)) UNION SELECT sealed FROM events",
        "{\"$gt\": \"\"}",
        "\u{202e}anchor\u{0}\u{feff}",
        &"anchor ".repeat(30),
    ] {
        let reply = ask(&ann, words, "").await;
        assert!([200, 422].contains(&reply.status), "{words}: {reply}");
        if reply.status == 200 {
            assert!(texts(&reply.body).len() <= 1, "{reply}");
        }
    }
    let cursor = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(found(&ann, "anchor", &format!("&cursor={cursor}")).await, Vec::<String>::new());
    assert_eq!(found(&ann, "anchor", &format!("&cursor={}", "_".repeat(32))).await, Vec::<String>::new());
    assert_eq!(found(&ann, "anchor", &format!("&cursor=f{}", "_".repeat(31))).await, ["the anchor"]);
    for rest in [
        "&cursor=' OR 1=1 --",
        "&cursor=",
        &format!("&cursor={cursor}A"),
        "&limit=0",
        "&limit=51",
        "&limit=-1",
        "&conversation_id=chat.>",
        "&sender_id=1 OR 1=1",
        "&has=file",
        "&after=yesterday",
        "&after=2026-01-02T00:00:00Z&before=2026-01-01T00:00:00Z",
        "&tenant_id=1",
        "&q=twice",
    ] {
        ask(&ann, "anchor", &rest.replace(' ', "%20")).await.is_problem(422, "invalid");
    }
    let many = (10..30).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" ");
    for words in ["", " ", "!?", "a", "🎉", &"x".repeat(257), &many] {
        ask(&ann, words, "").await.is_problem(422, "invalid");
    }
    ann.get("/api/search").await.is_problem(422, "invalid");
    ann.get("/api/search?after=2026-01-02T00:00:00Z").await.is_problem(422, "invalid");
    assert_eq!(found(&ann, "anchor", "&after=0000-01-01T00:00:00Z&before=9999-12-31T23:59:59Z").await, ["the anchor"]);
}
