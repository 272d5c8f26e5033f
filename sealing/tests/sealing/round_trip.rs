//! What was sealed opens, whatever the body and whatever the clock says.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use proptest::prelude::*;
use sealpost_sealing::{Envelope, MAX_ENVELOPE_BYTES, MAX_PLAINTEXT_BYTES, SealError, Suite};

use crate::{BINDING, CONVERSATION, NOW, conversation_key};

const DAY: u64 = 24 * 60 * 60;

proptest! {
    #[test]
    fn any_body_opens_as_it_was(body in prop::collection::vec(any::<u8>(), 0..2_000), now in any::<u64>()) {
        let key = conversation_key();
        let envelope = key.seal(&BINDING, &body, now).unwrap();
        prop_assert_eq!(&**key.open(&BINDING, &envelope).unwrap(), &body[..]);
    }

    #[test]
    fn any_place_opens_what_was_sealed_for_it(ids in any::<[u128; 3]>(), generation in any::<u32>()) {
        let [conversation, message, sender] = ids.map(uuid::Uuid::from_u128);
        let key = sealpost_sealing::ConversationKey::generate(conversation, generation, Suite::Fernet);
        let binding = sealpost_sealing::Binding { conversation, message, sender };
        let envelope = key.seal(&binding, b"body", NOW).unwrap();
        let parsed = Envelope::parse(&envelope).unwrap();
        prop_assert_eq!((parsed.version, parsed.suite, parsed.generation), (1, Suite::Fernet, generation));
        prop_assert_eq!(&**key.open(&binding, &envelope).unwrap(), b"body");
    }
}

#[test]
fn bodies_around_the_cipher_blocks_empty_and_of_64_kib_open_as_they_were() {
    let key = conversation_key();
    for length in (0..50).chain([65_535, 65_536, 65_537]) {
        let body = vec![0x5a; length];
        let envelope = key.seal(&BINDING, &body, NOW).unwrap();
        assert_eq!(**key.open(&BINDING, &envelope).unwrap(), body, "{length} bytes");
    }
}

#[test]
fn the_longest_body_fits_an_envelope_and_one_byte_more_is_refused() {
    let key = sealpost_sealing::ConversationKey::generate(CONVERSATION, u32::MAX, Suite::Fernet);
    let longest = vec![b'x'; MAX_PLAINTEXT_BYTES];
    let envelope = key.seal(&BINDING, &longest, NOW).unwrap();
    assert_eq!(envelope.len(), MAX_ENVELOPE_BYTES);
    assert_eq!(**key.open(&BINDING, &envelope).unwrap(), longest);

    let too_long = vec![b'x'; MAX_PLAINTEXT_BYTES + 1];
    let error = key.seal(&BINDING, &too_long, NOW).unwrap_err();
    assert_eq!(error, SealError::TooLong { got: MAX_PLAINTEXT_BYTES + 1, limit: MAX_PLAINTEXT_BYTES });
}

#[test]
fn a_message_sealed_before_the_clock_stepped_back_a_day_opens() {
    // Opening takes no date, so a message from the future is what a stepped clock leaves behind.
    let key = conversation_key();
    for date in [NOW + DAY, NOW + 1_000 * DAY, 0, u64::MAX] {
        let envelope = key.seal(&BINDING, b"history", date).unwrap();
        assert_eq!(**key.open(&BINDING, &envelope).unwrap(), *b"history", "dated {date}");
    }
}

#[test]
fn a_token_carries_the_date_of_sealing() {
    let envelope = conversation_key().seal(&BINDING, b"body", NOW).unwrap();
    let token = URL_SAFE.decode(Envelope::parse(&envelope).unwrap().token).unwrap();
    assert_eq!(token[1..9], NOW.to_be_bytes());
}

#[test]
fn a_hundred_thousand_seals_have_distinct_initialisation_vectors() {
    let key = conversation_key();
    let vectors: HashSet<[u8; 16]> = (0..100_000)
        .map(|_| {
            let envelope = key.seal(&BINDING, b"", NOW).unwrap();
            let token = URL_SAFE.decode(Envelope::parse(&envelope).unwrap().token).unwrap();
            token[9..25].try_into().unwrap()
        })
        .collect();
    assert_eq!(vectors.len(), 100_000);
}
