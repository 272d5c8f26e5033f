//! Master keys: reading them, wrapping under the newest, unwrapping under all, rotating.

use sealpost_sealing::{KeyRing, KeyRingError, OpenError};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::{BINDING, CONVERSATION, GENERATION, NOW, conversation_key, ring, with_each_bit_flipped};

fn parse(keys: &[&str]) -> Result<KeyRing, KeyRingError> {
    let keys: Vec<SecretString> = keys.iter().copied().map(SecretString::from).collect();
    KeyRing::parse(&keys)
}

#[test]
fn a_wrapped_key_unwraps_to_the_same_key() {
    let ring = ring(&[&KeyRing::generate_key()]);
    let key = conversation_key();
    let envelope = key.seal(&BINDING, b"body", NOW).unwrap();
    let unwrapped = ring.unwrap(&ring.wrap(&key, NOW), CONVERSATION, GENERATION).unwrap();
    assert_eq!(
        (unwrapped.conversation(), unwrapped.generation(), unwrapped.suite()),
        (CONVERSATION, GENERATION, key.suite())
    );
    assert_eq!(**unwrapped.open(&BINDING, &envelope).unwrap(), *b"body");
    assert_eq!(**key.open(&BINDING, &unwrapped.seal(&BINDING, b"back", NOW).unwrap()).unwrap(), *b"back");
}

#[test]
fn the_first_key_wraps_and_every_key_unwraps() {
    let (new, middle, old) = (KeyRing::generate_key(), KeyRing::generate_key(), KeyRing::generate_key());
    let all = ring(&[&new, &middle, &old]);
    for (master, current) in [(&new, true), (&middle, false), (&old, false)] {
        let wrapped = ring(&[master]).wrap(&conversation_key(), NOW);
        assert!(all.unwrap(&wrapped, CONVERSATION, GENERATION).is_ok());
        assert_eq!(all.is_current(&wrapped), current);
    }
    let wrapped = all.wrap(&conversation_key(), NOW);
    assert!(ring(&[&new]).unwrap(&wrapped, CONVERSATION, GENERATION).is_ok());
    assert_eq!(ring(&[&middle, &old]).unwrap(&wrapped, CONVERSATION, GENERATION).unwrap_err(), OpenError::Refused);
}

#[test]
fn rotating_the_master_key_keeps_messages_readable_and_frees_the_old_key() {
    let (new, old) = (KeyRing::generate_key(), KeyRing::generate_key());
    let key = conversation_key();
    let envelope = key.seal(&BINDING, b"history", NOW).unwrap();
    let before = ring(&[&old]).wrap(&key, NOW);

    let both = ring(&[&new, &old]);
    let after = both.rewrap(&before, CONVERSATION, GENERATION, NOW).unwrap().unwrap();
    assert!(both.is_current(&after));
    assert_eq!(both.rewrap(&after, CONVERSATION, GENERATION, NOW), Ok(None));

    let unwrapped = ring(&[&new]).unwrap(&after, CONVERSATION, GENERATION).unwrap();
    assert_eq!(**unwrapped.open(&BINDING, &envelope).unwrap(), *b"history");
}

#[test]
fn a_removed_master_key_gives_a_clean_error() {
    let wrapped = ring(&[&KeyRing::generate_key()]).wrap(&conversation_key(), NOW);
    let without = ring(&[&KeyRing::generate_key()]);
    assert_eq!(without.unwrap(&wrapped, CONVERSATION, GENERATION).unwrap_err(), OpenError::Refused);
    assert_eq!(without.rewrap(&wrapped, CONVERSATION, GENERATION, NOW), Err(OpenError::Refused));
    assert!(!without.is_current(&wrapped));
}

#[test]
fn a_wrapped_key_moved_to_another_conversation_or_generation_does_not_unwrap() {
    let ring = ring(&[&KeyRing::generate_key()]);
    let wrapped = ring.wrap(&conversation_key(), NOW);
    let other = Uuid::from_u128(0xff);
    for (conversation, generation) in [(other, GENERATION), (CONVERSATION, GENERATION + 1), (CONVERSATION, 0)] {
        assert_eq!(ring.unwrap(&wrapped, conversation, generation).unwrap_err(), OpenError::Refused);
        assert_eq!(ring.rewrap(&wrapped, conversation, generation, NOW), Err(OpenError::Refused));
    }
}

#[test]
fn an_altered_or_cut_wrapped_key_does_not_unwrap() {
    let ring = ring(&[&KeyRing::generate_key()]);
    let wrapped = ring.wrap(&conversation_key(), NOW);
    for altered in with_each_bit_flipped(&wrapped) {
        assert!(ring.unwrap(&altered, CONVERSATION, GENERATION).is_err(), "{altered}");
    }
    for length in 0..wrapped.len() {
        assert!(ring.unwrap(&wrapped[..length], CONVERSATION, GENERATION).is_err(), "{length}");
    }
    for tail in ["=", "==", "====", "\n", ".", "AAAA"] {
        let longer = format!("{wrapped}{tail}");
        assert_eq!(ring.unwrap(&longer, CONVERSATION, GENERATION).unwrap_err(), OpenError::Refused, "{tail:?}");
    }
}

#[test]
fn a_wrapped_key_of_an_unknown_version_or_suite_is_told_apart() {
    let ring = ring(&[&KeyRing::generate_key()]);
    let wrapped = ring.wrap(&conversation_key(), NOW);
    for (from, to) in [("1.", "2."), ("fernet", "aes-256-gcm")] {
        let text = wrapped.replacen(from, to, 1);
        assert_eq!(ring.unwrap(&text, CONVERSATION, GENERATION).unwrap_err(), OpenError::UnknownFormat);
    }
}

#[test]
fn a_key_wrapped_before_the_clock_stepped_back_unwraps() {
    let ring = ring(&[&KeyRing::generate_key()]);
    for date in [NOW + 86_400, 0, u64::MAX] {
        let wrapped = ring.wrap(&conversation_key(), date);
        assert!(ring.unwrap(&wrapped, CONVERSATION, GENERATION).is_ok(), "dated {date}");
    }
}

#[test]
fn a_bad_list_of_keys_is_refused_with_the_position_and_the_way_out() {
    let good = KeyRing::generate_key();
    let good = good.expose_secret();
    let short = "c2hvcnQ=";
    let unpadded = good.trim_end_matches('=');
    for (keys, expected) in [
        (vec![], KeyRingError::Empty),
        (vec![good, "not base64!"], KeyRingError::NotBase64 { index: 2 }),
        (vec!["++++////"], KeyRingError::NotBase64 { index: 1 }),
        (vec![good, short], KeyRingError::WrongLength { index: 2, got: 5, needed: 32 }),
        (vec![""], KeyRingError::WrongLength { index: 1, got: 0, needed: 32 }),
        (vec![good, good], KeyRingError::Repeated { index: 2, first: 1 }),
        (vec![good, unpadded], KeyRingError::Repeated { index: 2, first: 1 }),
    ] {
        let error = parse(&keys).unwrap_err();
        assert_eq!(error, expected);
        assert!(error.to_string().contains("`sealpost keys generate`"), "{error}");
    }
}

#[test]
fn a_key_may_have_white_space_around_it_and_lack_its_padding() {
    let key = KeyRing::generate_key();
    let text = key.expose_secret();
    let wrapped = ring(&[&key]).wrap(&conversation_key(), NOW);
    for variant in [format!("{text}\n"), format!("  {text}\r\n"), text.trim_end_matches('=').to_owned()] {
        assert!(parse(&[&variant]).unwrap().is_current(&wrapped));
    }
}
