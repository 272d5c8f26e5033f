//! What the configuration promises: one sample that is the defaults, every mistake at once, no secret in any text.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use sealpost::config::{Config, Loaded, Role, SAMPLE, Sources};
use secrecy::ExposeSecret as _;

mod fields;

/// 32 bytes as url-safe base64.
const MASTER_KEY: &str = "c2VhbHBvc3QtdGVzdC1tYXN0ZXIta2V5LTAxMjM0NTY=";

fn environment(variables: &[(&str, &str)]) -> Sources {
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { file: None, environment }
}

struct File {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

fn file(text: &str) -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sealpost.toml");
    std::fs::write(&path, text).unwrap();
    File { path, _folder: folder }
}

fn load(sources: &Sources, role: Role) -> Result<Config, String> {
    Loaded::load(sources).and_then(|loaded| loaded.check(role)).map_err(|mistakes| mistakes.to_string())
}

fn from_file(text: &str) -> Result<Config, String> {
    let file = file(text);
    load(&Sources { file: Some(file.path.clone()), environment: BTreeMap::new() }, Role::Any)
}

fn from_environment(variables: &[(&str, &str)]) -> Result<Config, String> {
    load(&environment(variables), Role::Any)
}

/// Every setting of the sample, switched on.
fn sample() -> String {
    let setting = |rest: &str| rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase());
    let line = |line: &str| line.strip_prefix('#').filter(|rest| setting(rest)).unwrap_or(line).to_owned() + "\n";
    SAMPLE.lines().map(line).collect()
}

#[test]
fn the_sample_with_every_line_switched_on_is_the_defaults() {
    let config = from_file(&sample()).unwrap();
    assert_eq!(format!("{config:#?}"), format!("{:#?}", Config::default()));
}

#[test]
fn the_sample_holds_every_key() {
    let sample: BTreeMap<String, config::Value> = flatten(&sample());
    let mut missing: Vec<_> = fields::keys::<Config>().into_iter().filter(|key| !sample.contains_key(key)).collect();
    // Its sections have names of their own, so the sample has their keys as comments.
    assert_eq!(missing, ["oidc"]);
    missing = fields::keys::<sealpost_gateway::oidc::ProviderConfig>();
    missing.retain(|key| !SAMPLE.lines().any(|line| line.starts_with(&format!("# {key} = "))));
    assert_eq!(missing, Vec::<String>::new(), "add these to sealpost.sample.toml");
}

fn flatten(text: &str) -> BTreeMap<String, config::Value> {
    fn add(prefix: &str, map: config::Map<String, config::Value>, all: &mut BTreeMap<String, config::Value>) {
        for (name, value) in map {
            match value.kind {
                config::ValueKind::Table(map) => add(&format!("{prefix}{name}."), map, all),
                _ => drop(all.insert(format!("{prefix}{name}"), value)),
            }
        }
    }
    let mut all = BTreeMap::new();
    add("", config::Source::collect(&config::File::from_str(text, config::FileFormat::Toml)).unwrap(), &mut all);
    all
}

#[test]
fn providers_of_sign_in_have_sections_of_their_own() {
    let section = "[gateway]\npublic_url = \"https://chat.example\"\n[oidc.corp]\nissuer = \"https://id.example\"\n";
    let secret = file("s3cret of the provider\n");
    let file = file(&format!("{section}client_id = \"chat\"\n"));
    let path = secret.path.display().to_string();
    let mut sources =
        environment(&[("SEALPOST__OIDC__CORP__CLIENT_SECRET_FILE", &path), ("SEALPOST__OIDC__CORP__TITLE", "Corp")]);
    sources.file = Some(file.path.clone());
    let loaded = Loaded::load(&sources).unwrap();
    let shown = loaded.show();
    assert!(shown.contains("[oidc.corp]") && !shown.contains("s3cret"), "{shown}");
    let config = loaded.check(Role::Any).unwrap();
    let corp = &config.oidc["corp"];
    assert_eq!((corp.title.as_str(), corp.client_secret.expose_secret()), ("Corp", "s3cret of the provider"));
    let wrong = from_file("[oidc.corp]\nissuer = \"http://id.example\"\nsecret = \"x\"\n").unwrap_err();
    for part in ["gateway.public_url", "oidc.corp.issuer", "oidc.corp.client_id", "oidc.corp.secret"] {
        assert!(wrong.contains(part), "{part}: {wrong}");
    }
}

#[test]
fn the_sample_as_it_is_changes_nothing() {
    assert!(SAMPLE.lines().all(|line| line.is_empty() || line.starts_with('#')));
}

