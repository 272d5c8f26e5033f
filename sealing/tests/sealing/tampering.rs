//! A ciphertext that was moved, altered or cut does not open, and nothing makes the crate panic.

use fernet::Fernet;
use proptest::prelude::*;
use sealpost_sealing::{Binding, ConversationKey, Envelope, OpenError, SealError, Suite};
use uuid::Uuid;

use crate::golden::fernet_of;
use crate::{BINDING, CONVERSATION, GENERATION, NOW, conversation_key, ring, with_each_bit_flipped};

const OTHER: Uuid = Uuid::from_u128(0xff);

#[test]
fn a_ciphertext_moved_to_another_conversation_message_or_sender_does_not_open() {
    let key = conversation_key();
    let envelope = key.seal(&BINDING, b"body", NOW).unwrap();
    for moved in [
        Binding { conversation: OTHER, ..BINDING },
        Binding { message: OTHER, ..BINDING },
        Binding { sender: OTHER, ..BINDING },
        Binding { message: BINDING.sender, sender: BINDING.message, ..BINDING },
    ] {
        assert_eq!(key.open(&moved, &envelope), Err(OpenError::Refused), "{moved:?}");
    }
}

#[test]
fn a_ciphertext_does_not_open_with_the_key_of_another_conversation() {
    let other = ConversationKey::generate(OTHER, GENERATION, Suite::Fernet);
    let binding = Binding { conversation: OTHER, ..BINDING };
    let envelope = conversation_key().seal(&BINDING, b"body", NOW).unwrap();
    assert_eq!(other.open(&binding, &envelope), Err(OpenError::Refused));
    assert_eq!(other.open(&BINDING, &envelope), Err(OpenError::Refused));
}

#[test]
fn a_ciphertext_of_another_generation_does_not_open() {
    let next = ConversationKey::generate(CONVERSATION, GENERATION + 1, Suite::Fernet);
    let envelope = conversation_key().seal(&BINDING, b"body", NOW).unwrap();
    let expected = OpenError::WrongGeneration { envelope: GENERATION, key: GENERATION + 1 };
    assert_eq!(next.open(&BINDING, &envelope), Err(expected));
    // The number in clear rewritten: the bound one still tells.
    let relabelled = envelope.replacen(".7.", ".8.", 1);
    assert_eq!(next.open(&BINDING, &relabelled), Err(OpenError::Refused));
}

#[test]
fn every_byte_of_the_bound_header_counts_even_under_the_right_key() {
    let key = conversation_key();
    let envelope = key.seal(&BINDING, b"body", NOW).unwrap();
    let inner = fernet_of(&key).decrypt_at_time(Envelope::parse(&envelope).unwrap().token, None, NOW).unwrap();
    // Each byte of the header altered and sealed again with the right key: version, suite, generation, ids, purpose.
    for at in 0..55 {
        let mut altered = inner.clone();
        altered[at] ^= 1;
        let token = fernet_of(&key).encrypt_at_time(&altered, NOW);
        let opened = key.open(&BINDING, &format!("1.fernet.{GENERATION}.{token}"));
        assert_eq!(opened, Err(OpenError::Refused), "header byte {at}");
    }
}

#[test]
fn a_header_that_is_cut_does_not_open_even_if_the_token_is_genuine() {
    let key = conversation_key();
    let envelope = key.seal(&BINDING, b"", NOW).unwrap();
    let inner = fernet_of(&key).decrypt_at_time(Envelope::parse(&envelope).unwrap().token, None, NOW).unwrap();
    for length in 0..inner.len() {
        let token = fernet_of(&key).encrypt_at_time(&inner[..length], NOW);
        let opened = key.open(&BINDING, &format!("1.fernet.{GENERATION}.{token}"));
        assert_eq!(opened, Err(OpenError::Refused), "{length} bytes");
    }
}

#[test]
fn a_bit_flipped_in_any_byte_does_not_open() {
    let key = conversation_key();
    // Bodies for each length of padding that base64 has.
    for body in [&b""[..], &[b'x'; 16], &[b'x'; 40]] {
        let envelope = key.seal(&BINDING, body, NOW).unwrap();
        for altered in with_each_bit_flipped(&envelope) {
            assert!(key.open(&BINDING, &altered).is_err(), "{altered}");
        }
    }
}

