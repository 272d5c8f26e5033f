//! Keys: read from settings, kept in a file by `serve`, made anew.
//!
//! Promised (`tests/keys.rs`): no text made here holds a key, apart from what `sealpost keys generate` prints; a key file that others can
//! read is refused; new keys are never made over data that old ones sealed.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sealpost_gateway::SigningKey;
use sealpost_outgoing::{WebhookKey, WebhookKeys};
use sealpost_sealing::{KeyRing, KeyRingError};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

use crate::config::{Config, Mistakes};
use crate::output;

const FERNET: &str = "FERNET_KEYS";
const SIGNING: &str = "SIGNING_KEY";
const WEBHOOK: &str = "WEBHOOK_KEY";
const FILE: &str = "keys.env";

/// What a gateway needs.
pub struct Keys {
    pub key_ring: KeyRing,
    pub signing_keys: Vec<SigningKey>,
    /// As settings have them, for gateway and worker to make their own of; none: no webhooks.
    pub webhook_keys: Vec<SecretString>,
}

/// The keys that settings name.
#[derive(Clone, Copy, Default)]
pub struct Configured<'a> {
    pub fernet: &'a [SecretString],
    pub signing: &'a [SecretString],
    pub webhook: &'a [SecretString],
}

impl<'a> Configured<'a> {
    pub(crate) fn of(config: &'a Config) -> Self {
        Self { fernet: &config.fernet_keys, signing: &config.signing_keys, webhook: &config.webhook_keys }
    }
}

/// What is wrong with the keys that are set.
pub(crate) fn mistakes_in(fernet: &[SecretString], signing: &[SecretString]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (key, number) in fernet.iter().zip(1..) {
        let which =
            if fernet.len() == 1 { FERNET.to_owned() } else { format!("{FERNET}, key {number} of {}", fernet.len()) };
        match KeyRing::parse(std::slice::from_ref(key)) {
            Ok(_) => {}
            Err(KeyRingError::WrongLength { got, needed, .. }) => {
                let size = if got < needed { "short" } else { "long" };
                wrong.push(format!(
                    "{which}: too {size}, it has {got} bytes and {needed} are needed; make one with `sealpost keys generate`"
                ));
            }
            Err(_) => wrong.push(format!(
                "{which}: not a Fernet key (url-safe base64 of 32 bytes); make one with `sealpost keys generate`"
            )),
        }
    }
    if wrong.is_empty()
        && !fernet.is_empty()
        && let Err(error) = KeyRing::parse(fernet)
    {
        wrong.push(format!("{FERNET}: {error}"));
    }
    for (key, number) in signing.iter().zip(1..) {
        if let Err(error) = SigningKey::parse(key) {
            let which = if signing.len() == 1 {
                SIGNING.to_owned()
            } else {
                format!("{SIGNING}, key {number} of {}", signing.len())
            };
            wrong.push(format!("{which}: {error}"));
        }
    }
    wrong
}

/// The same of the keys of webhooks.
pub(crate) fn mistakes_in_webhook_keys(webhook: &[SecretString]) -> Vec<String> {
    WebhookKeys::parse(webhook).err().map(|error| format!("{WEBHOOK}: {error}")).into_iter().collect()
}

/// `None`: there are none.
pub(crate) fn webhook_keys(webhook: &[SecretString]) -> Result<Option<WebhookKeys>, Mistakes> {
    WebhookKeys::parse(webhook).map_err(|error| Mistakes(vec![format!("{WEBHOOK}: {error}")]))
}

pub(crate) fn missing(fernet: &[SecretString], signing: &[SecretString]) -> Vec<String> {
    [(FERNET, "fernet_keys", fernet), (SIGNING, "signing_keys", signing)]
        .into_iter()
        .filter(|(_, _, keys)| keys.is_empty())
        .map(|(variable, key, _)| {
            format!(
                "{key} is not set: set {variable}; `sealpost keys generate` makes one, and all gateways need the same"
            )
        })
        .collect()
}

/// # Errors
/// All mistakes in the keys, without any part of them.
pub fn parse(configured: Configured<'_>) -> Result<Keys, Mistakes> {
    let Configured { fernet, signing, webhook } = configured;
    let wrong = [missing(fernet, signing), mistakes_in(fernet, signing), mistakes_in_webhook_keys(webhook)].concat();
    let (Ok(key_ring), Ok(signing_keys)) =
        (KeyRing::parse(fernet), signing.iter().map(SigningKey::parse).collect::<Result<_, _>>())
    else {
        return Err(Mistakes(wrong));
    };
    let webhook_keys = webhook.to_vec();
    if wrong.is_empty() { Ok(Keys { key_ring, signing_keys, webhook_keys }) } else { Err(Mistakes(wrong)) }
}

