//! `sealpost admin`: what the operator can do without signing in. Works on the cluster's database when `database_url` is set, else on the one in
//! `data_dir`, next to a running server, which sees every change within a second.

use std::io::Read as _;

use anyhow::{Context as _, bail};
use sea_orm::DatabaseConnection;
use sealpost_gateway::accounts::{self, AccountError, Act, NewPassword, ServerRole};
use sealpost_gateway::audit::PasswordChange;
use sealpost_gateway::auth::{Passwords, email, username};
use sealpost_gateway::caller::Caller;
use sealpost_schema::entities::user;
use sealpost_schema::{Clock, UserId};
use secrecy::SecretString;

use crate::cli::AdminCommand;
use crate::config::Config;
use crate::run::{self, Folder, database};
use crate::{output, telemetry};

pub(crate) fn run(command: AdminCommand, config: Config) -> anyhow::Result<()> {
    telemetry::start_logs(&config.log)?;
    run::block_on(async move {
        let db = open(&config).await?;
        let done = act(command, &config, &db).await;
        db.close().await?;
        done
    })
}

/// The store that the settings name, if it is up to date.
pub(crate) async fn open(config: &Config) -> anyhow::Result<DatabaseConnection> {
    let db = if config.database_url.is_some() {
        database::postgres(config).await?
    } else {
        let path = Folder::at(&config.data_dir).database();
        if !path.exists() {
            bail!("{} is not there: start `sealpost serve` once, or set DATABASE_URL for a cluster", path.display());
        }
        database::sqlite(path, 1).await?
    };
    let pending = sealpost_migrations::pending(&db).await.context("the database does not answer")?;
    if !pending.is_empty() {
        bail!("the database lacks migrations ({}): run `sealpost migrate`, or start the server", pending.join(", "));
    }
    Ok(db)
}

async fn act(command: AdminCommand, config: &Config, db: &DatabaseConnection) -> anyhow::Result<()> {
    let (caller, now) = (Caller::default(), Clock::default().now());
    let act = Act { by: None, caller: &caller, now };
    match command {
        AdminCommand::Create { username, email, user, password_stdin } => {
            create(config, db, act, &username, email.as_deref(), user, password_stdin).await
        }
        AdminCommand::Promote { username } => {
            accounts::set_role(db, find(db, &username).await?, ServerRole::Admin, act).await?;
            output::line(format!("{username} administers this server"))
        }
        AdminCommand::Demote { username } => {
            accounts::set_role(db, find(db, &username).await?, ServerRole::User, act).await?;
            output::line(format!("{username} does not administer this server any more"))
        }
        AdminCommand::Disable { username } => {
            let ended = accounts::disable(db, find(db, &username).await?, act).await?;
            output::line(format!("{username} is disabled; sessions ended: {}", ended.len()))
        }
        AdminCommand::Enable { username } => {
            accounts::enable(db, find(db, &username).await?, act).await?;
            output::line(format!("{username} can sign in"))
        }
        AdminCommand::ResetPassword { username, password_stdin } => {
            let (id, given) = (find(db, &username).await?, given_password(password_stdin)?);
            let hash = Hashed::make(config, given, &[username.as_str()]).await?;
            let by = PasswordChange::Operator;
            let new = NewPassword { hash: hash.hash.clone(), instead_of: None, by, keep: None };
            let ended = accounts::replace_password(db, id, new, act).await?;
            hash.show()?;
            output::line(format!("{username} has a new password; sessions ended: {}", ended.len()))
        }
    }
}

async fn find(db: &DatabaseConnection, username: &str) -> anyhow::Result<UserId> {
    let row = accounts::find(db, username).await?;
    row.map(|row| UserId(row.id)).with_context(|| format!("there is no user `{username}`"))
}

async fn create(
    config: &Config,
    db: &DatabaseConnection,
    act: Act<'_>,
    name: &str,
    address: Option<&str>,
    plain: bool,
    password_stdin: bool,
) -> anyhow::Result<()> {
    let name = username::normalize(name).context(username::RULE)?;
    let address = match address {
        Some(address) => Some(email::normalize(address).context("the email is not of the shape name@example.org")?),
        None => None,
    };
    let role = if plain { ServerRole::User } else { ServerRole::Admin };
    let own = [Some(name.as_str()), address.as_deref()];
    let own: Vec<_> = own.into_iter().flatten().collect();
    let hash = Hashed::make(config, given_password(password_stdin)?, &own).await?;
    let row = user::Model {
        email: address.clone(),
        role: role.as_str().to_owned(),
        password_hash: hash.hash.clone(),
        ..user::Model::new(UserId::new().0, &name, act.now.millis())
    };
    match accounts::create(db, row, act).await {
        Err(AccountError::Taken) => bail!("somebody has this name or email already; see `sealpost admin promote`"),
        other => other?,
    }
    hash.show()?;
    output::line(format!("{name} can sign in{}", if plain { "" } else { " and administers this server" }))
}

/// The first line of the standard input, if that was asked for. Not an argument: others can see those.
fn given_password(stdin: bool) -> anyhow::Result<Option<SecretString>> {
    if !stdin {
        return Ok(None);
    }
    let mut text = String::new();
    std::io::stdin().take(4096).read_to_string(&mut text).context("the password cannot be read")?;
    Ok(Some(SecretString::from(text.lines().next().unwrap_or_default())))
}

/// A password's hash, and the password itself if it was made here.
struct Hashed {
    hash: String,
    made: Option<String>,
}

impl Hashed {
    async fn make(config: &Config, given: Option<SecretString>, own: &[&str]) -> anyhow::Result<Self> {
        let passwords = Passwords::new(&config.auth);
        let made = given.is_none().then(Passwords::generate).transpose()?;
        let password = given.or_else(|| made.clone().map(SecretString::from)).unwrap_or_default();
        let own = own.iter().map(|&word| word.to_owned()).collect();
        Ok(Self { hash: passwords.hash_new(password, own).await?, made })
    }

    fn show(&self) -> anyhow::Result<()> {
        match &self.made {
            Some(password) => output::line(format!("password: {password}")),
            None => Ok(()),
        }
    }
}