#[test]
fn an_envelope_cut_at_any_length_or_lengthened_does_not_open() {
    let key = conversation_key();
    for body in [&b""[..], &[b'x'; 16], &[b'x'; 40]] {
        let envelope = key.seal(&BINDING, body, NOW).unwrap();
        for length in 0..envelope.len() {
            assert!(key.open(&BINDING, &envelope[..length]).is_err(), "{length} of {}", envelope.len());
            assert!(key.open(&BINDING, &envelope[length + 1..]).is_err(), "without the first {}", length + 1);
        }
        for tail in ["=", "==", "===", "====", "\n", " ", ".", "A", "AAAA", "\0", "é"] {
            assert_eq!(key.open(&BINDING, &format!("{envelope}{tail}")), Err(OpenError::Refused), "{tail:?}");
        }
        assert!(key.open(&BINDING, &format!(" {envelope}")).is_err());
    }
}

#[test]
fn another_version_suite_or_generation_text_does_not_open() {
    let key = conversation_key();
    let envelope = key.seal(&BINDING, b"body", NOW).unwrap();
    let token = Envelope::parse(&envelope).unwrap().token;
    for (fields, expected) in [
        ("2.fernet.7", OpenError::UnknownFormat),
        ("01.fernet.7", OpenError::UnknownFormat),
        ("1.aes-256-gcm.7", OpenError::UnknownFormat),
        ("1.FERNET.7", OpenError::UnknownFormat),
        ("1.fernet.8", OpenError::WrongGeneration { envelope: 8, key: 7 }),
        ("1.fernet.07", OpenError::Refused),
        ("1.fernet.+7", OpenError::Refused),
        ("1.fernet.4294967303", OpenError::Refused),
        ("1.fernet.7.7", OpenError::Refused),
        ("1.fernet", OpenError::Refused),
    ] {
        assert_eq!(key.open(&BINDING, &format!("{fields}.{token}")), Err(expected), "{fields}");
    }
}

#[test]
fn a_wrapped_key_does_not_pass_as_a_message_under_the_same_secret() {
    let ring = ring(&[&sealpost_sealing::KeyRing::generate_key()]);
    let key = conversation_key();
    let wrapped = ring.wrap(&key, NOW);
    assert!(key.open(&BINDING, &wrapped).is_err());
    let envelope = key.seal(&BINDING, b"", NOW).unwrap();
    assert_eq!(ring.unwrap(&envelope, CONVERSATION, GENERATION).unwrap_err(), OpenError::Refused);
}

#[test]
fn a_genuine_token_dated_at_the_end_of_time_neither_opens_nor_panics() {
    // The `fernet` crate adds 60 s to the date it is given, which overflows near the end of the range.
    let key = conversation_key();
    let fernet: Fernet = fernet_of(&key);
    let token = fernet.encrypt_at_time(b"anything", u64::MAX);
    assert_eq!(key.open(&BINDING, &format!("1.fernet.{GENERATION}.{token}")), Err(OpenError::Refused));
}

#[test]
fn a_key_does_not_seal_for_another_conversation() {
    let binding = Binding { conversation: OTHER, ..BINDING };
    assert_eq!(conversation_key().seal(&binding, b"body", NOW), Err(SealError::OtherConversation));
}

proptest! {
    #[test]
    fn arbitrary_text_never_opens_and_never_panics(text in ".{0,400}", token in "[A-Za-z0-9_=-]{0,400}") {
        let key = conversation_key();
        let ring = ring(&[&sealpost_sealing::KeyRing::generate_key()]);
        for text in [text, format!("1.fernet.{token}"), format!("1.fernet.7.{token}"), format!("1.fernet.7.gAAAAA{token}")] {
            prop_assert!(key.open(&BINDING, &text).is_err());
            prop_assert!(ring.unwrap(&text, CONVERSATION, GENERATION).is_err());
            prop_assert!(!ring.is_current(&text));
        }
    }
}