/// The keys of `serve`: those of the settings if there are any, else those of the folder, which are made if the folder is new.
/// `has_data`: something may have been sealed already.
///
/// # Errors
/// The file is readable by others, cannot be read or written, or is gone while there is data.
pub fn of_folder(folder: &Path, configured: Configured<'_>, has_data: bool) -> anyhow::Result<Keys> {
    let path = folder.join(FILE);
    if !configured.fernet.is_empty() {
        warn_of_other_keys(&path, configured.fernet);
        return Ok(parse(configured)?);
    }
    match fs::metadata(&path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound && has_data => bail!(
            "{} holds data, but its keys are missing: put {} back from your backup, or set FERNET_KEYS and SIGNING_KEY. \
             New keys would open none of the stored messages. To start from nothing, move the folder away",
            folder.display(),
            path.display()
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
            tracing::warn!(
                path = %path.display(),
                "new keys were made; keep a copy apart from the data: without them nobody can read the stored messages"
            );
        }
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
    let mut in_file = read(&path)?;
    if in_file.webhook.is_empty() && configured.webhook.is_empty() {
        // A file of before there were webhooks.
        add_webhook_key(&path).with_context(|| format!("{} cannot be written", path.display()))?;
        in_file = read(&path)?;
    }
    let webhook = if configured.webhook.is_empty() { &in_file.webhook } else { configured.webhook };
    let keys = Configured { fernet: &in_file.fernet, signing: &in_file.signing, webhook };
    parse(keys).map_err(|Mistakes(wrong)| anyhow::anyhow!("{}: {}", path.display(), wrong.join("; ")))
}

/// Settings win over the file, but what was sealed with the file's key does not open without it.
fn warn_of_other_keys(path: &Path, configured: &[SecretString]) {
    let Ok(InFile { fernet: in_file, .. }) = read(path) else { return };
    let known = |key: &SecretString| {
        let text = |key: &SecretString| Zeroizing::new(key.expose_secret().trim_end_matches('=').to_owned());
        configured.iter().any(|other| text(other) == text(key))
    };
    if !in_file.iter().all(known) {
        tracing::warn!(
            path = %path.display(),
            "FERNET_KEYS lacks a key of this file: messages sealed with it do not open; add it to the end of FERNET_KEYS"
        );
    }
}

#[derive(Default)]
struct InFile {
    fernet: Vec<SecretString>,
    signing: Vec<SecretString>,
    webhook: Vec<SecretString>,
}

fn read(path: &Path) -> anyhow::Result<InFile> {
    let mode = fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!(
            "{} holds keys and others can read it (mode {:o}): run `chmod 600 {}`",
            path.display(),
            mode & 0o777,
            path.display()
        );
    }
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let text = Zeroizing::new(text);
    let mut keys = InFile::default();
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=').map(|(name, value)| (name.trim(), value)) {
            Some((FERNET, value)) => keys.fernet = crate::config::split_keys(value),
            Some((SIGNING, value)) => keys.signing = crate::config::split_keys(value),
            Some((WEBHOOK, value)) => keys.webhook = crate::config::split_keys(value),
            _ => bail!("{}, line {number}: neither {FERNET}=…, {SIGNING}=… nor {WEBHOOK}=…", path.display()),
        }
    }
    Ok(keys)
}

fn create(path: &Path) -> anyhow::Result<()> {
    let text = Zeroizing::new(format!(
        "# Sealpost's keys. Keep a copy apart from the data: without {FERNET} nobody can read the stored messages, and\n\
         # whoever has both can read them all. To rotate, put a new key in front, with a comma.\n{}",
        *new_lines()?
    ));
    Ok(write(path, &text)?)
}

fn add_webhook_key(path: &Path) -> anyhow::Result<()> {
    let text = Zeroizing::new(fs::read_to_string(path)?);
    let made = WebhookKey::generate()?;
    let line_end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let text = Zeroizing::new(format!("{}{line_end}{WEBHOOK}={}\n", *text, made.expose_secret()));
    Ok(write(path, &text)?)
}

/// Complete, on the disk and for the owner alone, or not there at all. The caller holds the folder's lock.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let part = path.with_extension("env.part");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    File::open(path.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf))?.sync_all()
}

fn new_lines() -> anyhow::Result<Zeroizing<String>> {
    let (fernet, signing, webhook) = (KeyRing::generate_key(), SigningKey::generate(), WebhookKey::generate()?);
    Ok(Zeroizing::new(format!(
        "{FERNET}={}\n{SIGNING}={}\n{WEBHOOK}={}\n",
        fernet.expose_secret(),
        signing.expose_secret(),
        webhook.expose_secret()
    )))
}

/// `sealpost keys generate`.
pub(crate) fn print_new() -> anyhow::Result<()> {
    output::text(&new_lines()?)?;
    eprintln!(
        "Keep these: without FERNET_KEYS nobody can read the stored messages. Back them up apart from the database."
    );
    Ok(())
}
