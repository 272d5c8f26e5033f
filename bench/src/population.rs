//! The users behind the load, made over the REST API.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{RequestBuilder, Response, StatusCode, header::RETRY_AFTER};
use serde::Deserialize;
use url::Url;
use uuid::Uuid;

use crate::report::progress;
use crate::socket::{self, Socket, Source};
use crate::wire::Ready;

/// Argon2 costs the server about 23 ms of one core for each: more at a time only makes them wait for each other.
const SIGNUPS_AT_ONCE: usize = 4;
const REQUESTS_AT_ONCE: usize = 8;
/// A conversation begins with so many at most; the others are added one by one.
const FIRST_MEMBERS: usize = 499;
/// Refused for their rate, requests are repeated this long.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Account {
    pub user_id: Uuid,
    token: String,
    source: Source,
}

pub struct Population {
    url: Url,
    clients: Vec<reqwest::Client>,
    accounts: Vec<Account>,
    /// Part of every user name, so that two runs against one server do not clash.
    run: String,
}

/// A random mark for names and client message ids.
pub fn mark() -> String {
    Uuid::new_v4().simple().to_string()[..8].to_owned()
}

impl Population {
    pub fn new(url: Url) -> anyhow::Result<Self> {
        let one = |source: usize| {
            let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30));
            client.local_address(Source(source).address(&url)).build()
        };
        let clients = (0..Source::COUNT).map(one).collect::<Result<_, _>>()?;
        Ok(Self { url, clients, accounts: Vec::new(), run: mark() })
    }

    /// The same users, for a server that was restarted at another address.
    pub fn move_to(&mut self, url: Url) {
        self.url = url;
    }

    /// Signs up users until there are `count`.
    pub async fn grow_to(&mut self, count: usize) -> anyhow::Result<()> {
        let this = &*self;
        let new: Vec<Account> = stream::iter(self.accounts.len()..count)
            .map(|number| this.sign_up(number))
            .buffered(SIGNUPS_AT_ONCE)
            .try_collect()
            .await?;
        self.accounts.extend(new);
        Ok(())
    }

    async fn sign_up(&self, number: usize) -> anyhow::Result<Account> {
        #[derive(Deserialize)]
        struct SignedUp {
            user: User,
            access_token: String,
        }
        #[derive(Deserialize)]
        struct User {
            id: Uuid,
        }
        let source = Source(number);
        let body = serde_json::json!({
            "username": self.name(number),
            "password": self.password(number),
            "display_name": format!("Bench {number}"),
        });
        let request = self.client(source).post(self.url.join("/api/auth/signup")?).json(&body);
        let reply: SignedUp = patient(request).await.context("cannot sign up")?.json().await?;
        Ok(Account { user_id: reply.user.id, token: reply.access_token, source })
    }

    /// User name and password of a number, whether somebody has signed up with them or not.
    pub fn name(&self, number: usize) -> String {
        format!("bench{}{number}", self.run)
    }

    pub fn password(&self, number: usize) -> String {
        format!("walrus-lantern-{}-{number}", self.run)
    }

    /// Tries to sign in once; what the server answers. `source`: which of the addresses it comes from.
    pub async fn sign_in(&self, source: usize, name: &str, password: &str) -> anyhow::Result<StatusCode> {
        let body = serde_json::json!({ "username": name, "password": password });
        let request = self.client(Source(source)).post(self.url.join("/api/auth/signin")?).json(&body);
        let response = request.send().await?;
        let status = response.status();
        // Read to its end, so that the connection is used again.
        response.bytes().await?;
        Ok(status)
    }

    /// What a user gets from a route.
    pub async fn get(&self, user: usize, path: &str) -> anyhow::Result<serde_json::Value> {
        Ok(self.request(user, path)?.send().await?.error_for_status()?.json().await?)
    }

    /// Says something in the direct conversation of two users.
    pub async fn talk(&self, from: &Account, with: &Account) -> anyhow::Result<()> {
        let id = self.conversation(from, with).await?;
        let body = serde_json::json!({ "client_message_id": mark(), "text": "The quick brown fox" });
        let url = self.url.join(&format!("/api/conversations/{id}/messages"))?;
        patient(self.client(from.source).post(url).bearer_auth(&from.token).json(&body)).await?;
        Ok(())
    }

    /// Returns when the search index has all that was [written](crate::wire::Writer) in this conversation up to `seq`; at once if the server
    /// does not search.
    pub async fn until_indexed(&self, conversation: Uuid, seq: u64) -> anyhow::Result<()> {
        let path = format!("/api/search?q=fox&limit=1&conversation_id={conversation}");
        let mut told = Instant::now();
        loop {
            let response = self.request(0, &path)?.send().await?;
            if !response.status().is_success() {
                return Ok(());
            }
            let page: serde_json::Value = response.json().await?;
            if page["results"][0]["message"]["seq"].as_u64().is_some_and(|newest| newest >= seq) {
                return Ok(());
            }
            if told.elapsed() > Duration::from_secs(10) {
                progress("waiting for the index; SEALPOST__SEARCH__MESSAGES_PER_SECOND=0 is fastest");
                told = Instant::now();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The direct conversation of each two users that follow each other.
    pub async fn conversations(&self, users: &[Account]) -> anyhow::Result<Vec<Uuid>> {
        stream::iter(users.chunks_exact(2))
            .map(|pair| self.conversation(&pair[0], &pair[1]))
            .buffered(REQUESTS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn conversation(&self, from: &Account, with: &Account) -> anyhow::Result<Uuid> {
        let body = serde_json::json!({ "kind": "dm", "participants": [with.user_id] });
        self.create(from, body).await
    }

    /// A group of the first of these users, with all others as members.
    pub async fn group(&self, users: &[Account]) -> anyhow::Result<Uuid> {
        let (owner, members) = users.split_first().context("a group of nobody")?;
        let (first, others) = members.split_at(members.len().min(FIRST_MEMBERS));
        let first: Vec<Uuid> = first.iter().map(|user| user.user_id).collect();
        let body = serde_json::json!({ "kind": "group", "title": "Bench", "participants": first });
        let id = self.create(owner, body).await?;
        for other in others {
            let url = self.url.join(&format!("/api/conversations/{id}/participants/{}", other.user_id))?;
            let body = serde_json::json!({ "role": "member" });
            let request = self.client(owner.source).put(url).bearer_auth(&owner.token).json(&body);
            patient(request).await.context("cannot add a member")?;
        }
        Ok(id)
    }

    async fn create(&self, from: &Account, body: serde_json::Value) -> anyhow::Result<Uuid> {
        #[derive(Deserialize)]
        struct Conversation {
            id: Uuid,
        }
        let url = self.url.join("/api/conversations")?;
        let request = self.client(from.source).post(url).bearer_auth(&from.token).json(&body);
        let reply: Conversation = patient(request).await.context("cannot create a conversation")?.json().await?;
        Ok(reply.id)
    }

    /// The direct conversations of the first user with so many others.
    pub async fn with_each(&self, count: usize) -> anyhow::Result<Vec<Uuid>> {
        let (first, others) = self.accounts.split_first().context("there is no user")?;
        stream::iter(others.iter().take(count))
            .map(|other| self.conversation(first, other))
            .buffered(REQUESTS_AT_ONCE)
            .try_collect()
            .await
    }

    /// One more connection of this user.
    pub async fn connect(&self, user: &Account, buffer: usize) -> anyhow::Result<(Socket, Ready)> {
        socket::connect(&self.url, socket::LIVE, user.source, &user.token, buffer).await
    }

    /// One that has to say where it left off.
    pub async fn come_back(&self, user: &Account, buffer: usize) -> anyhow::Result<(Socket, Ready)> {
        socket::connect(&self.url, socket::RESUME, user.source, &user.token, buffer).await
    }

    /// A request of a user, to be sent when it is time.
    pub fn request(&self, user: usize, path: &str) -> anyhow::Result<RequestBuilder> {
        let user = self.accounts.get(user).context("there is no such user")?;
        Ok(self.client(user.source).get(self.url.join(path)?).bearer_auth(&user.token))
    }

    /// The first `count` users, or all if there are fewer.
    pub fn first(&self, count: usize) -> &[Account] {
        &self.accounts[..count.min(self.accounts.len())]
    }

    fn client(&self, source: Source) -> &reqwest::Client {
        &self.clients[source.0 % self.clients.len()]
    }
}

/// Sends a request, again and again while the server says that it is too much. Any other refusal is an error with its text.
async fn patient(request: RequestBuilder) -> anyhow::Result<Response> {
    let start = Instant::now();
    loop {
        let again = request.try_clone().context("a request that cannot be repeated")?;
        let response = again.send().await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status != StatusCode::TOO_MANY_REQUESTS || start.elapsed() > PATIENCE {
            bail!("{status}: {}", response.text().await.unwrap_or_default());
        }
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        tokio::time::sleep(wait.map_or(Duration::from_millis(250), Duration::from_secs).min(PATIENCE)).await;
    }
}
