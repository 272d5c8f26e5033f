//! What the key file of `serve` promises.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sealpost::keys::{self, Configured};
use secrecy::SecretString;

fn refusal(folder: &Path, has_data: bool) -> String {
    match keys::of_folder(folder, Configured::default(), has_data) {
        Ok(_) => panic!("the keys were taken"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn the_first_start_makes_keys_that_only_the_owner_can_read_and_later_starts_take_them() {
    let folder = tempfile::tempdir().unwrap();
    keys::of_folder(folder.path(), Configured::default(), false).unwrap();
    let path = folder.path().join("keys.env");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let first = fs::read_to_string(&path).unwrap();
    for name in ["FERNET_KEYS", "SIGNING_KEY", "WEBHOOK_KEY"] {
        assert!(first.contains(&format!("\n{name}=")), "{name}");
    }
    keys::of_folder(folder.path(), Configured::default(), true).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), first);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left behind");
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    keys::of_folder(folder.path(), Configured::default(), false).unwrap();
    let path = folder.path().join("keys.env");
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let text = refusal(folder.path(), true);
        assert!(text.contains(&format!("chmod 600 {}", path.display())), "{text}");
    }
}

#[test]
fn data_without_its_keys_is_refused_and_no_keys_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let text = refusal(folder.path(), true);
    assert!(
        text.contains("its keys are missing") && text.contains("keys.env") && text.contains("FERNET_KEYS"),
        "{text}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn configured_keys_win_over_the_file() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    keys::of_folder(one.path(), Configured::default(), false).unwrap();
    let text = fs::read_to_string(one.path().join("keys.env")).unwrap();
    let line = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        [SecretString::from(value)]
    };
    let (fernet, signing) = (line("FERNET_KEYS="), line("SIGNING_KEY="));
    let configured = Configured { fernet: &fernet, signing: &signing, webhook: &[] };
    let taken = keys::of_folder(other.path(), configured, true).unwrap();
    assert!(taken.webhook_keys.is_empty(), "no key of webhooks is made where keys come from elsewhere");
    assert!(!other.path().join("keys.env").exists());
}

#[test]
fn a_damaged_key_file_is_named_without_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.env");
    fs::write(&path, "FERNET_KEYS=hunter2\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let text = refusal(folder.path(), true);
    assert!(text.contains("keys.env") && text.contains("FERNET_KEYS") && text.contains("SIGNING_KEY"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    fs::write(&path, "hunter2\n").unwrap();
    let text = refusal(folder.path(), true);
    assert!(text.contains("line 1") && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_key_file_without_a_key_of_webhooks_gets_one_and_keeps_the_others() {
    let folder = tempfile::tempdir().unwrap();
    keys::of_folder(folder.path(), Configured::default(), false).unwrap();
    let path = folder.path().join("keys.env");
    let whole = fs::read_to_string(&path).unwrap();
    let older = whole.lines().filter(|line| !line.starts_with("WEBHOOK_KEY=")).collect::<Vec<_>>().join("\n");
    fs::write(&path, &older).unwrap();
    assert_eq!(keys::of_folder(folder.path(), Configured::default(), true).unwrap().webhook_keys.len(), 1);
    let newer = fs::read_to_string(&path).unwrap();
    assert!(newer.starts_with(&older) && newer.contains("\nWEBHOOK_KEY="));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    keys::of_folder(folder.path(), Configured::default(), true).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), newer, "and keeps it");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left behind");
}
