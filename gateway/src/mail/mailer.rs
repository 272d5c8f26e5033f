//! The task that looks people up, makes links, and sends.

use std::sync::Arc;
use std::time::Duration;

use lettre::message::Mailbox;
use sea_orm::{
    ColumnTrait as _, DatabaseConnection, DbErr, EntityTrait as _, QueryFilter as _, QuerySelect as _, Select,
};
use sealpost_schema::entities::mail_token::Purpose;
use sealpost_schema::entities::user;
use sealpost_schema::{Clock, UserId};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::compose::{self, Mail};
use super::config::MailConfig;
use super::kept;
use super::tokens::{self, NewToken};
use super::transport::{MailError, Transport};
use crate::config::GatewayConfig;
use crate::transaction;

/// Mails on their way at once. One that waits for its next attempt counts, so a server that is away fills the queue and not the memory.
const AT_ONCE: usize = 8;
/// Mails that another gateway left when it stopped are looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(20);
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What to do. Who is meant is looked up by the task, so that asking takes the same time for everybody. Kept over a stop as JSON: names and
/// fields of what is there stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Job {
    /// Whoever has proven to have this address, if anybody.
    Link {
        email: String,
        purpose: Purpose,
    },
    /// To an address that this user says is theirs. If somebody else has proven that it is theirs, they are told and get no link.
    Verify {
        user: UserId,
        email: String,
    },
    PasswordChanged {
        user: UserId,
    },
    EmailChanged {
        user: UserId,
        before: String,
    },
}

/// Takes jobs. Cheap to clone.
#[derive(Clone)]
pub struct Mailer(mpsc::Sender<Job>);

struct Post {
    transport: Transport,
    from: Mailbox,
    base: String,
    config: MailConfig,
    clock: Clock,
    db: DatabaseConnection,
}

impl Mailer {
    /// Starts the task. It ends at `stop`; what has not been sent by then is kept in the store, for the next one that starts and for the
    /// tasks of other gateways.
    ///
    /// # Errors
    /// The settings of mail are of no use.
    pub fn start(
        config: MailConfig,
        gateway: &GatewayConfig,
        clock: Clock,
        db: DatabaseConnection,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, MailError> {
        let (sender, jobs) = mpsc::channel(config.max_queued);
        let (transport, from) = (Transport::new(&config)?, config.from.parse()?);
        let post = Arc::new(Post { transport, from, base: gateway.base_url(), config, clock, db });
        let of_jobs = tasks.clone();
        tasks.spawn(run(post, jobs, of_jobs, stop));
        Ok(Self(sender))
    }

    /// Never waits. Beyond the queue's bound the mail is dropped, and the log says so.
    pub fn post(&self, job: Job) {
        if self.0.try_send(job).is_err() {
            metrics::counter!("sealpost_mails_total", "outcome" => "dropped").increment(1);
            tracing::error!("a mail was dropped: mail.max_queued wait already");
        }
    }
}

async fn run(post: Arc<Post>, mut jobs: mpsc::Receiver<Job>, tasks: TaskTracker, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        let some = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            job = jobs.recv() => match job {
                Some(job) => vec![job],
                None => return,
            },
            _ = looks.tick() => kept::take(&post.db, post.clock.now(), post.link_lifetime()).await,
        };
        for job in some {
            let place = stop.run_until_cancelled(Arc::clone(&places).acquire_owned()).await;
            let Some(Ok(place)) = place else {
                kept::keep(&post.db, post.clock.now(), &[job]).await;
                continue;
            };
            let (post, stop) = (Arc::clone(&post), stop.clone());
            tasks.spawn(async move {
                let _place = place;
                if stop.run_until_cancelled(post.work(job.clone())).await.is_none() {
                    kept::keep(&post.db, post.clock.now(), &[job]).await;
                }
            });
        }
    }
    jobs.close();
    let mut left = Vec::new();
    while let Some(job) = jobs.recv().await {
        left.push(job);
    }
    kept::keep(&post.db, post.clock.now(), &left).await;
}

/// Whoever has proven that this address is theirs.
fn proven(email: &str) -> Select<user::Entity> {
    user::Entity::by_email(email).filter(user::Column::EmailVerifiedAt.is_not_null())
}

impl Post {
    async fn work(&self, job: Job) {
        let outcome = match self.compose(job).await {
            Ok(Some(mail)) => self.send(&mail).await,
            Ok(None) => "nobody",
            Err(error) => {
                tracing::error!(%error, "a mail could not be made");
                "failed"
            }
        };
        metrics::counter!("sealpost_mails_total", "outcome" => outcome).increment(1);
    }

    async fn compose(&self, job: Job) -> Result<Option<Mail>, DbErr> {
        let by_id = |id: UserId| user::Entity::active_by_id(id.0).one(&self.db);
        match job {
            Job::Link { email, purpose } => {
                let Some(user) = proven(&email).one(&self.db).await? else { return Ok(None) };
                self.link(&user, &email, purpose).await
            }
            Job::Verify { user, email } => {
                let Some(user) = by_id(user).await? else { return Ok(None) };
                match proven(&email).filter(user::Column::Id.ne(user.id)).one(&self.db).await? {
                    Some(owner) => self.link(&owner, &email, Purpose::AddressInUse).await,
                    None => self.link(&user, &email, Purpose::VerifyEmail).await,
                }
            }
            Job::PasswordChanged { user } => {
                let user = by_id(user).await?.filter(|user| user.email_verified_at.is_some());
                Ok(user.and_then(|user| Some(compose::password_changed(&user.email?, &user.username))))
            }
            Job::EmailChanged { user, before } => {
                Ok(by_id(user).await?.map(|user| compose::email_changed(&before, &user.username)))
            }
        }
    }

    fn link_lifetime(&self) -> Duration {
        Duration::from_secs(self.config.link_minutes * 60)
    }

    async fn link(&self, user: &user::Model, email: &str, purpose: Purpose) -> Result<Option<Mail>, DbErr> {
        let now = self.clock.now();
        let until = now.plus(self.link_lifetime());
        let new = NewToken { user: UserId(user.id), purpose, email };
        let transaction = transaction::begin_on(&self.db).await?;
        // Links of one user are counted one after the other.
        user::Entity::find_by_id(user.id).lock_exclusive().one(&transaction).await?;
        let made = tokens::make(&transaction, &new, now, until).await?;
        transaction.commit().await?;
        let Some(token) = made else { return Ok(None) };
        let minutes = self.config.link_minutes;
        Ok(Some(compose::with_link(&self.base, email, &user.username, purpose, &token, minutes)))
    }

    async fn send(&self, mail: &Mail) -> &'static str {
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=self.config.attempts {
            let error = match self.transport.send(&self.from, mail).await {
                Ok(()) => return "sent",
                Err(error) => error,
            };
            if !error.is_passing() || attempt == self.config.attempts {
                tracing::error!(%error, attempt, "a mail could not be sent and is dropped");
                return "failed";
            }
            tracing::warn!(%error, attempt, "a mail could not be sent yet");
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        "failed"
    }
}
