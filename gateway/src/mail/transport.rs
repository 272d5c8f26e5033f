//! The ways out: a mail server, or a folder.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::{self, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::compose::Mail;
use super::config::{MailConfig, MailTransport, SmtpTls};
use crate::authority::{self, AuthorityError};

/// Connections to the mail server that are kept.
const POOL: u32 = 4;

#[derive(Debug, thiserror::Error)]
pub enum MailError {
    #[error("the mail cannot be written: {0}")]
    Message(#[from] lettre::error::Error),
    #[error("an address is not one: {0}")]
    Address(#[from] lettre::address::AddressError),
    #[error("the mail server: {0}")]
    Smtp(#[from] smtp::Error),
    #[error("mail.smtp_authority: {0}")]
    Authority(#[from] AuthorityError),
    #[error("the folder of mails: {0}")]
    Folder(#[from] io::Error),
}

impl MailError {
    /// Whether another attempt may succeed.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Smtp(error) => !error.is_permanent() && !error.is_client(),
            Self::Folder(_) => true,
            Self::Message(_) | Self::Address(_) | Self::Authority(_) => false,
        }
    }
}

pub enum Transport {
    Smtp(Box<AsyncSmtpTransport<Tokio1Executor>>),
    File(PathBuf),
}

impl Transport {
    pub fn new(config: &MailConfig) -> Result<Self, MailError> {
        if config.transport == MailTransport::File {
            return Ok(Self::File(config.folder.clone()));
        }
        let host = config.smtp_host.as_str();
        let tls = match config.smtp_tls {
            SmtpTls::Starttls => Tls::Required(tls(config)?),
            SmtpTls::Tls => Tls::Wrapper(tls(config)?),
            SmtpTls::None => Tls::None,
        };
        // «Dangerous» is what it begins with: no TLS.
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .tls(tls)
            .port(config.smtp_port)
            .timeout(Some(Duration::from_secs(config.timeout_seconds)))
            .pool_config(PoolConfig::new().max_size(POOL));
        if !config.smtp_user.is_empty() {
            let password = config.smtp_password.expose_secret().to_owned();
            builder = builder.credentials(Credentials::new(config.smtp_user.clone(), password));
        }
        Ok(Self::Smtp(Box::new(builder.build())))
    }

    pub async fn send(&self, from: &Mailbox, mail: &Mail) -> Result<(), MailError> {
        // Built anew for each attempt: cheaper than it sounds, and the date is right.
        let message = Message::builder()
            .from(from.clone())
            .to(Mailbox::new(None, mail.to.parse()?))
            .subject(mail.subject)
            .message_id(None)
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text.clone())?;
        match self {
            Self::Smtp(smtp) => {
                smtp.send(message).await?;
            }
            Self::File(folder) => {
                let (folder, bytes) = (folder.clone(), message.formatted());
                let path =
                    tokio::task::spawn_blocking(move || write(&folder, &bytes)).await.map_err(io::Error::other)??;
                tracing::info!(path = %path.display(), "a mail was written into a file: mail.transport is `file`");
            }
        }
        Ok(())
    }
}

fn tls(config: &MailConfig) -> Result<TlsParameters, MailError> {
    let mut builder = TlsParameters::builder(config.smtp_host.clone());
    for certificate in authority::read(&config.smtp_authority)? {
        builder = builder.add_root_certificate(Certificate::from_der(certificate.to_vec())?);
    }
    Ok(builder.build()?)
}

/// Mails hold links that open accounts: only the owner of the process may read them.
fn write(folder: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join(format!("{}.eml", Uuid::now_v7()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(bytes)?;
    Ok(path)
}