#[test]
fn the_environment_goes_before_the_file() {
    let file = file("data_dir = \"/a\"\n[gateway]\nlisten = \"127.0.0.1:1\"\nmax_text_bytes = 100\n");
    let mut sources = environment(&[
        ("SEALPOST__GATEWAY__LISTEN", "0.0.0.0:9000"),
        ("SEALPOST__WORKERS__OUTBOX__PAGE", "7"),
        ("SEALPOST__DATA_DIR", ""),
    ]);
    sources.file = Some(file.path.clone());
    let config = load(&sources, Role::Serve).unwrap();
    assert_eq!(config.gateway.listen.to_string(), "0.0.0.0:9000");
    assert_eq!(config.gateway.max_text_bytes, 100);
    assert_eq!(config.workers.outbox.page, 7);
    assert_eq!(config.data_dir, PathBuf::from("/a"), "an empty variable counts as not set");
}

#[test]
fn a_variable_for_a_list_has_commas() {
    let origins = "https://a.example, https://b.example";
    let config = from_environment(&[("SEALPOST__GATEWAY__ALLOWED_ORIGINS", origins)]).unwrap();
    assert_eq!(config.gateway.allowed_origins, ["https://a.example", "https://b.example"]);
    let one = from_environment(&[("SEALPOST__GATEWAY__ALLOWED_ORIGINS", "https://a.example")]).unwrap();
    assert_eq!(one.gateway.allowed_origins, ["https://a.example"]);
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let file = file(
        "listen = 1\n[gateway]\nlisten = \"here\"\nmax_connections = 0\nmax_in_flight = \"many\"\n[nats]\nreplicas = 2\n[lane]\nqueue = 0\n",
    );
    let mut sources =
        environment(&[("SEALPOST__LOG__FORMAT", "xml"), ("FERNET_KEYS", "abcd"), ("NATS_URL", "http://x")]);
    sources.file = Some(file.path.clone());
    let text = load(&sources, Role::Gateway).unwrap_err();
    for part in [
        "listen in ",
        "gateway.listen in ",
        "gateway.max_connections is 0: use 1 or more",
        "gateway.max_in_flight in ",
        "nats.replicas is 2: use 1, 3 or 5",
        "lane.queue is 0: use 1 or more",
        "SEALPOST__LOG__FORMAT: ",
        "FERNET_KEYS: too short",
        "nats_url is no address of NATS",
        "database_url is not set: set DATABASE_URL",
        "signing_keys is not set: set SIGNING_KEY",
    ] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    assert!(text.starts_with("the configuration has 11 mistakes:"), "{text}");
}

#[test]
fn an_unknown_key_is_an_error_in_the_file_and_in_the_environment() {
    let text = from_file("[gateway]\nlisten_on = \"127.0.0.1:1\"\n[gatway]\nlisten = 1\n").unwrap_err();
    assert!(text.contains("gateway.listen_on in ") && text.contains("unknown key `listen_on`"), "{text}");
    assert!(text.contains("gatway.listen in ") && text.contains("unknown key `gatway`"), "{text}");
    let text = from_environment(&[("SEALPOST__GATEWAY__LISTNE", "127.0.0.1:1")]).unwrap_err();
    assert!(text.contains("SEALPOST__GATEWAY__LISTNE: unknown key `listne`"), "{text}");
    let text = from_environment(&[("SEALPOST__DATADIR", "/a")]).unwrap_err();
    assert!(text.contains("SEALPOST__DATADIR: unknown key `datadir`"), "{text}");
}

#[test]
fn other_variables_of_the_environment_are_no_settings() {
    from_environment(&[("SEALPOST_IMAGE", "x"), ("SEALPOST_CONFIG", "x"), ("LISTEN", "x")]).unwrap();
}

#[test]
fn secrets_have_well_known_names_and_can_come_from_files() {
    let secret = file("postgres://ann:pw@db/chat\n");
    let keys = format!("{MASTER_KEY},\n {}", MASTER_KEY.replace("c2V", "d2V"));
    let path = secret.path.to_str().unwrap();
    let config =
        from_environment(&[("DATABASE_URL_FILE", path), ("FERNET_KEYS", &keys), ("NATS_URL", "nats://a:4222")])
            .unwrap();
    assert_eq!(config.database_url.unwrap().expose_secret(), "postgres://ann:pw@db/chat");
    assert_eq!(config.fernet_keys.len(), 2);
    assert_eq!(config.nats_url.unwrap().expose_secret(), "nats://a:4222");
    let text = from_environment(&[("SIGNING_KEY_FILE", "/not/there")]).unwrap_err();
    assert!(text.contains("SIGNING_KEY_FILE names the file /not/there, which cannot be read"), "{text}");
    let both = [("DATABASE_URL", "postgres://a/b"), ("DATABASE_URL_FILE", path)];
    assert!(from_environment(&both).unwrap_err().contains("DATABASE_URL and DATABASE_URL_FILE both set database_url"));
}

