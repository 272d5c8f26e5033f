//! The section of mail.

use std::path::PathBuf;

use lettre::message::Mailbox;
use secrecy::SecretString;
use serde::Deserialize;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailTransport {
    /// One file for each mail, for trying out.
    #[default]
    File,
    Smtp,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    /// Begins in the clear and must change to TLS before anything else.
    #[default]
    Starttls,
    /// From the first byte.
    Tls,
    /// Only for a server on the same machine or network.
    None,
}

/// Section `[mail]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailConfig {
    pub transport: MailTransport,
    /// Where `file` puts mails. Empty: `mail` in `data_dir`.
    pub folder: PathBuf,
    /// Who mails are from.
    pub from: String,
    pub smtp_host: String,
    pub smtp_port: u16,
    pub smtp_tls: SmtpTls,
    /// PEM file of an authority of your own that the mail server's certificate may come from. Empty: only those that browsers trust.
    pub smtp_authority: PathBuf,
    /// Empty: no sign-in at the mail server.
    pub smtp_user: String,
    pub smtp_password: SecretString,
    /// One attempt takes at most this long.
    pub timeout_seconds: u64,
    /// Attempts for one mail while the server is away or puts it off; the pauses double from one second on.
    pub attempts: u32,
    /// Mails that wait; beyond it new ones are dropped.
    pub max_queued: usize,
    /// How long a link in a mail is good.
    pub link_minutes: u64,
}

impl Default for MailConfig {
    fn default() -> Self {
        Self {
            transport: MailTransport::File,
            folder: PathBuf::new(),
            from: "Sealpost <sealpost@localhost>".to_owned(),
            smtp_host: String::new(),
            smtp_port: 587,
            smtp_tls: SmtpTls::Starttls,
            smtp_authority: PathBuf::new(),
            smtp_user: String::new(),
            smtp_password: SecretString::default(),
            timeout_seconds: 20,
            attempts: 6,
            max_queued: 1000,
            link_minutes: 10,
        }
    }
}

impl MailConfig {
    /// What is wrong, each with its key and the way out; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.from.parse::<Mailbox>().is_err() {
            wrong.push(format!("mail.from is `{}`: write `Sealpost <sealpost@example.org>`", self.from));
        }
        if self.transport == MailTransport::Smtp && self.smtp_host.is_empty() {
            wrong.push("mail.smtp_host is empty: name the mail server, or set mail.transport to `file`".to_owned());
        }
        for (key, value, most) in [
            ("timeout_seconds", self.timeout_seconds, 300),
            ("attempts", u64::from(self.attempts), 12),
            ("max_queued", self.max_queued as u64, 1_000_000),
            ("link_minutes", self.link_minutes, 60),
        ] {
            if !(1..=most).contains(&value) {
                wrong.push(format!("mail.{key} is {value}: use 1 to {most}"));
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        assert_eq!(MailConfig::default().validate(), Vec::<String>::new());
        let config = MailConfig {
            transport: MailTransport::Smtp,
            from: "nobody".to_owned(),
            attempts: 0,
            link_minutes: 61,
            ..MailConfig::default()
        };
        assert_eq!(config.validate().len(), 4);
    }
}