#[test]
fn a_short_or_malformed_master_key_is_named_with_the_way_to_make_one() {
    let text = from_environment(&[("FERNET_KEYS", "c2hvcnQ=")]).unwrap_err();
    assert!(text.contains("FERNET_KEYS: too short, it has 5 bytes and 32 are needed"), "{text}");
    assert!(text.contains("sealpost keys generate"), "{text}");
    let text = from_environment(&[("FERNET_KEYS", &format!("{MASTER_KEY} not*base64"))]).unwrap_err();
    assert!(text.contains("FERNET_KEYS, key 2 of 2: not a Fernet key") && text.contains("keys generate"), "{text}");
    assert!(!text.contains("not*base64") && !text.contains(MASTER_KEY), "a key is shown: {text}");
    let text = from_environment(&[("SIGNING_KEY", "hunter2")]).unwrap_err();
    assert!(text.contains("SIGNING_KEY: ") && text.contains("keys generate") && !text.contains("hunter2"), "{text}");
}

#[test]
fn what_a_command_needs_depends_on_the_command() {
    load(&environment(&[]), Role::Serve).unwrap();
    let text = load(&environment(&[]), Role::Worker).unwrap_err();
    assert!(text.contains("DATABASE_URL") && text.contains("NATS_URL") && !text.contains("FERNET_KEYS"), "{text}");
    let text = load(&environment(&[("FERNET_KEYS", MASTER_KEY)]), Role::Serve).unwrap_err();
    assert!(text.contains("signing_keys is not set"), "{text}");
    let (nats, webhooks) = (("NATS_URL", "nats://a:4222"), ("WEBHOOK_KEY", MASTER_KEY));
    load(&environment(&[nats]), Role::Delivery).unwrap();
    let text = load(&environment(&[nats, webhooks]), Role::Delivery).unwrap_err();
    assert!(text.contains("set DATABASE_URL") && !text.contains(MASTER_KEY), "{text}");
    let text = load(&environment(&[("WEBHOOK_KEY", "hunter2")]), Role::Serve).unwrap_err();
    assert!(text.contains("WEBHOOK_KEY: not a key of webhooks") && !text.contains("hunter2"), "{text}");
}

const SECRETS: &str = "\
database_url = \"postgres://ann:hunter2@db:5432/chat?password=hunter2\"
nats_url = \"nats://hunter2@a:4222\"
fernet_keys = [\"hunter2\", \"hunter2\"]
signing_keys = \"hunter2\"
webhook_keys = \"hunter2\"
[nats]
user = \"ann\"
password = \"hunter2\"
token = \"hunter2\"
[oidc.corp]
client_secret = \"hunter2\"
";

#[test]
fn show_prints_every_key_and_no_secret() {
    let file = file(SECRETS);
    let mut sources = environment(&[("SEALPOST__GATEWAY__MAX_CONNECTIONS", "9")]);
    sources.file = Some(file.path.clone());
    let loaded = Loaded::load(&sources).unwrap();
    let text = loaded.show();
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("database_url = \"postgres://[redacted]@db:5432/chat?[redacted]\""), "{text}");
    assert!(text.contains("fernet_keys = [\"[redacted]\", \"[redacted]\"]"), "{text}");
    assert!(text.contains("max_connections = 9  # SEALPOST__GATEWAY__MAX_CONNECTIONS"), "{text}");
    let shown = flatten(&text);
    // Sections of providers have names of their own.
    let mut keys = fields::keys::<Config>();
    keys.iter_mut().filter(|key| *key == "oidc").for_each(|key| key.push_str(".corp.client_secret"));
    for key in keys {
        assert!(shown.contains_key(&key), "{key} is not in:\n{text}");
    }
    assert!(!format!("{loaded:?}").contains("hunter2"), "Debug shows a secret");
}

#[test]
fn no_mistake_shows_a_secret() {
    let mistakes = [
        from_file("fernet_keys = [\"hunter2\n").unwrap_err(),
        from_file("nats_url = \"hunter2\" hunter2\n").unwrap_err(),
        from_file("database_url = [\"hunter2\"]\nnats_url = \"hunter2\"\n").unwrap_err(),
        from_file("database_url = \"hunter2\"\n[nats.password]\nhunter2 = \"hunter2\"\n")
            .unwrap_err()
            .replace("password.hunter2", ""),
        from_environment(&[("DATABASE_URL", "mysql://ann:hunter2@db/chat")]).unwrap_err(),
        from_environment(&[("SIGNING_KEY", "hunter2"), ("FERNET_KEYS", "hunter2")]).unwrap_err(),
    ];
    for text in mistakes {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let sources = Sources { file: Some("/not/there.toml".into()), environment: BTreeMap::new() };
    assert!(load(&sources, Role::Any).unwrap_err().contains("the configuration file /not/there.toml cannot be read"));
}
